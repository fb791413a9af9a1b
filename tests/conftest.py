"""What holds for every test: hypothesis profiles, and nothing is left behind.

Profiles, chosen by ``HYPOTHESIS_PROFILE``: *dev* (50 random examples), *ci* (200, the same
in every run; also where ``CI`` is set), *soak* (20,000; raise ``faulthandler_timeout``),
*mutants* (40, the same in every run, and a failure is not made smaller: it only has to be one).
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable
from socket import socket
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, Phase, settings


settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "soak", max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "mutants",
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))

#: ``make judge`` and ``make real`` run the first two, mypy reads the last.
collect_ignore: Final = ["judge", "real", "typing"]

FAILED: Final = pytest.StashKey[bool]()
#: Steps that a task gets at the end to notice that it has been cancelled.
GRACE: Final = 5


class Complaints(logging.Handler):
    """Keeps what the event loop has to complain about, such as a task that was dropped."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"complaint of the loop: {record.getMessage()}")


class Made:
    """Counts loops and sockets: a test that makes neither has nothing to leave behind.

    To look for what is left takes the collector 20 ms and more; most tests need no look.
    """

    count: ClassVar[int] = 0
    known: ClassVar[list[object]] = []

    @classmethod
    def counted(cls, init: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(init)
        def counting(*args: Any, **settings: Any) -> None:  # noqa: ANN401 -- passed on
            cls.count += 1
            init(*args, **settings)

        return counting


def pytest_configure() -> None:
    """Count from the beginning."""
    for kind in (asyncio.BaseEventLoop, socket):
        kind.__init__ = Made.counted(kind.__init__)  # type: ignore[method-assign]


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Have the collector leave alone what the tests of a file have left in caches and reports.

    The collector runs after most tests, and many times in some. With all that 9,000 tests have
    left it takes 50 ms, and one that runs it 300 times takes 16 s in place of 0.3.
    """
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def orphans(loop: asyncio.AbstractEventLoop) -> list[str]:
    """The tasks that nobody has awaited when the main coroutine of *loop* is over."""
    for _ in range(GRACE):
        loop.run_until_complete(asyncio.sleep(0))
    return [f"orphan task: {task!r}" for task in asyncio.all_tasks(loop)]


def is_open(thing: object) -> bool:
    """Whether *thing*, of one of the kinds below, has not been ended."""
    match thing:
        case asyncio.Task():
            return not thing.done()
        case socket():
            return thing.fileno() != -1
        case asyncio.BaseTransport():
            return not thing.is_closing()
        case _:  # an EventStream
            return getattr(thing, "ended") is None  # noqa: B009 -- its type is not imported


def open_things() -> list[object]:
    """What the collector knows of tasks, sockets, transports and streams that are open."""
    gc.collect()
    streams = getattr(sys.modules.get("llmstack.stream"), "EventStream", socket)
    kinds = (asyncio.Task, socket, asyncio.BaseTransport, streams)
    # By type, not isinstance: that would wake up proxies.
    return [
        thing for thing in gc.get_objects() if issubclass(type(thing), kinds) and is_open(thing)
    ]


def new(things: Iterable[object], known: Iterable[object]) -> list[str]:
    """Those of *things* that are not among the *known*, in words."""
    old = {id(thing) for thing in known}
    return [f"still open: {thing!r}" for thing in things if id(thing) not in old]


@pytest.fixture(autouse=True)
def nothing_is_left(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Generator[None]:
    """Fail the test that leaves a task, a socket or an open stream behind."""
    complaints = Complaints()
    found = complaints.heard
    cancel_all = vars(asyncio.runners)["_cancel_all_tasks"]

    def end(loop: asyncio.AbstractEventLoop) -> None:
        # `asyncio.run` cancels what is left without a word; that is where it is seen.
        found.extend(orphans(loop))
        cancel_all(loop)

    monkeypatch.setattr(asyncio.runners, "_cancel_all_tasks", end)
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    made = Made.count
    yield
    if made != Made.count:
        after = open_things()
        found.extend(new(after, Made.known))
        Made.known = after
    logger.removeHandler(complaints)
    if found and not request.node.stash.get(FAILED, False):
        pytest.fail("\n".join(["the test leaves something behind", *found]), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Remember a failure: what a test leaves behind when it fails is no news."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def pytest_collection_finish() -> None:
    """Take what exists before the first test out of the collector's sight: it is fast then."""
    Made.known = open_things()
    gc.freeze()
