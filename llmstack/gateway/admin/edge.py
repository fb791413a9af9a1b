"""The edge of the admin API: who asks, then the path as it came, then what answers.

The name of a route is one segment of the path, percent-encoded and decoded once. Nothing here
counts as traffic, and all of it answers while the gateway drains.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, final
from urllib.parse import unquote

from aiohttp import web
from attrs import define, frozen

from llmstack.gateway.admin import changes, reads
from llmstack.gateway.admin.guard import CHALLENGE, denied
from llmstack.gateway.admin.settings import Admin
from llmstack.gateway.admin.visit import NotDone, Visit, listed
from llmstack.gateway.desk import Desk
from llmstack.gateway.errors import Problem
from llmstack.gateway.parse import check_headers
from llmstack.gateway.server import check_line


__all__ = ["MOST", "OF_ROUTE", "PATHS", "AdminEdge", "Way"]

Operation = Callable[[Visit], Awaitable[web.StreamResponse]]

#: Connections at once.
MOST: Final = 64

_READ: Final = ("GET", "HEAD")
_SEND: Final = ("POST",)
_ROUTE: Final = "/routes/"
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@final
@frozen
class Way:
    """What is behind a path: its methods, and what answers."""

    methods: tuple[str, ...]
    operation: Operation


PATHS: Final[Mapping[str, Way]] = MappingProxyType(
    {
        "/livez": Way(_READ, reads.livez),
        "/readyz": Way(_READ, reads.readyz),
        "/metrics": Way(_READ, reads.metrics),
        "/routes": Way(_READ, reads.routes),
    }
)
#: What is behind ``/routes/NAME``.
OF_ROUTE: Final[Mapping[str, Way]] = MappingProxyType(
    {
        "": Way(_READ, reads.route),
        "/plan": Way((*_READ, *_SEND), reads.plan),
        "/breaker": Way(_SEND, changes.breaker),
        "/cooldown": Way(_SEND, changes.cooldown),
        "/endpoint": Way(_SEND, changes.endpoint),
    }
)


@final
@define(eq=False)
class AdminEdge:
    """Answers any request to the admin API: a handler of aiohttp."""

    desk: Desk
    admin: Admin

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Find the operation and let it answer."""
        desk = self.desk
        request_id = desk.new_id()
        problem = check_headers(request.raw_headers) or denied(self.admin, request.headers)
        try:
            if problem is None:
                return await _answered(desk, request, request_id)
        except NotDone as refusal:
            problem = refusal.problem
        except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, it is answered
            problem = desk.problem_of(error, request_id)
        unknown = problem.status == HTTPStatus.UNAUTHORIZED
        more = {"WWW-Authenticate": CHALLENGE} if unknown else None
        return desk.refused(problem, request_id, more)


async def _answered(desk: Desk, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
    path, _, query = request.raw_path.partition("?")
    way, name = _found(path)
    problem = check_line(request, way.methods)
    if problem is not None:
        raise NotDone(problem)
    return await way.operation(Visit(desk, request, request_id, name, query))


def _found(path: str) -> tuple[Way, str]:
    """Return what is behind *path*, and the name of the route in it; `NotDone` if nothing is."""
    if path in PATHS:
        return PATHS[path], ""
    segment, slash, rest = path.removeprefix(_ROUTE).partition("/")
    name = _decoded(segment)
    if path.startswith(_ROUTE) and slash + rest in OF_ROUTE and name is not None:
        return OF_ROUTE[slash + rest], name
    there = listed([*PATHS, *(f"{_ROUTE}NAME{rest}" for rest in OF_ROUTE)])
    message = f"there is no such path; there are: {there}"
    raise NotDone(Problem(404, message, code="unknown_url"))


def _decoded(segment: str) -> str | None:
    """Return what *segment* stands for; None if it is not encoded as UTF-8."""
    if _BAD_ESCAPE.search(segment):
        return None
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
