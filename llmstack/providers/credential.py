"""Where a key comes from, and that it may change while requests are on their way.

Whoever writes a request asks once for the key that is good now, and goes by that until the
reply is over, so that an old key that comes back in it is concealed like any other. A `Secret`
never changes, a `SecretFile` goes by its file, a `SecretCall` asks a function.

Errors: `ConfigError` for a source that has no key to begin with; `AuthFailed`, unsent, for a
function that gives none. Events: `credential.changed` (info), `credential.unreadable` (warning).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from math import inf
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple, Protocol, final, runtime_checkable

from attrs import define, field

from llmstack import clock
from llmstack.errors import AuthFailed, ConfigError, Cool
from llmstack.events import EventLog
from llmstack.hooks import answers_at_once
from llmstack.providers.address import is_sendable
from llmstack.providers.secret import Secret


__all__ = [
    "Ask",
    "Credential",
    "SecretCall",
    "SecretFile",
    "as_credential",
    "credential",
    "edition_of",
]

log: Final = EventLog()

#: Seconds between two looks at a file.
EVERY: Final = 1.0
#: Bytes that a file with a key may have; one that is longer holds something else.
LONGEST: Final = 64 << 10
#: Of a key that a function did not give nothing is known to be wrong, so it is asked for soon.
SOON: Final = Cool("key", 10.0)

#: Names of variables that a message may repeat; other words might be the key itself.
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")


@runtime_checkable
class Credential(Protocol):
    """Whatever has the key that is good now."""

    def current(self) -> Secret:
        """Return it at once, without waiting for anything; `AuthFailed` if there is none."""
        ...


Ask = Callable[[], Secret | str]


def edition_of(credential: Credential | None) -> Callable[[], int] | None:
    """Return what tells the edition of *credential*; None for one that never changes."""
    edition: Callable[[], int] | None = getattr(credential, "edition", None)
    return edition


class _Mark(NamedTuple):
    """What tells one state of a file from another."""

    changed: int
    size: int
    inode: int


@final
@define(eq=False)
class SecretFile:
    """The key in the file *path*, without the white space around it; read again when that changes.

    A request looks at the file if nobody has for a second. While that is gone, is empty, or
    holds no key, the last good one stays. What is no file, such as a pipe, is read once.
    """

    path: Path = field(converter=Path, repr=str)
    _secret: Secret = field(init=False, repr=False)
    _mark: _Mark | None = field(init=False, repr=False)  # None: of nothing that could be read
    _looked: float = field(default=-inf, init=False, repr=False)
    _follows: bool = field(init=False, repr=False)
    _told: bool = field(default=False, init=False, repr=False)
    _edition: int = field(default=0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        try:
            self._follows, self._mark, text = _read(self.path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the file cannot be read: {_why(error)}") from None
        self._secret = Secret(text)

    def current(self) -> Secret:
        """Return the key that was in the file when that was looked at last."""
        now = clock.now() if clock.runs() else None
        # A time before the last look is that of another loop.
        if now is None or not 0 <= now - self._looked < EVERY:
            self._looked = -inf if now is None else now
            if self._follows:
                self._look()
        return self._secret

    def edition(self) -> int:
        """Return how often the key has been exchanged."""
        self.current()
        return self._edition

    def _look(self) -> None:
        try:
            if _mark(self.path.stat()) == self._mark:
                return
            _, self._mark, text = _read(self.path, follows=True)
        except (OSError, ValueError) as error:
            self._mark = None
            if not self._told:
                log.warning("credential.unreadable", file=str(self.path), reason=_why(error))
            self._told = True
            return
        self._told = False
        new = Secret(text)
        if new != self._secret:
            self._secret = new
            self._edition += 1
            log.info("credential.changed", file=str(self.path))


def _mark(about: os.stat_result) -> _Mark:
    return _Mark(about.st_mtime_ns, about.st_size, about.st_ino)


def _read(path: Path, *, follows: bool = False) -> tuple[bool, _Mark, str]:
    """Return whether *path* is a file, its mark, and the key in it.

    With *follows* nothing else is opened: whoever opens a pipe may wait for ever.
    """
    if follows and not S_ISREG(path.stat().st_mode):
        raise _Unfit("it is no file any more")
    with path.open("rb") as file:
        # The mark first: what is written after it is seen by the next look.
        about = os.fstat(file.fileno())
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise _Unfit(f"it is longer than {LONGEST} bytes")
    text = data.decode().strip()
    if not is_sendable(text):
        raise _Unfit("it is empty or has signs that a header cannot carry")
    return S_ISREG(about.st_mode), _mark(about), text


class _Unfit(ValueError):
    """What is in a file is no key, in words of ours."""


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return (error.strerror or "").lower()
    return str(error) if isinstance(error, _Unfit) else "it is not text"


@final
@define(eq=False)
class SecretCall:
    """The key that the function *ask* returns, asked for each request.

    It must return at once. A key that has to be fetched is fetched by somebody else in good
    time, and this function returns the last one.
    """

    ask: Ask = field(repr=False, validator=answers_at_once)
    _last: Secret | None = field(default=None, init=False, repr=False)
    _edition: int = field(default=0, init=False, repr=False)

    def edition(self) -> int:
        """Return how often the function has returned another key than before."""
        with suppress(AuthFailed):
            self.current()
        return self._edition

    def current(self) -> Secret:
        """Ask for the key; `AuthFailed`, unsent, if none comes."""
        try:
            value: object = self.ask()
        except Exception as error:
            raise _no_key(f"raised {type(error).__name__}") from error
        if isinstance(value, Coroutine):
            value.close()
        if not isinstance(value, Secret | str):
            raise _no_key(f"returned {type(value).__name__}, which is no key")
        secret = Secret(value) if isinstance(value, str) else value
        if not is_sendable(secret.reveal()):
            raise _no_key("returned what is empty or has signs that a header cannot carry")
        if secret != self._last:
            self._edition += self._last is not None
            self._last = secret
        return secret


def _no_key(did: str) -> AuthFailed:
    error = AuthFailed(f"the function that has the key {did}")
    error.unsent = True
    error.cools = SOON
    return error


def as_credential(value: Credential | Ask | str | None) -> Credential | None:
    """Close a plain string, which is the key itself, and wrap a function; the rest passes."""
    if isinstance(value, str):
        return Secret(value)
    return value if value is None or isinstance(value, Credential) else SecretCall(value)


def credential(source: Credential | Ask | str, /) -> Credential:
    """Return the key that is where *source* says: ``env:NAME``, ``file:PATH`` or a function.

    The environment is read now, a `SecretFile` whenever it changes. What is wrong with a source
    is told without the source: it may be the key itself.
    """
    if not isinstance(source, str):
        return source if isinstance(source, Credential) else SecretCall(source)
    where, _, name = source.partition(":")
    if where == "env" and name:
        return Secret(_variable(name))
    if where == "file" and name:
        return SecretFile(name)
    raise ConfigError('must be "env:NAME" or "file:PATH", so that no key stands in this file')


def _variable(name: str) -> str:
    if name in os.environ:
        return os.environ[name]
    shown = name if _VARIABLE.fullmatch(name) else "of that name"
    raise ConfigError(f"the environment variable {shown} is not set")
