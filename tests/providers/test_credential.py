"""Where a key comes from: a file that changes, a function, the environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Final

import pytest
from attrs import define, field
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llmstack.errors import AuthFailed, ConfigError, Cool
from llmstack.providers.credential import (
    Credential,
    SecretCall,
    SecretFile,
    as_credential,
    credential,
    edition_of,
)
from llmstack.providers.secret import Secret
from llmstack.testing.virtual import run_virtual


CANARY: Final = "sk-canary-9Kq2"
#: What may lie at a path, and the key in it; None is of no use.
LIES: Final[dict[str, tuple[bytes | None, str | None]]] = {
    "one": (b"sk-one", "sk-one"),
    "two": (b"sk-two", "sk-two"),
    "spaced": (b"\n sk-one\r\n", "sk-one"),
    "empty": (b"", None),
    "blank": (b" \n\t", None),
    "lines": (b"sk-one\nsk-two", None),
    "umlaut": ("schlüssel".encode(), None),
    "binary": (b"\xff\xfe", None),
    "long": (b"a" * 65537, None),
    "longest": (b"b" * 65536, "b" * 65536),
    "gone": (None, None),
    "folder": (None, None),
    "pipe": (None, None),
}
#: What is put in place, by a write or by a rename; or a wait in seconds before the next read.
Step = tuple[str, bool] | float
steps: Final = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([*LIES]), st.booleans()), st.sampled_from([0.0, 0.4, 0.999, 1.0])
    ),
    max_size=12,
)


@define
class Shelf:
    """A path at which things are put; each has a time of its own, as a slow hand would give it."""

    path: Path
    writes: int = field(default=0, init=False)

    def put(self, what: str, *, renames: bool = False) -> None:
        self.writes += 1
        data, _ = LIES[what]
        if data is None:
            self.clear()
            {"gone": lambda _: None, "folder": Path.mkdir, "pipe": os.mkfifo}[what](self.path)
            return
        if not self.path.is_file():
            self.clear()
        target = self.path.with_name("new") if renames else self.path
        target.write_bytes(data)
        os.utime(target, ns=(0, self.writes * 10**9))
        target.replace(self.path)

    def clear(self) -> None:
        if self.path.is_dir():
            self.path.rmdir()
        else:
            self.path.unlink(missing_ok=True)


def looks_of(script: Sequence[Step]) -> tuple[list[str], list[int]]:
    """The model: what lies there at each look, and for each read the number of its look."""
    there, time, last = "one", 0.0, -1.0
    looks, reads = ["one"], []
    for step in script:
        if isinstance(step, tuple):
            there = step[0]
            continue
        time += step
        if time - last >= 1:
            last = time
            looks.append(there)
        reads.append(len(looks))
    return looks, reads


def told(looks: Sequence[str]) -> tuple[list[str], list[str]]:
    """The model: the key after each look, and what is logged."""
    keys = [LIES[what][1] for what in looks]
    good = [next(key for key in reversed(keys[: n + 1]) if key) for n in range(len(keys))]
    events = []
    for n in range(1, len(keys)):
        if keys[n] is None and keys[n - 1] is not None:
            events.append("credential.unreadable")
        if good[n] != good[n - 1]:
            events.append("credential.changed")
    return good, events


@given(steps)
@example([1.0, ("gone", False), 1.0, 1.0, ("one", True), 1.0, ("gone", False), 1.0])
@example([("pipe", False), 1.0, ("two", False), 1.0, ("folder", False), 1.0, ("two", True), 1.0])
@example([("long", False), 1.0, ("longest", False), 1.0, ("umlaut", False), 0.999, 1.0])
def test_a_file_is_read_again_when_it_changes(script: list[Step]) -> None:
    """Looked at once a second at most; what is no key leaves the last good one, and is told."""
    with TemporaryDirectory() as folder, capture_logs() as events:
        shelf = Shelf(Path(folder) / "key")
        shelf.put("one")
        secret = SecretFile(shelf.path)

        async def main() -> list[str]:
            seen = []
            for step in script:
                if isinstance(step, tuple):
                    shelf.put(step[0], renames=step[1])
                else:
                    await asyncio.sleep(step)
                    seen.append(secret.current().reveal())
            return seen

        seen = run_virtual(main())[0]
    looks, reads = looks_of(script)
    good, logged = told(looks)

    assert [good[n - 1] for n in reads] == seen
    assert logged == [event["event"] for event in events]
    assert "sk-" not in str(events)


def test_what_is_logged_of_a_file(tmp_path: Path) -> None:
    """Which file, and what is wrong with it; a change is no news but for itself."""
    shelf = Shelf(tmp_path / "key")
    shelf.put("one")
    secret = SecretFile(shelf.path)
    with capture_logs() as events:
        for what in ("gone", "two", "empty", "one", "binary", "one", "folder", "one", "long"):
            shelf.put(what)
            secret.current()
    lost = {"event": "credential.unreadable", "log_level": "warning", "file": str(shelf.path)}
    changed = {"event": "credential.changed", "log_level": "info", "file": str(shelf.path)}

    assert [
        {**lost, "reason": "no such file or directory"},
        changed,
        {**lost, "reason": "it is empty or has signs that a header cannot carry"},
        changed,
        {**lost, "reason": "it is not text"},
        {**lost, "reason": "it is no file any more"},
        {**lost, "reason": "it is longer than 65536 bytes"},
    ] == events


def test_a_file_may_come_back_as_it_was(tmp_path: Path) -> None:
    """That it is gone is told each time."""
    path, away = tmp_path / "key", tmp_path / "away"
    path.write_text("sk-one")
    secret = SecretFile(path)
    with capture_logs() as events:
        for source, target in [(path, away), (away, path), (path, away)]:
            source.rename(target)
            secret.current()

    assert ["credential.unreadable"] * 2 == [event["event"] for event in events]


def test_without_a_loop_and_in_another_one_the_file_is_looked_at(tmp_path: Path) -> None:
    """The clocks of two loops have nothing to do with each other."""
    shelf = Shelf(tmp_path / "key")
    shelf.put("one")
    secret = SecretFile(shelf.path)

    async def late(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return secret.current().reveal()

    seen = [run_virtual(late(90.0))[0]]
    for what in ("two", "one"):
        shelf.put(what)
        seen.append(secret.current().reveal())
    shelf.put("two")
    seen.append(run_virtual(late(0.5))[0])
    shelf.put("one")
    seen.append(run_virtual(late(0.2))[0])

    assert ["sk-one", "sk-two", "sk-one", "sk-two", "sk-one"] == seen


def test_a_file_is_not_opened_again_while_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look is one call of the system."""
    shelf = Shelf(tmp_path / "key")
    shelf.put("one")
    secret = SecretFile(shelf.path)
    opened: list[object] = []
    monkeypatch.setattr(Path, "open", lambda *given: opened.append(given))
    secret.current()

    assert [] == opened


@pytest.mark.parametrize("mark", ["size", "time", "file"])
def test_any_mark_tells_a_file_from_another(mark: str, tmp_path: Path) -> None:
    """Its size, its time, or that it is another file."""
    path, other = tmp_path / "key", tmp_path / "other"
    path.write_bytes(b"sk-one")
    os.utime(path, ns=(0, 10))
    secret = SecretFile(path)
    if mark == "file":
        other.write_bytes(b"sk-two")
        os.utime(other, ns=(0, 10))
        other.replace(path)
    else:
        path.write_bytes(b"sk-two" if mark == "time" else b"sk-twos")
        os.utime(path, ns=(0, 11 if mark == "time" else 10))

    assert "sk-two" == secret.current().reveal()[:6]


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """To open it again could take for ever, and there is nothing more in it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = Thread(target=path.write_bytes, args=[b"sk-one"], daemon=True)
    writer.start()
    secret = SecretFile(path)
    writer.join(10)

    os.utime(path, ns=(0, 0))
    with capture_logs() as events:
        assert ["sk-one"] * 2 == [secret.current().reveal() for _ in range(2)]
    assert [] == events


@pytest.mark.parametrize(
    "what", [what for what, (_, key) in LIES.items() if key is None and what != "pipe"]
)
def test_a_file_without_a_key_is_a_mistake(what: str, tmp_path: Path) -> None:
    """When it is made; and its path is not repeated, for it may be the key."""
    shelf = Shelf(tmp_path / CANARY)
    shelf.put(what)
    with pytest.raises(ConfigError, match="the file cannot be read: ") as raised:
        SecretFile(shelf.path)

    assert CANARY not in f"{raised.value!r}"
    assert raised.value.__cause__ is None


def test_a_function_is_asked_each_time() -> None:
    """It returns a string or a secret."""
    said: list[Any] = ["sk-one", Secret("sk-two")]
    secret = SecretCall(lambda: said.pop(0))

    assert ["sk-one", "sk-two"] == [secret.current().reveal() for _ in range(2)]
    assert "SecretCall()" == repr(secret)


def _fails() -> str:
    raise LookupError(CANARY)


CARRY: Final = "returned what is empty or has signs that a header cannot carry"
GIVES: Final[dict[str, tuple[Callable[[], Any], str]]] = {
    "error": (_fails, "raised LookupError"),
    "none": (lambda: None, "returned NoneType, which is no key"),
    "bytes": (CANARY.encode, "returned bytes, which is no key"),
    "coroutine": (lambda: asyncio.sleep(0), "returned coroutine, which is no key"),
    "empty": (lambda: "", CARRY),
    "blanks": (lambda: "  ", CARRY),
    "lines": (lambda: f"{CANARY}\r\nx: y", CARRY),
    "secret": (lambda: Secret(f"{CANARY}ß"), CARRY),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gives", [*GIVES])
def test_a_function_that_gives_no_key_fails_as_a_key_does(gives: str) -> None:
    """Nothing was sent, another key may do, it is asked soon; what it said is not shown."""
    ask, did = GIVES[gives]
    with pytest.raises(AuthFailed) as raised:
        SecretCall(ask).current()
    error = raised.value

    assert f"the function that has the key {did}" == error.message
    assert (True, False, True) == (error.unsent, error.again, error.elsewhere)
    assert ("key", Cool("key", 10.0)) == (error.blames, error.cools)
    assert (gives == "error") is isinstance(error.__cause__, LookupError)
    assert CANARY not in f"{error} {error!r}"
    assert (False, Cool("key", 600.0)) == (AuthFailed.unsent, AuthFailed.cools)


def test_a_bug_that_is_no_exception_passes() -> None:
    """Whoever stops the program stops it."""

    def stops() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SecretCall(stops).current()


@pytest.mark.parametrize(
    ("ask", "what"),
    [(asyncio.sleep, "plain function, not an async one: .*"), (b"sk-1", "function, not bytes")],
)
def test_a_function_must_return_at_once(ask: Callable[[], str], what: str) -> None:
    """One that waits is refused where it is written; what is no function may be a key."""
    with pytest.raises(ConfigError, match=f"^ask must be a {what}$"):
        credential(ask)


def test_where_a_key_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the environment, in a file, with a function, or here."""
    monkeypatch.setenv("ONE_KEY", CANARY)
    (tmp_path / "key").write_text(f"{CANARY}\n")
    secret = Secret(CANARY)
    made = [
        credential("env:ONE_KEY"),
        credential(f"file:{tmp_path / 'key'}"),
        credential(lambda: CANARY),
        credential(secret),
    ]

    assert [Secret, SecretFile, SecretCall, Secret] == [type(each) for each in made]
    assert all(isinstance(each, Credential) for each in made)
    assert [CANARY] * 4 == [each.current().reveal() for each in made]
    assert secret is made[-1]
    assert CANARY not in repr(made)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        *((each, 'must be "env:NAME" or "file:PATH"') for each in ("", CANARY, "env:", "file:")),
        ("env:NOT_THERE_2", "the environment variable NOT_THERE_2 is not set"),
        (f"env:{CANARY}", "the environment variable of that name is not set"),
        (f"file:/{CANARY}", "the file cannot be read: no such file or directory"),
    ],
)
def test_a_source_without_a_key_is_a_mistake(source: str, says: str) -> None:
    """Told without the source: it may be the key itself."""
    with pytest.raises(ConfigError, match=f"^{says}") as raised:
        credential(source)

    assert CANARY not in str(raised.value)


def test_a_plain_string_is_the_key_itself() -> None:
    """For a leaf; all else is as it is, and a function is asked."""
    secret = Secret(CANARY)
    asked = as_credential(lambda: CANARY)

    assert secret == as_credential(CANARY)
    assert secret is as_credential(secret)
    assert as_credential(None) is None
    assert asked is not None
    assert secret == asked.current()


def test_each_other_key_of_a_file_is_another_edition(tmp_path: Path) -> None:
    """A file that is written anew with the same key, or that is gone, is no other one."""
    path = tmp_path / "key"
    path.write_text("one")
    credential = SecretFile(path)
    seen = [credential.edition()]
    for text in ("two", "two \n", "", "three"):
        path.write_text(text)
        seen.append(credential.edition())

    assert [0, 1, 1, 1, 2] == seen


def test_each_other_key_of_a_function_is_another_edition() -> None:
    """One that has none just now is no other one."""
    keys = iter(["one", "one", "two", "", "two", "one"])
    credential = SecretCall(lambda: next(keys))

    assert [0, 0, 1, 1, 1, 2] == [credential.edition() for _ in range(6)]


def test_a_key_that_never_changes_has_no_edition() -> None:
    """Nor has an endpoint that asks nobody for a key."""
    assert [None, None] == [edition_of(Secret("sk-1")), edition_of(None)]
