"""Log: one line for each call, when it is over.

Put it at the edge, above everything else, so that a line tells the whole call with all its
attempts. What changes state below (a breaker that opens, a retry) logs its own transitions.
No prompt, no reply and no key is ever in a line.

Events: `call.ended`, at level info, or warning if the call failed or was refused. Keys:
*request_id*, *model* ("?" if it looks like no name), *endpoint* that served, *attempts* sent
upstream, *how* it ended, *error* class, *seconds*, *first* content after so many seconds, tokens
(*input*, *cached*, *output*) and *cost* in USD. What is not known is left out.

Errors: none. A logger that raises changes no call: its line is lost, and that is counted.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, Generic, final

from attrs import define, field, frozen

from llmstack import clock
from llmstack.call import Call, Outcome
from llmstack.events import EventLog
from llmstack.service import Req, Resp, Service, observe


__all__ = ["Log", "LogService"]

log: Final = EventLog()

#: What names a model; where a route takes any name, it may be any text of a caller.
_NAME: Final = re.compile(r"[A-Za-z0-9._/:@-]{0,128}")


@final
@frozen
class Log:
    """Write one line a call.

    >>> Log()
    Log()
    """

    role: ClassVar[str] = "log"

    def __call__(self, inner: Service[Req, Resp], /) -> LogService[Req, Resp]:
        """Wrap *inner*."""
        return LogService(inner)


@final
@define(eq=False)
class LogService(Generic[Req, Resp]):
    """The shell: observe, and write when it is over; *lost* counts what the logger refused."""

    inner: Service[Req, Resp]
    lost: int = field(default=0, init=False)

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service; its end writes the line."""
        started = clock.now()

        def end(outcome: Outcome) -> None:
            if not _write(request, started, outcome):
                self.lost += 1

        return await observe(self.inner, request, end)

    def statistics(self) -> dict[str, int]:
        """Return the number of lines that the logger did not take."""
        return {"lost": self.lost}


def _write(request: object, started: float, outcome: Outcome) -> bool:
    line: dict[str, Any] = _facts_of(request)
    line["how"] = outcome.how
    line["seconds"] = round(outcome.ended - started, 3)
    if outcome.error is not None:
        line["error"] = type(outcome.error).__name__
    if outcome.first is not None:
        line["first"] = round(outcome.first - started, 3)
    usage = outcome.usage
    if usage is not None:
        line |= {"input": usage.input, "cached": usage.cached, "output": usage.output}
    if outcome.cost is not None:
        line["cost"] = outcome.cost
    bad = outcome.how in {"failed", "refused"}
    return (log.warning if bad else log.info)("call.ended", **line)


def _facts_of(request: object) -> dict[str, Any]:
    """Return what names the call; a request of another type has none of it."""
    call = getattr(request, "call", None)
    if not isinstance(call, Call):
        return {}
    last = next((attempt for attempt in reversed(call.attempts) if not attempt.group), None)
    return {
        "request_id": call.id,
        "model": _named(getattr(request, "model", None)),
        "endpoint": None if last is None else last.endpoint,
        "attempts": call.sent,
    }


def _named(model: object) -> str | None:
    if model is None:
        return None
    return model if isinstance(model, str) and _NAME.fullmatch(model) else "?"
