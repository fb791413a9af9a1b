"""Timeout: how long one attempt may take, from its start to the end of its stream.

Put it right above the floor: whatever keeps a record of the endpoint must stand above, or
it sees a cancellation where there was a timeout. It bounds each attempt by itself; what
bounds all of them is a `Deadline`. It is never shortened to the deadline, so a caller in a
hurry is not taken for a slow endpoint.

Errors: `UpstreamTimeout` with its phase; raised before the first content, it may be
retried; after it, the stream is aborted with it. Events: none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from math import inf
from typing import Any, ClassVar, Final, Generic, final
from weakref import ref

from attrs import define, field, frozen, validators

from llmstack import clock
from llmstack.alarm import Alarm, abort_at
from llmstack.errors import ConfigError, Phase, UpstreamTimeout
from llmstack.order import Bound
from llmstack.service import Req, Resp, Service


__all__ = ["Timeout", "TimeoutService"]

_seconds: Final = validators.optional(validators.and_(validators.gt(0.0), validators.lt(inf)))


@final
@frozen(kw_only=True)
class Timeout:
    """The seconds that an attempt may take, in up to three ways.

    *first_token*: until the reply is there. A stream is there with its first content. A
    request that says ``stream=False`` has no first token, only a last one, and how long
    that takes is a matter of length: it is bounded by *total* alone. Requests that have no
    ``stream``, such as those of a web framework, are bounded by both.

    *idle*: between two events of a stream, while somebody waits for the next one. A slow
    reader is not a slow endpoint.

    *total*: from the start to the end of the reply, streamed or not.

    >>> Timeout(first_token=10, idle=30)
    Timeout(first_token=10, idle=30, total=None)
    """

    first_token: float | None = field(default=None, validator=_seconds)
    idle: float | None = field(default=None, validator=_seconds)
    total: float | None = field(default=None, validator=_seconds)

    role: ClassVar[str] = "timeout"
    below: ClassVar[Mapping[str, str]] = {
        "retry": "it bounds one attempt; what bounds all of them is a deadline",
        "router": "the router would see a slow endpoint as a call that was cancelled",
        "circuit_breaker": "the breaker would see a slow endpoint as a call that was cancelled",
        "cooldown": "a cooldown would see a slow endpoint as a call that was cancelled",
    }

    def __attrs_post_init__(self) -> None:
        if not self._set:
            raise ConfigError("a timeout needs first_token, idle or total")

    def __call__(self, inner: Service[Req, Resp], /) -> TimeoutService[Req, Resp]:
        """Wrap *inner*."""
        return TimeoutService(
            self, inner, self.until_reply(streams=True), self.until_reply(streams=False)
        )

    @property
    def limits(self) -> float:
        """The longest of the times that are set."""
        return max(self._set)

    @property
    def _set(self) -> list[float]:
        return [each for each in (self.first_token, self.idle, self.total) if each is not None]

    def bound(self, inner: Bound, /) -> Bound:
        """Return the bound of *inner*; only *total* bounds a whole attempt."""
        return Bound(
            inner.calls, inner.seconds if self.total is None else min(inner.seconds, self.total)
        )

    def until_reply(self, *, streams: bool) -> tuple[float, Phase]:
        """Return how long a reply may be waited for, and which of the times that is."""
        total = inf if self.total is None else self.total
        first = inf if self.first_token is None or not streams else self.first_token
        return (total, "total") if total < first else (first, "first_token")


@final
@define(eq=False)
class TimeoutService(Generic[Req, Resp]):
    """One alarm while the reply is awaited; then timers that abort the stream, if it is one."""

    settings: Timeout
    inner: Service[Req, Resp]
    streamed: tuple[float, Phase]
    complete: tuple[float, Phase]

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service, which has to answer in time."""
        seconds, phase = self.complete if _says_complete(request) else self.streamed
        now = clock.now()
        if seconds == inf:
            return self._watched(await self.inner(request), now)
        with Alarm(now + seconds):
            return self._watched(await self.inner(request), now)
        error = _late(phase, seconds)
        # Nothing has been handed up yet, whichever time it was that ran out.
        error.again = error.elsewhere = True
        raise error

    def _watched(self, reply: Resp, started: float) -> Resp:
        """Return *reply*; a stream gets the timers that are set."""
        idle, total = self.settings.idle, self.settings.total
        if total is not None:
            abort_at(started + total, reply, partial(_late, "total", total))
        if idle is not None and hasattr(reply, "waiting_since"):
            _Idle(ref(reply), idle).watch(reply)
        return reply


def _says_complete(request: Any, /) -> bool:  # noqa: ANN401 -- requests are of any type
    """Whether *request* asks for a reply in one piece; one that does not say may stream."""
    return getattr(request, "stream", None) is False


def _late(phase: Phase, seconds: float) -> UpstreamTimeout:
    return UpstreamTimeout(f"{_MISSING[phase]} within {seconds:g} s", phase=phase)


_MISSING: Final[Mapping[Phase, str]] = {
    "first_token": "no content",
    "idle": "no further event",
    "total": "no end of the reply",
}


@final
@define(eq=False)
class _Idle:
    """Aborts a stream whose reader has waited for too long.

    A timer an event would cost more than the event. So there is one, which looks when the
    present wait would be too long and is set to that point: it comes once in *seconds*.
    """

    stream: ref[Any]
    seconds: float
    timer: asyncio.TimerHandle = field(init=False)

    def watch(self, stream: Any) -> None:  # noqa: ANN401 -- known by what it has
        """Set the timer, and take it back at the stream's end."""
        self._set(clock.now())
        stream.on_end(lambda _outcome: self.timer.cancel())

    def _set(self, since: float) -> None:
        self.timer = asyncio.get_running_loop().call_at(since + self.seconds, self._look)

    def _look(self) -> None:
        stream = self.stream()
        if stream is None:
            return
        now, since = clock.now(), stream.waiting_since
        since = now if since is None else since
        if since + self.seconds <= now:
            stream.abort(_late("idle", self.seconds))
        else:
            self._set(since)
