"""JSON as programs write it, read in half the time, where orjson is installed (``speedups``).

orjson takes the last of two equal keys and makes floats of long integers, and says nothing.
So what it read counts only if to write it again gives the very same bytes, as it does for
what the SDKs send: then nothing was left out and nothing changed. All else is for the
standard library. 200 KB take 0.1 ms in this way and 0.2 ms in the other.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final


__all__ = ["canonical", "reader"]

#: Within so many bytes there is a colon, and behind it a space or none.
HEAD: Final = 64


def reader(module: str = "orjson") -> Callable[[bytes], Any]:
    """Return what reads the bytes of a value; it returns None for those that it is not sure of.

    Without the *module* that is for all of them.
    """
    try:
        found = import_module(module)
    except ImportError:
        return _unsure
    loads, dumps = found.loads, found.dumps

    def read(raw: bytes) -> Any:  # noqa: ANN401 -- whatever JSON it is
        # A space behind a colon would not come back, so it need not be tried.
        if b'": ' in raw[:HEAD]:
            return None
        try:
            value = loads(raw)
            return value if dumps(value) == raw else None
        except (ValueError, TypeError):  # no JSON; or nested too deeply to be written
            return None

    return read


def _unsure(_raw: bytes) -> None:
    return None


canonical: Final = reader()
