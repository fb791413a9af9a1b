"""Lines of the log: they carry their facts, and whoever writes one is safe from the logger."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, Final

import pytest
import structlog
from structlog.testing import capture_logs

from llmstack.events import EventLog
from tests.shape.source import read, sources


LEVELS: Final = ("info", "warning", "error")


def write(log: EventLog, level: str, **facts: object) -> bool:
    """Write a line of a *level* that every logger has."""
    return {"info": log.info, "warning": log.warning, "error": log.error}[level]("it.was", **facts)


@contextmanager
def configured(**settings: Any) -> Iterator[None]:  # noqa: ANN401 -- whatever structlog takes
    """Configure structlog, and put back what was there."""
    old = structlog.get_config()
    structlog.configure(**settings)
    try:
        yield
    finally:
        structlog.configure(**old)


def raises(error: BaseException) -> Any:  # noqa: ANN401 -- a processor
    def processor(_logger: object, _method: str, _event: object) -> object:
        raise error

    return processor


@pytest.mark.parametrize("level", LEVELS)
def test_a_line_has_its_level_and_its_facts(level: str) -> None:
    """Those of the line itself stand in place of those that all lines have."""
    log = EventLog(endpoint="eu", attempt=1)
    with capture_logs() as lines:
        taken = write(log, level, attempt=2, wait=0.5)

    assert taken is True
    assert [
        {"event": "it.was", "log_level": level, "endpoint": "eu", "attempt": 2, "wait": 0.5}
    ] == lines


def test_what_is_bound_is_bound_for_one() -> None:
    """The other goes on without."""
    log = EventLog(endpoint="eu")
    bound = log.bind(endpoint="us", attempt=3)
    with capture_logs() as lines:
        bound.info("a")
        log.info("b")

    assert ("EventLog(endpoint='us', attempt=3)", "EventLog()") == (repr(bound), repr(EventLog()))
    assert [("us", 3), ("eu", None)] == [(x["endpoint"], x.get("attempt")) for x in lines]


def test_a_later_configuration_counts() -> None:
    """Whoever has written a line already goes by the new one from then on."""
    log, first, second = EventLog(), StringIO(), StringIO()
    for sink in (first, second):
        with configured(
            processors=[structlog.processors.LogfmtRenderer()],
            logger_factory=structlog.PrintLoggerFactory(sink),
        ):
            log.warning("it.was", where=sink is second)

    assert ("where=false event=it.was\n", "where event=it.was\n") == (
        first.getvalue(),
        second.getvalue(),
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(32, "Broken pipe"),
        OSError(28, "No space left"),
        RecursionError(),
        KeyError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_line_that_cannot_be_written_is_dropped(error: Exception, level: str) -> None:
    """Whoever wrote it is told, and may count it; bound lines are no other."""
    with configured(processors=[raises(error)]):
        assert [False, False] == [write(log, level) for log in (EventLog(), EventLog().bind(a=1))]


def test_a_logger_that_is_none_is_as_good() -> None:
    """Closed files, factories that fail, and levels that it does not have."""
    closed = StringIO()
    closed.close()

    with configured(logger_factory=structlog.PrintLoggerFactory(closed)):
        assert EventLog().info("a") is False
    with configured(logger_factory=lambda *_: 1 // 0):
        assert EventLog().error("a") is False
    with configured(wrapper_class=lambda *_, **__: object()):
        assert EventLog().warning("a") is False


def test_a_line_that_nobody_wants_is_no_lost_one() -> None:
    """Neither below the level that was asked for, nor dropped by a processor."""
    with configured(wrapper_class=structlog.make_filtering_bound_logger(40)):
        assert EventLog().info("a") is True
    with configured(processors=[raises(structlog.DropEvent())]):
        assert EventLog().error("a") is True


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(3)])
def test_what_ends_the_program_passes(error: BaseException) -> None:
    """It is nothing that a line could be dropped for."""
    with configured(processors=[raises(error)]), pytest.raises(type(error)) as caught:
        EventLog().info("a")

    assert error is caught.value


def test_nothing_else_writes_to_structlog() -> None:
    """So there is one place where a line may fail; the demo only listens."""

    def imported(tree: ast.AST) -> set[str]:
        nodes = [*ast.walk(tree)]
        names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        return names | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}

    users = [
        path
        for path in sources("llmstack")
        if any(name.split(".")[0] in {"structlog", "logging"} for name in imported(read(path).tree))
    ]

    assert ["llmstack/demo/play.py", "llmstack/events.py"] == sorted(users)
