"""Timeout: how long one attempt may take, from its start to the end of its stream, and how slow.

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
from llmstack.estimators.pace import Pace
from llmstack.order import Bound
from llmstack.service import Req, Resp, Service


__all__ = ["Timeout", "TimeoutService"]

_finite: Final = validators.and_(validators.gt(0.0), validators.lt(inf))
_seconds: Final = validators.optional(_finite)


@final
@frozen(kw_only=True)
class Timeout:
    """The seconds that an attempt may take, in up to three ways, and its least rate.

    *first_token*: until the reply is there. A stream is there with its first content. A
    request that says ``stream=False`` has no first token, only a last one, and how long
    that takes is a matter of length: it is bounded by *total* alone. Requests that have no
    ``stream``, such as those of a web framework, are bounded by both.

    *idle*: without a byte of a stream, while somebody waits for the next event. A slow
    reader is not a slow endpoint. Bytes of any kind will do, such as a comment that keeps
    the connection alive; of a stream that does not tell when it last heard any, an event.

    *total*: from the start to the end of the reply, streamed or not.

    *rate*: the fewest bytes of event data for each second that somebody waits for events
    of a stream, on the average of *within* seconds of waiting. Nothing else counts, so it
    ends what *idle* lets pass: a drip, or comments without end.

    >>> Timeout(first_token=10, idle=30)
    Timeout(first_token=10, idle=30, total=None, rate=None, within=30.0)
    """

    first_token: float | None = field(default=None, validator=_seconds)
    idle: float | None = field(default=None, validator=_seconds)
    total: float | None = field(default=None, validator=_seconds)
    rate: float | None = field(default=None, validator=_seconds)
    within: float = field(default=30.0, validator=_finite)

    role: ClassVar[str] = "timeout"
    below: ClassVar[Mapping[str, str]] = {
        "retry": "it bounds one attempt; what bounds all of them is a deadline",
        "router": "the router would see a slow endpoint as a call that was cancelled",
        "circuit_breaker": "the breaker would see a slow endpoint as a call that was cancelled",
        "cooldown": "a cooldown would see a slow endpoint as a call that was cancelled",
    }

    def __attrs_post_init__(self) -> None:
        if not self._set:
            raise ConfigError("a timeout needs first_token, idle, total or rate")

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
        within = None if self.rate is None else self.within
        times = (self.first_token, self.idle, self.total, within)
        return [each for each in times if each is not None]

    def bound(self, inner: Bound, /) -> Bound:
        """Return the bound of *inner*; only *total* bounds a whole attempt."""
        return inner if self.total is None else inner.within(self.total)

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
        settings = self.settings
        if settings.total is not None:
            abort_at(started + settings.total, reply, partial(_late, "total", settings.total))
        if hasattr(reply, "waiting_since"):
            if settings.idle is not None:
                _Idle(ref(reply), settings.idle).watch(reply)
            if settings.rate is not None:
                _Rate(ref(reply), Pace(settings.rate, settings.within)).watch(reply)
        return reply


def _says_complete(request: Any, /) -> bool:  # noqa: ANN401 -- requests are of any type
    """Whether *request* asks for a reply in one piece; one that does not say may stream."""
    return getattr(request, "stream", None) is False


def _late(phase: Phase, seconds: float) -> UpstreamTimeout:
    return UpstreamTimeout(f"{_MISSING[phase]} within {seconds:g} s", phase=phase)


_MISSING: Final[Mapping[Phase, str]] = {
    "first_token": "no content",
    "idle": "nothing more",
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
        heard = getattr(getattr(stream, "source", None), "heard", None)
        since = now if since is None else max(since, heard or since)
        if since + self.seconds <= now:
            stream.abort(_late("idle", self.seconds))
        else:
            self._set(since)


@final
@define(eq=False)
class _Rate:
    """Aborts a stream that comes too slowly; one timer, a few times a window."""

    stream: ref[Any]
    pace: Pace
    timer: asyncio.TimerHandle = field(init=False)

    def watch(self, stream: Any) -> None:  # noqa: ANN401 -- known by what it has
        """Set the timer and count events, to the stream's end."""
        self._set(self.pace.within)
        stream.on_event(self._count)
        stream.on_end(lambda _outcome: self.timer.cancel())

    def _set(self, seconds: float) -> None:
        self.timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _waiting(self, stream: Any) -> float | None:  # noqa: ANN401 -- known by what it has
        since = stream.waiting_since
        return None if since is None else clock.now() - since

    def _count(self, event: Any) -> None:  # noqa: ANN401 -- of any stream that has data
        self.pace.add(len(event.data), self._waiting(self.stream()) or 0.0)

    def _look(self) -> None:
        stream = self.stream()
        if stream is None:
            return
        seconds = self.pace.look(self._waiting(stream))
        if seconds is None:
            pace = self.pace
            words = f"less than {pace.rate:g} bytes a second in {pace.within:g} s of waiting"
            stream.abort(UpstreamTimeout(words, phase="idle"))
        else:
            self._set(seconds)
