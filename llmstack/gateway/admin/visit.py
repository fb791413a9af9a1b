"""One request to the admin API, as its operations see it, and how they say no.

Errors: `NotDone`, whose problem becomes the reply.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, final
from urllib.parse import parse_qsl

from aiohttp import web
from attrs import field, frozen

from llmstack.builder import Stack
from llmstack.gateway.desk import Desk
from llmstack.gateway.errors import Problem
from llmstack.gateway.reading import read
from llmstack.gateway.status import as_json
from llmstack.messages import Request


__all__ = ["MAX_BODY", "SHOWN", "NotDone", "Visit", "listed", "no", "shown"]

#: Bytes of a body.
MAX_BODY: Final = 64 << 10
#: Characters of what was sent that are repeated.
SHOWN: Final = 64


@final
class NotDone(Exception):
    """Nothing was changed; *problem* says why, and what there is instead."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def no(status: int, message: str, param: str | None, code: str) -> NotDone:
    """Return what says that something was not done, and why."""
    return NotDone(Problem(status, message, param=param, code=code))


def listed(names: Iterable[object]) -> str:
    """Return what there is, in words."""
    return ", ".join(map(str, names)) or "none"


def shown(text: str) -> str:
    """Return what was sent, in quotes, and not all of it if it is long."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


@final
@frozen
class Visit:
    """A request with its *id*; *route* is the name that is in its path, *query* what is behind."""

    desk: Desk
    request: web.BaseRequest = field(repr=False)
    id: str
    route: str = ""
    query: str = field(default="", repr=False)

    @property
    def stack(self) -> Stack[Request, Any]:
        """The stack of the route; `NotDone` if there is no such route."""
        routes = self.desk.gateway.routes
        if self.route not in routes:
            message = f"no route is named {shown(self.route)}; there are: {listed(routes)}"
            raise no(404, message, "route", "unknown_route")
        return routes[self.route]

    def asked(self, *names: str) -> dict[str, str]:
        """Return what the query says of *names*; `NotDone` if it says anything else."""
        said: dict[str, str] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            if name in said:
                raise no(400, f"{name} is in the query twice", name, "bad_query")
            if name not in names:
                message = f"the query has {shown(name)}; it can have: {listed(names)}"
                raise no(400, message, None, "bad_query")
            said[name] = value
        return said

    async def body(self) -> bytes:
        """Return the body of the request; `NotDone` if it is not JSON, too long or too late."""
        raw = await read(self.request, MAX_BODY, self.desk.gateway.body_timeout)
        if isinstance(raw, Problem):
            raise NotDone(raw)
        return raw

    def said(self, data: object) -> web.StreamResponse:
        """Return *data* as the reply."""
        return as_json(self.desk, data, self.id)
