"""One request from its first byte to the end of its reply: read, parse, route, ask, answer.

Everything that a client gets from the gateway is written here, in the shape of the OpenAI
API, and every reply names its request. Bytes of providers pass as they are.

Events: `gateway.failed` (error), for an exception that nobody foresaw: its class and where
it was raised, but not what it says, which may be a prompt.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Final, Literal, cast, final

import structlog
from aiohttp import HttpVersion11, hdrs, web
from attrs import define, field

from llmstack import clock
from llmstack.call import Call
from llmstack.errors import Draining, LLMStackError
from llmstack.gateway.errors import INVALID, Problem, bug, problem_of
from llmstack.gateway.parse import check_content, check_headers, parse, too_large
from llmstack.gateway.relay import ClientGone, close_with, relay
from llmstack.gateway.routes import Gateway, takes_traffic
from llmstack.messages import EventStream, Reply, Request, Response


__all__ = ["Edge"]

log: Final = structlog.get_logger("llmstack")

Operation = Callable[["Edge", web.BaseRequest, str], Awaitable[web.StreamResponse]]

#: Headers of a provider that a client gets, by the name it gets them under.
_PASSED: Final[Mapping[str, str]] = {
    "openai-processing-ms": "openai-processing-ms",
    "x-request-id": "x-llmstack-upstream-request-id",
}
_LIMITS: Final = "x-ratelimit-"
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream; charset=utf-8"
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_SERVER: Final = "llmstack"


@final
@define(eq=False)
class Edge:
    """Answers every request of one gateway, and knows which are under way.

    *phase* is what ``GET /readyz`` goes by. After `stop` whatever is under way is answered
    with `Draining`, a stream by its last event; `abort` does not wait for clients either.
    """

    gateway: Gateway
    phase: Literal["starting", "serving", "draining"] = "starting"
    _stopped: bool = field(default=False, init=False)
    _rng: Random = field(factory=Random, init=False, repr=False)
    _under_way: dict[asyncio.Task[object], web.BaseRequest] = field(
        factory=dict, init=False, repr=False
    )
    _models: bytes = field(init=False, repr=False)

    @_models.default
    def _list_models(self) -> bytes:
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "llmstack"}
            for name in self.gateway.routes
            if name != "*"
        ]
        return json.dumps({"object": "list", "data": data}).encode()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer *request*, whatever it is; only a cancellation leaves."""
        request_id = self.new_id()
        # The target as it came: what is spelled in another way is another path.
        target = request.raw_path
        found = PATHS.get(target) or PATHS.get(target.partition("?")[0])
        if found is None:
            return self.refuse(Problem(404, "there is no such path", code="unknown_url"), request_id)
        methods, operation = found
        problem = _check_line(request, methods) or check_headers(request.raw_headers)
        if problem is not None:
            return self.refuse(problem, request_id)
        return await operation(self, request, request_id)

    def new_id(self) -> str:
        """Return the name of one more request."""
        return f"req_{self._rng.getrandbits(96):024x}"

    def refuse(
        self, problem: Problem, request_id: str, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """Return the reply that tells *problem*."""
        own = {**problem.headers(), **(headers or _named(request_id))}
        response = web.Response(body=problem.body(), status=problem.status, headers=own)
        if problem.close or self.phase == "draining":
            response.force_close()
        return response

    def stop(self) -> None:
        """End what is under way now, each with a last word to its client."""
        self._stopped = True
        for task in self._under_way:
            task.cancel()

    def abort(self) -> None:
        """Drop the connections of clients that do not even take a last word."""
        for request in self._under_way.values():
            if request.transport is not None:
                request.transport.abort()

    async def livez(self, _request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """Say that the loop runs; nothing else is looked at."""
        return self._said(b'{"status":"ok"}', _JSON, request_id)

    async def readyz(self, _request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """Say whether requests are welcome: while serving, if any route can take them."""
        state: str = self.phase
        if state == "serving":
            stacks = self.gateway.routes.values()
            state = "ok" if any(map(takes_traffic, stacks)) else "no endpoint is enabled"
        body = json.dumps({"status": state}).encode()
        return self._said(body, _JSON, request_id, 200 if state == "ok" else 503)

    async def models(self, _request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """List the names that callers may ask for."""
        return self._said(self._models, _JSON, request_id)

    async def metrics(self, _request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """Render the metrics, in a thread: with many series it takes its time."""
        render = self.gateway.metrics
        if render is None:
            problem = Problem(404, "this gateway has no metrics", code="unknown_url")
            return self.refuse(problem, request_id)
        try:
            body = await asyncio.to_thread(render)
        except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, it is answered
            return self.refuse(self._bug(error, request_id), request_id)
        return self._said(body, _TEXT, request_id)

    async def chat(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """Answer a chat completion."""
        return await self._ask("chat", request, Call(request_id))

    async def embeddings(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """Answer an embeddings request."""
        return await self._ask("embeddings", request, Call(request_id))

    def _said(
        self, body: bytes, kind: str, request_id: str, status: int = 200
    ) -> web.StreamResponse:
        headers = {hdrs.CONTENT_TYPE: kind, **_named(request_id)}
        response = web.Response(body=body, status=status, headers=headers)
        if self.phase == "draining":
            response.force_close()
        return response

    async def _ask(self, operation: str, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """Read and route one request, and answer with what its stack says."""
        raw = await read_body(request, self.gateway.max_body, self.gateway.body_timeout)
        asked = raw if isinstance(raw, Problem) else parse(operation, raw, call)
        if isinstance(asked, Problem):
            return self.refuse(asked, call.id)
        stack = self.gateway.route(asked.model)
        if stack is None:
            message = f"there is no model {asked.model!r} here; GET /v1/models lists those that are"
            problem = Problem(404, message, param="model", code="model_not_found")
            return self.refuse(problem, call.id)
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._under_way[task] = request
        try:
            reply = await stack(asked)
        except asyncio.CancelledError:
            if not self._is_ours(task):
                raise
            return self._failed(Draining("the server is shutting down"), call)
        except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, it is answered
            return self._failed(error, call)
        finally:
            del self._under_way[task]
        if isinstance(reply, EventStream):
            return await self._streamed(request, reply, call)
        return self._complete(reply, call)
