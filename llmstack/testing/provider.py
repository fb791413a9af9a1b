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
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final, Self, final

from aiohttp import web
from attrs import define, field

from llmstack import clock
from llmstack.testing import anthropic_wire
from llmstack.testing import openai_wire as wire
from llmstack.testing.behaviour import Behaviour, Cut, Hang, Orders, Reply, Seen
from llmstack.testing.upstream import reset


__all__ = ["Behaviour", "Cut", "FakeProvider", "Hang", "Reply", "Seen"]

Seconds = float | Callable[[Random], float]
Answer = wire.Answer | anthropic_wire.Answer

MESSAGES: Final = "/v1/messages"

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
        refusal = self._refusal(seen)
        if refusal is not None:
            return refusal
        if seen.path == "/v1/models":
            return web.json_response(wire.models_body(self.models or ("fake",), 0))
        body = seen.json
        if seen.path == "/v1/embeddings":
            return await _sent(request, seen, wire.embeddings(body, self.seed), behaviour)
        if seen.path == f"{MESSAGES}/count_tokens":
            count = {"input_tokens": anthropic_wire.tokens_in(body)}
            return await _sent(request, seen, count, behaviour)
        answers: type[Answer] = anthropic_wire.Answer if seen.path == MESSAGES else wire.Answer
        answer = answers.to(body, self.tokens, self._rng, at=clock.wall())
        if body.get("stream"):
            return await self._streamed(request, seen, answer, behaviour)
        return await _sent(request, seen, answer.complete(), behaviour)

    def _refusal(self, seen: Seen) -> web.Response | None:
        """Say what is wrong with the request, if anything."""
        if self.api_key is not None and self.api_key not in _keys(seen):
            return _error(seen, 401, "the API key is not known", "invalid_api_key")
        needed = ROUTES.get((seen.method, seen.path))
        if needed is None:
            return _error(seen, 404, f"unknown URL: {seen.method} {seen.path}", "unknown_url")
        wrong = wire.complaint(seen.body, needed, self.models)
        return _error(seen, *wrong) if wrong else None

    async def _streamed(
        self, request: web.Request, seen: Seen, answer: Answer, behaviour: Behaviour | None
    ) -> web.StreamResponse:
        events, lead = _events(answer, seen.json), answer.lead
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


#: What a request must have in its body.
ROUTES: Final[Mapping[tuple[str, str], Sequence[str]]] = {
    ("GET", "/v1/models"): (),
    ("POST", "/v1/embeddings"): ("model", "input"),
    ("POST", "/v1/chat/completions"): ("model", "messages"),
    ("POST", MESSAGES): ("model", "max_tokens", "messages"),
    ("POST", f"{MESSAGES}/count_tokens"): ("model", "messages"),
}


def _keys(seen: Seen) -> Sequence[str]:
    """Return the keys that the request shows; a bearer counts in both formats."""
    bearer = seen.headers.get("authorization", "").removeprefix("Bearer ")
    return (bearer, seen.headers.get("x-api-key", "")) if _of_anthropic(seen) else (bearer,)


def _of_anthropic(seen: Seen) -> bool:
    return seen.path.startswith(MESSAGES)


def _error_body(seen: Seen, status: int, message: str, code: str | None) -> Mapping[str, Any]:
    say = anthropic_wire.error_body if _of_anthropic(seen) else wire.error_body
    return say(status, message, code)


def _error(seen: Seen, status: int, message: str, code: str | None = None) -> web.Response:
    # Anthropic has codes for few errors, and none for these.
    code = None if _of_anthropic(seen) else code
    return web.json_response(_error_body(seen, status, message, code), status=status)


def _events(answer: Answer, body: Mapping[str, Any]) -> list[bytes]:
    """Return the events of a stream as they are written."""
    if isinstance(answer, anthropic_wire.Answer):
        return answer.events()
    options = body.get("stream_options") or {}
    chunks = answer.chunks(usage=bool(options.get("include_usage")))
    return [f"data: {event}\n\n".encode() for event in (*map(json.dumps, chunks), "[DONE]")]


def _replied(request: web.Request, seen: Seen, reply: Reply) -> web.Response:
    if reply.raw is not None and request.transport is not None:
        seen.ended = "cut"
        request.transport.write(reply.raw)
        request.transport.close()
    body = reply.body
    if body is None:
        body = _error_body(seen, reply.status, f"status {reply.status} as told", reply.code)
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
