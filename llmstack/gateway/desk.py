"""What all requests of one gateway share: its phase, who is under way, and how to refuse.

Every reply names its request, and every error is told in the dialect of the front that was
asked; where none was, in that of the OpenAI API.

Events: `gateway.failed` (error), for an exception that nobody foresaw: its class and where
it was raised, but not what it says, which may be a prompt.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import PurePath
from random import Random
from typing import Final, Literal, cast, final

from aiohttp import hdrs, web
from attrs import define, field

from llmstack import clock
from llmstack.errors import Draining, LLMStackError
from llmstack.events import EventLog
from llmstack.gateway.errors import Problem, bug, problem_of
from llmstack.gateway.front import Front
from llmstack.gateway.fronts import CHAT
from llmstack.gateway.routes import Gateway
from llmstack.gateway.whole import Whole


__all__ = ["JSON", "Desk", "named"]

JSON: Final = "application/json"

#: Frames of a traceback that are logged, the innermost ones.
FRAMES: Final = 8

log: Final = EventLog()


def named(request_id: str, front: Front = CHAT) -> dict[str, str]:
    """Return the headers that every reply of *front* has."""
    headers = {"x-request-id": request_id, "x-llmstack-request-id": request_id}
    if front.id_header:
        headers[front.id_header] = request_id
    return headers


@final
@define(eq=False)
class Desk:
    """*phase* is what ``GET /readyz`` goes by; `stop` ends what is under way."""

    gateway: Gateway
    phase: Literal["starting", "serving", "draining"] = "starting"
    stopped: bool = field(default=False, init=False)
    _rng: Random = field(factory=Random, init=False, repr=False)
    _under_way: dict[asyncio.Task[object], web.BaseRequest] = field(
        factory=dict, init=False, repr=False
    )
    _dated: tuple[int, str] = field(default=(0, ""), init=False, repr=False)

    def new_id(self) -> str:
        """Return the name of one more request."""
        return f"req_{self._rng.getrandbits(96):024x}"

    def enter(self, request: web.BaseRequest) -> asyncio.Task[object]:
        """Count *request* as under way; `leave` with the task that this returns."""
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._under_way[task] = request
        return task

    def leave(self, task: asyncio.Task[object]) -> None:
        """Strike it out."""
        del self._under_way[task]

    def last_word(self, cancelled: asyncio.CancelledError) -> Problem:
        """Return what to tell the client if it was `stop` that cancelled; else raise again."""
        if not self.stopped:
            raise cancelled
        return self.problem_of(Draining("the server is shutting down"), "")

    def stop(self) -> None:
        """End what is under way now, each with a last word to its client; once."""
        if not self.stopped:
            self.stopped = True
            for task in self._under_way:
                task.cancel()

    def mark(self, response: web.StreamResponse) -> None:
        """End the connection with *response* if the gateway drains."""
        if self.phase == "draining":
            response.force_close()

    def said(self, body: bytes, headers: dict[str, str], status: int = 200) -> web.StreamResponse:
        """Return a complete reply; *headers* is kept."""
        headers[hdrs.DATE] = self._date()
        response = Whole(body, status, headers, self.gateway.write_timeout)
        self.mark(response)
        return response

    def refused(
        self,
        problem: Problem,
        request_id: str,
        more: Mapping[str, str] | None = None,
        *,
        front: Front = CHAT,
    ) -> web.StreamResponse:
        """Return the reply that tells *problem* as *front* does, with *more* headers."""
        headers = {**named(request_id, front), **problem.headers(), **(more or {})}
        response = self.said(front.body(problem, request_id), headers, problem.status)
        if problem.close:
            response.force_close()
        return response

    def problem_of(self, error: Exception, request_id: str, sent: int = 0) -> Problem:
        """Return what a client is told of *error*; what nobody foresaw is logged."""
        if isinstance(error, LLMStackError):
            problem = problem_of(error, now=clock.now(), sent=sent)
            if problem is not None:
                return problem
        log.error(
            "gateway.failed",
            request_id=request_id,
            error=type(error).__name__,
            trace=_where(error),
        )
        return bug(request_id)

    def _date(self) -> str:
        """Return the date as HTTP writes it; it is written once a second."""
        wall = int(clock.wall())
        if wall != self._dated[0]:
            self._dated = wall, formatdate(wall, usegmt=True)
        return self._dated[1]


def _where(error: Exception) -> list[str]:
    """Return file, line and function of the innermost frames; no values, and no message."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return [f"{PurePath(f.filename).name}:{f.lineno} {f.name}" for f in frames]
