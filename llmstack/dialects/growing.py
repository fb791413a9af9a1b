"""An object of which each event says a part, put together again.

Texts and lists grow, objects grow field by field, whatever else is said again replaces what
was there, and null says nothing. Joining costs as much as the whole has bytes, however many
parts it came in.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any, Final, final

from attrs import define, field


__all__ = ["Growing"]

#: Said once; their first word stands. Some hosts repeat them in each event.
NAMES: Final = frozenset({"id", "name", "role", "type"})
#: Objects in objects that grow; what is deeper is said at once.
DEPTH: Final = 2


@final
@define(eq=False)
class Growing:
    """What has been said of one object so far.

    >>> message = Growing()
    >>> message.take({"role": "assistant", "content": None})
    >>> message.take({"content": "Hel"})
    >>> message.take({"content": "lo"})
    >>> message.whole()
    {'role': 'assistant', 'content': 'Hello'}
    """

    _depth: int = DEPTH
    _fields: dict[str, Any] = field(factory=dict, init=False)

    def take(self, part: Mapping[str, Any]) -> None:
        """Add *part*, which is left as it is."""
        for name, value in part.items():
            self._fields[name] = self._grown(name, self._fields.get(name), value)

    def whole(self) -> dict[str, Any]:
        """Return all that was said."""
        return {name: _plain(value) for name, value in self._fields.items()}

    def _grown(self, name: str, old: Any, value: object) -> object:  # noqa: ANN401 -- any JSON
        match value:
            case None:
                return old
            case str() if name in NAMES:
                return old or value
            case str():
                text = old if isinstance(old, StringIO) else StringIO()
                text.write(value)
                return text
            case list():
                return [*value] if not isinstance(old, list) else _longer(old, value)
            case dict() if self._depth:
                grown = old if isinstance(old, Growing) else Growing(self._depth - 1)
                grown.take(value)
                return grown
            case _:
                return value


def _longer(old: list[object], more: list[object]) -> list[object]:
    old += more  # a copy for each part would cost their number times their length
    return old


def _plain(value: object) -> object:
    if isinstance(value, StringIO):
        return value.getvalue()
    return value.whole() if isinstance(value, Growing) else value
