"""A fake provider: a real HTTP server on loopback that speaks the OpenAI format.

It answers chat completions (complete and streamed), embeddings and models, and does on
demand what providers do on bad days: errors, delays, silence, cut streams, death.

    async with FakeProvider(tokens=5) as provider:
        client = AsyncOpenAI(base_url=provider.base_url, api_key="any")
        provider.script(Reply(503), Cut(after=2))   # the next two requests
        provider.fail(429, retry_after=3)           # from then on ...
        provider.behave()                           # ... until here
        await provider.die()                        # connections reset, then refused
        await provider.revive()                     # on the same port

It runs on the loop of the caller, a virtual one too. The same seed and the same requests
in the same order give the same answers.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Literal, Self, assert_never, final

from aiohttp import web
from attrs import define, field, frozen

from llmstack import clock
from llmstack.testing import openai_wire as wire
from llmstack.testing.upstream import reset


__all__ = ["Behaviour", "Cut", "FakeProvider", "Hang", "Reply", "Seen"]

#: Requests that are remembered.
REMEMBERED: Final = 10_000

#: Bytes of a request body that are read.
BODY_MAX: Final = 64 << 20


@final
@frozen
class Reply:
    """Answer with this *status* and *body*; or write *raw* to the socket and hang up.

    Without a body it is the error of the format that belongs to the status.
    """

    status: int = 200
    body: bytes | str | Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(factory=dict)
    raw: bytes | None = None


@final
@frozen
class Cut:
    """Answer as usual, but end after so many events, or half of a complete body.

    *how*: "fin" closes the connection inside the body, "rst" resets it, "end" ends the
    body in good order. With *terminal* the last events come all the same, before the cut.
    """

    after: int = 1
    how: Literal["fin", "rst", "end"] = "fin"
    terminal: bool = False


@final
@frozen
class Hang:
    """Say nothing, or nothing more once *after* events have been sent, until the client leaves."""

    after: int | None = None


Behaviour = Reply | Cut | Hang


@final
@define(eq=False)
class Seen:
    """One request as it came, and how it *ended*: "open", "served", "cut" or "left"."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    ended: Literal["open", "served", "cut", "left"] = "open"

    @property
    def json(self) -> Any:  # noqa: ANN401 -- whatever the client sent
        """The body, decoded."""
        return json.loads(self.body)


@final
@define(eq=False)
class FakeProvider:
    """Settings may be changed at any time; they hold for requests that begin later.

    *latency* seconds pass before the first byte, *pace* before each word of a stream;
    each is a number or a function of the dice. An answer has *tokens* words. Without
    *models* every name is served; without *api_key* every key, or none, is good.
    """

    latency: float | Callable[[Random], float] = field(default=0.0, kw_only=True)
    pace: float | Callable[[Random], float] = field(default=0.0, kw_only=True)
    tokens: int = field(default=8, kw_only=True)
    models: tuple[str, ...] = field(default=(), kw_only=True)
    api_key: str | None = field(default=None, kw_only=True, repr=False)
    dimensions: int = field(default=8, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    port: int = field(default=0, init=False)
    requests: deque[Seen] = field(factory=lambda: deque(maxlen=REMEMBERED), init=False, repr=False)
    served: int = field(default=0, init=False)
    _rng: Random = field(init=False, repr=False)
    _script: deque[Behaviour] = field(factory=deque, init=False)
    _always: Behaviour | None = field(default=None, init=False)
    _runner: web.AppRunner | None = field(default=None, init=False, repr=False)
    _site: web.TCPSite | None = field(default=None, init=False, repr=False)

    @property
    def base_url(self) -> str:
        """Where it listens, as clients of the OpenAI format want it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def alive(self) -> bool:
        """Whether it listens."""
        return self._site is not None

    def script(self, *behaviours: Behaviour) -> None:
        """Use up *behaviours*, one for each request to come, before anything else."""
        self._script.extend(behaviours)

    def always(self, behaviour: Behaviour) -> None:
        """Do this for each request that the script leaves over, until `behave`."""
        self._always = behaviour

    def fail(
        self, status: int = 500, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        """Answer every request with the error of *status*, until `behave`."""
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        body = wire.error_body(status, "failing as told", code)
        self.always(Reply(status, body, headers))

    def behave(self) -> None:
        """Forget the script and what `always` and `fail` have said."""
        self._script.clear()
        self._always = None
