"""A fake provider: a real HTTP server on loopback that speaks the formats of providers.

It answers chat completions (complete and streamed), embeddings and models in the format of
OpenAI, messages (complete and streamed) and the count of their tokens in that of Anthropic.
And it does on demand what providers do on bad days: errors, delays, silence, cut streams,
death::

    async with FakeProvider(tokens=5) as provider:
        client = AsyncOpenAI(base_url=provider.base_url, api_key="any")
        provider.script(Reply(503), Cut(after=2))   # the next two requests
        provider.fail(429, retry_after=3)           # from then on
        provider.behave()                           # until here
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
from typing import Any, Final, Self, final

from aiohttp import web
from attrs import define, field

from llmstack import clock
from llmstack.testing import spoken
from llmstack.testing.behaviour import Behaviour, Cut, Hang, Orders, Reply, Seen
from llmstack.testing.upstream import reset


__all__ = ["Behaviour", "Cut", "FakeProvider", "Hang", "Reply", "Seen"]

Seconds = float | Callable[[Random], float]

#: Requests that are remembered.
REMEMBERED: Final = 10_000

#: Bytes of a request body that are read.
BODY_MAX: Final = 64 << 20


@final
@define(eq=False)
class FakeProvider:
    """Settings may be changed at any time; they hold for what begins later.

    *latency* seconds pass before the first byte, *pace* before each word of a stream;
    each is a number or a function of the dice. An answer has *tokens* words. Without
    *models* every name is served; without *api_key* any key is good, or none.
    """

    latency: Seconds = field(default=0.0, kw_only=True)
    pace: Seconds = field(default=0.0, kw_only=True)
    tokens: int = field(default=8, kw_only=True)
    models: tuple[str, ...] = field(default=(), kw_only=True)
    api_key: str | None = field(default=None, kw_only=True, repr=False)
    seed: int = field(default=0, kw_only=True)

    port: int = field(default=0, init=False)
    requests: deque[Seen] = field(factory=lambda: deque(maxlen=REMEMBERED), init=False, repr=False)
    _rng: Random = field(init=False, repr=False)
    _orders: Orders = field(factory=Orders, init=False)
    _runner: web.AppRunner = field(init=False, repr=False)
    _site: web.TCPSite | None = field(default=None, init=False, repr=False)

    @_rng.default
    def _dice(self) -> Random:
        return Random(self.seed)

    @_runner.default
    def _application(self) -> web.AppRunner:
        application = web.Application(client_max_size=BODY_MAX)
        application.router.add_route("*", "/{path:.*}", self._handle)
        # A handler ends when its client leaves, so that `Seen.ended` can tell.
        return web.AppRunner(application, handler_cancellation=True, access_log=None)

    @property
    def base_url(self) -> str:
        """Where it listens, as leaves and clients of the OpenAI format want it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def alive(self) -> bool:
        """Whether it listens."""
        return self._site is not None

    def script(self, *behaviours: Behaviour) -> None:
        """Use up *behaviours*, one for each request to come, before anything else."""
        self._orders.script.extend(behaviours)

    def always(self, behaviour: Behaviour) -> None:
        """Do this for every request that the script leaves over, until `behave`."""
        self._orders.always = behaviour

    def fail(
        self, status: int = 500, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        """Answer every request with the error of *status*, until `behave`."""
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        self.always(Reply(status, headers=headers, code=code))

    def behave(self) -> None:
        """Forget the script, and what `always` and `fail` have said."""
        self._orders = Orders()

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        await self._runner.setup()
        await self.revive()
        return self

    async def __aexit__(self, _kind: object, _error: object, _trace: object) -> None:
        """Stop listening and reset what is open."""
        await self.die()
        await self._runner.cleanup()

    async def die(self) -> None:
        """Stop listening and reset all connections; new ones are refused."""
        if self._site is None:
            return
        await self._site.stop()
        self._site = None
        for seen in self.requests:
            seen.ended = "cut" if seen.ended == "open" else seen.ended
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                reset(connection.transport)

    async def revive(self) -> None:
        """Listen again, on the same port."""
        if self._site is not None:
            return
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        seen = Seen(request.method, request.path, headers, body, clock.now())
        self.requests.append(seen)
        behaviour = self._orders.take()
        try:
            await self._wait(self.latency)
            return await self._answer(request, seen, behaviour)
        except (asyncio.CancelledError, ConnectionError):
            seen.ended = "left" if seen.ended == "open" else seen.ended
            raise
        finally:
            seen.ended = "served" if seen.ended == "open" else seen.ended

    async def _wait(self, seconds: Seconds) -> None:
        await asyncio.sleep(seconds(self._rng) if callable(seconds) else seconds)

    async def _answer(
        self, request: web.Request, seen: Seen, behaviour: Behaviour | None
    ) -> web.StreamResponse:
        if isinstance(behaviour, Reply):
            return _replied(request, seen, behaviour)
        if isinstance(behaviour, Hang) and behaviour.after is None:
            await asyncio.Event().wait()
        refused = spoken.refusal(seen, self.api_key, self.models)
        if refused is not None:
            status, error = refused
            return web.json_response(error, status=status)
        body = spoken.at_once(seen, self.models, self.seed)
        if body is None:
            answer = spoken.answer_to(seen, self.tokens, self._rng, at=clock.wall())
            if seen.json.get("stream"):
                return await self._streamed(request, seen, answer, behaviour)
            body = answer.complete()
        return await _sent(request, seen, body, behaviour)

    async def _streamed(
        self, request: web.Request, seen: Seen, answer: spoken.Answer, behaviour: Behaviour | None
    ) -> web.StreamResponse:
        events, lead = spoken.events_of(answer, seen.json), answer.lead
        if isinstance(behaviour, Cut):
            last = events[lead + len(answer.words) :] if behaviour.terminal else []
            events = events[: behaviour.after] + last
        if isinstance(behaviour, Hang):
            events = events[: behaviour.after]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for n, event in enumerate(events):
            if lead <= n < lead + len(answer.words):
                await self._wait(self.pace)
            await response.write(event)
        if isinstance(behaviour, Hang):
            await asyncio.Event().wait()
        if isinstance(behaviour, Cut):
            _cut(request, seen, behaviour)
        return response


def _replied(request: web.Request, seen: Seen, reply: Reply) -> web.Response:
    if reply.raw is not None and request.transport is not None:
        seen.ended = "cut"
        request.transport.write(reply.raw)
        request.transport.close()
    body = reply.body
    if body is None:
        body = spoken.error_body(seen, reply.status, f"status {reply.status} as told", reply.code)
    if isinstance(body, Mapping):
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": "application/json", **reply.headers}
    return web.Response(status=reply.status, body=data, headers=headers)


async def _sent(
    request: web.Request, seen: Seen, body: Mapping[str, Any], behaviour: Behaviour | None
) -> web.StreamResponse:
    """Send *body* at once; a cut comes in its middle."""
    data = json.dumps(body).encode()
    if not isinstance(behaviour, Cut):
        return web.json_response(body=data)
    half = data[: len(data) // 2]
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(half if behaviour.how == "end" else data)
    await response.prepare(request)
    await response.write(half)
    _cut(request, seen, behaviour)
    return response


def _cut(request: web.Request, seen: Seen, cut: Cut) -> None:
    seen.ended = "cut"
    if request.transport is None or cut.how == "end":
        return
    if cut.how == "rst":
        reset(request.transport)
    else:
        request.transport.close()
