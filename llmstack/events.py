"""Events: what is told of a stack while it works, each as one line of the log.

All lines of the package are written here, to the structlog logger ``llmstack`` as it is
configured at that moment. None of them decides anything: the reader of a pipe may be gone, a
disk full, a processor of the user's at fault. So a line that cannot be written is dropped,
and whoever wrote it goes on as if it had been; what must count such lines gets told.

Errors: none; what is no `Exception`, such as a cancellation, passes. Events: all of them.
"""

from __future__ import annotations

from typing import Final, final

import structlog


__all__ = ["EventLog"]

_LOGGER: Final = structlog.get_logger("llmstack")


@final
class EventLog:
    """Writes lines that all have the facts *bound*; each method tells whether it was taken.

    >>> EventLog(endpoint="eu").bind(attempt=2)
    EventLog(endpoint='eu', attempt=2)
    """

    __slots__ = ("_bound",)

    def __init__(self, **bound: object) -> None:
        self._bound = bound

    def __repr__(self) -> str:
        facts = (f"{name}={value!r}" for name, value in self._bound.items())
        return f"EventLog({', '.join(facts)})"

    def bind(self, **facts: object) -> EventLog:
        """Return one whose lines have *facts* as well."""
        return EventLog(**{**self._bound, **facts})

    def info(self, event: str, /, **facts: object) -> bool:
        """Write what is as it should be."""
        return self._taken("info", event, facts)

    def warning(self, event: str, /, **facts: object) -> bool:
        """Write what somebody may want to look at."""
        return self._taken("warning", event, facts)

    def error(self, event: str, /, **facts: object) -> bool:
        """Write what somebody has to mend."""
        return self._taken("error", event, facts)

    def _taken(self, level: str, event: str, facts: dict[str, object]) -> bool:
        try:
            getattr(_LOGGER, level)(event, **{**self._bound, **facts})
        except Exception:  # noqa: BLE001 -- a line must not decide how a call ends
            return False
        return True
