"""The tests of a module over changed texts of it, each in a process of its own.

Where only functions have changed, that is a fork of one that has collected the tests, and
gives the functions their other code: that takes a few hundredths of a second. Else it is a
fork of one that has imported nothing of the package yet. Nothing is written to the tree.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Self, final

import coverage
import pytest
from _pytest.config import default_plugins
from attrs import define, field

from tests.mutants.bench.swap import changed_functions, swap


__all__ = ["Trial"]

#: A mutant may eat memory: more than this and it is killed by its own MemoryError.
MEMORY: Final = 4 << 30
#: It may also turn in a circle: it has four times as long as what is right, and some seconds.
PATIENCE: Final = 4.0
SECONDS: Final = 5.0
#: What all tests import, and takes long.
HEAVY: Final = (
    *("aiohttp", "hypothesis.stateful", "hypothesis.internal.conjecture.engine"),
    *("structlog.testing", "_hypothesis_pytestplugin"),
    *("anthropic.types.shared.error_type", "openai.types.responses"),
    *(f"_pytest.{plugin}" for plugin in default_plugins),
)

OPTIONS: Final = (
    *("-x", "-q", "--no-header", "--no-summary", "-p", "no:cacheprovider"),
    "-Wignore::pytest.PytestAssertRewriteWarning",  # HEAVY is imported, and need not be rewritten
)
#: The text has to be imported.
SLOW: Final = 71
#: What is no verdict on a mutant.
BROKEN: Final = 70
NO_VERDICT: Final = frozenset(
    {BROKEN, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED}
)


@final
class _Instead(MetaPathFinder, InspectLoader):
    """Finds one module, with another text."""

    def __init__(self, name: str, path: Path, text: str) -> None:
        self.name = name
        self.path = path
        self.text = text

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        return (
            spec_from_file_location(fullname, self.path, loader=self)
            if fullname == self.name
            else None
        )

    def get_source(self, _fullname: str) -> str:
        return self.text

    def get_code(self, _fullname: str) -> Any:  # noqa: ANN401 -- a code object
        return compile(self.text, str(self.path), "exec", dont_inherit=True)


@final
class _QuickFirst:
    """Puts examples before properties, and state machines last."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: (item.name == "runTest", _is_property(item)))


def _is_property(item: pytest.Item) -> bool:
    return getattr(getattr(item, "obj", None), "is_hypothesis_test", False)


def _run(seconds: float, what: Callable[..., None], *facts: Any) -> int | None:  # noqa: ANN401
    process = get_context("fork").Process(target=what, args=facts)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


@final
@define(eq=False)
class _Loop:
    """In the place of pytest's own: runs the tests, once collected, for each text that comes."""

    name: str
    text: str
    seconds: float
    line: Any  # a connection

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.collect()
        gc.freeze()
        for text in iter(self.line.recv, None):
            self.line.send(_run(self.seconds, self._try, session, text))
        return True

    def _try(self, session: pytest.Session, text: str) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        ended = BROKEN
        try:
            codes = changed_functions(self.text, text)
            swapped = codes is not None and swap(sys.modules[self.name], codes)
            ended = _ended(session) if swapped else SLOW
        finally:
            os._exit(ended)


def _ended(session: pytest.Session) -> int:
    for item, after in zip_longest(session.items, session.items[1:]):
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        except BaseException:  # noqa: BLE001 -- a mutant may break in any way
            return 1
        if session.testsfailed:
            return 1
    return 0


@final
@define(eq=False)
class Trial:
    """The tests of one module; *seconds* is the time that they have."""

    path: Path
    name: str
    tests: Sequence[Path]
    seconds: float = field(default=60.0, init=False)
    statements: list[int] = field(factory=list, init=False)
    missing: frozenset[int] = field(default=frozenset(), init=False)
    _line: Any = field(default=None, init=False)

    def __enter__(self) -> Self:
        """Run the tests unchanged; raise `RuntimeError` if they fail."""
        for each in HEAVY:
            import_module(each)
        gc.collect()
        gc.freeze()  # a fork need not look at what it got
        receiver, sender = get_context("fork").Pipe(duplex=False)
        begun = time.perf_counter()
        text = self.path.read_text("utf-8")
        ended = _run(self.seconds, self._covered, text, sender)
        if ended != 0:
            raise RuntimeError(f"the tests of {self.name} fail unchanged: exit code {ended}")
        self.statements, missing = receiver.recv()
        self.missing = frozenset(missing)
        self.seconds = PATIENCE * (time.perf_counter() - begun) + SECONDS
        self._line, theirs = get_context("fork").Pipe()
        get_context("fork").Process(target=self._serve, args=(theirs, text)).start()
        theirs.close()
        return self

    def __exit__(self, *_error: object) -> None:
        """End the process that has collected the tests."""
        self._line.send(None)
        self._line.close()

    def reaches(self, line: int) -> bool:
        """Whether the tests run the statement that *line* belongs to."""
        place = bisect_right(self.statements, line)
        return not place or self.statements[place - 1] not in self.missing

    def kills(self, text: str) -> bool:
        """Whether the tests fail with *text* in place of the module's."""
        self._line.send(text)
        ended = self._line.recv()
        # What lives in the fast way may be a function that is called at the import alone.
        if ended in (SLOW, 0):
            ended = _run(self.seconds, self._tested, text)
        if ended in NO_VERDICT:
            raise RuntimeError(f"the tests of {self.name} do not run: exit code {ended}")
        return bool(ended != 0)

    def _serve(self, line: Any, text: str) -> None:  # noqa: ANN401
        self._line.close()
        _silence()
        loop = _Loop(self.name, text, self.seconds, line)
        pytest.main([*OPTIONS, str(self.path), *map(str, self.tests)], [_QuickFirst(), loop])
        os._exit(0)

    def _covered(self, text: str, sender: Any) -> None:  # noqa: ANN401
        cover = coverage.Coverage(data_file=None, config_file=False, include=[str(self.path)])
        cover.start()
        ended = self._ask(text)
        cover.stop()
        _, statements, _, missing, _ = cover.analysis2(str(self.path))
        sender.send((statements, missing))
        os._exit(ended)

    def _tested(self, text: str) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        ended = BROKEN
        try:
            ended = self._ask(text)
        finally:
            os._exit(ended)

    def _ask(self, text: str) -> int:
        _silence()
        sys.meta_path.insert(0, _Instead(self.name, self.path, text))
        try:
            import_module(self.name)
        except Exception:  # noqa: BLE001 -- a mutant may break in any way
            return pytest.ExitCode.INTERRUPTED
        return pytest.main([*OPTIONS, str(self.path), *map(str, self.tests)], [_QuickFirst()])
