"""The contract: services, layers, and the one mechanism that settles everything.

A *service* is an async callable of one request. A *layer* takes a service and returns
one. There is no readiness: a layer that cannot take a request now raises a `NotReady`
refusal before anything is sent. `observe` is how whatever was taken is given back.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Protocol, TypeVar, runtime_checkable

from llmstack.call import Attempt, Call, End, Outcome


__all__ = [
    "Layer",
    "Ordered",
    "Req",
    "Resp",
    "Service",
    "by_endpoint",
    "by_model",
    "by_tenant",
    "deadline_of",
    "insists",
    "is_extra",
    "observe",
]

Req = TypeVar("Req")
Resp = TypeVar("Resp")
_Req_contra = TypeVar("_Req_contra", contravariant=True)
_Resp_co = TypeVar("_Resp_co", covariant=True)


class Service(Protocol[_Req_contra, _Resp_co]):
    """An async callable of one request; any ``async def f(request)`` is one."""

    async def __call__(self, request: _Req_contra, /) -> _Resp_co:
        """Answer *request* or raise."""
        ...


#: A layer takes the service below it and returns the service with its concern added.
Layer = Callable[[Service[Any, Any]], Service[Any, Any]]


@runtime_checkable
class Ordered(Protocol):
    """A layer that says where in a stack it belongs.

    *above* and *below* map the role of another layer to the reason, in words.
    """

    role: str

    @property
    def above(self) -> Mapping[str, str]:
        """What this layer must be outside of."""
        ...

    @property
    def below(self) -> Mapping[str, str]:
        """What this layer must be inside of."""
        ...


async def observe(inner: Service[Req, Resp], request: Req, end: End) -> Resp:
    """Await *inner* and see to it that ``end(outcome)`` is called exactly once.

    On an error and on a cancellation that is now; on a reply that knows its own end (it
    has ``on_end``) it is then: a stream ends when it is read out, breaks, is closed or is
    dropped unread. *end* is synchronous and never raises.
    """
    # A call that is collected unfinished ends when no loop runs any more.
    loop = get_running_loop()
    try:
        reply = await inner(request)
    except BaseException as error:
        end(Outcome.of(error, loop.time()))
        raise
    on_end: Callable[[End], None] | None = getattr(reply, "on_end", None)
    if on_end is None:
        now = loop.time()
        end(Outcome(now, first=now))
    else:
        on_end(end)
    return reply


def by_endpoint(request: Any, /) -> str | None:  # noqa: ANN401 -- requests are of any type
    """Key: the name of the endpoint that a router above has chosen; None above routers."""
    return getattr(getattr(request, "endpoint", None), "name", None)


def by_model(request: Any, /) -> str | None:  # noqa: ANN401
    """Key: the model asked for."""
    return getattr(request, "model", None)


def by_tenant(request: Any, /) -> str | None:  # noqa: ANN401
    """Key: the tenant, None for callers without one."""
    return getattr(request, "tenant", None)


def deadline_of(request: Any, /) -> float:  # noqa: ANN401
    """Return the request's deadline in loop time; infinity where there is none."""
    call = getattr(request, "call", None)
    return call.deadline if isinstance(call, Call) else inf


def insists(request: Any, /) -> bool:  # noqa: ANN401
    """Whether a router found nothing better, so that a gate must not refuse softly."""
    return getattr(request, "insists", False) is True


def is_extra(request: Any, /) -> bool:  # noqa: ANN401
    """Whether another attempt of the same call is at work, so that this could be done without."""
    attempt = getattr(request, "attempt", None)
    return isinstance(attempt, Attempt) and attempt.extra
