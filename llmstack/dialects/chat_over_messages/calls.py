"""The tool calls of a conversation: their ids, their inputs, and which still lack a result.

Messages wants ids of its own alphabet, each once in a conversation, and for each call a result
in the very next turn. Errors: `Untranslatable`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn, final

from attrs import define, field

from llmstack.dialects.chat_over_messages.fields import rest
from llmstack.dialects.chat_over_messages.shapes import a_list, a_text, an_object
from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable


__all__ = ["Calls", "named"]

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_-]")


def named(value: object, path: str) -> str:
    """Return the name *value* of a tool, if it is one for Messages too."""
    if not _NAME.fullmatch(a_text(value, path)):
        raise Untranslatable(f"{path}: not a name of a tool in Messages")
    return str(value)


def _no_number(_: str) -> NoReturn:
    raise ValueError


def _input(arguments: object, path: str) -> JSON:
    """The object that *arguments* are the JSON of; nothing is one without members."""
    text = a_text(arguments, path)
    try:
        value = json.loads(text, parse_constant=_no_number) if text.strip() else {}
    except (ValueError, RecursionError):
        raise Untranslatable(f"{path}: not valid JSON") from None
    return an_object(value, path)


@final
@define(eq=False)
class Calls:
    """The calls so far: ids that are *taken*, names *used*, and those *open*, with their paths.

    What is left out of them is added to *dropped*.
    """

    dropped: list[str]
    taken: set[str] = field(factory=set, init=False)
    used: dict[str, None] = field(factory=dict, init=False)
    open: dict[tuple[str, str], tuple[str, str]] = field(factory=dict, init=False)

    def made(self, message: JSON, place: int) -> list[dict[str, Any]]:
        """Return the blocks of the calls that the assistant makes in *message*."""
        path = f"messages.{place}"
        function = message.get("function_call")
        calls = message.get("tool_calls")
        made = []
        if function is not None:
            made.append(self._call(function, None, f"{path}.function_call"))
        for index, each in enumerate(a_list(calls or [], f"{path}.tool_calls")):
            made.append(self._tool_call(each, f"{path}.tool_calls.{index}"))
        return made

    def _tool_call(self, each: object, path: str) -> dict[str, Any]:
        call = an_object(each, path)
        if call.get("type", "function") != "function":
            raise Untranslatable(f"{path}: Messages has calls of functions only")
        self.dropped += rest(call, ("id", "type", "function", "index"), path)
        return self._call(
            call.get("function"), a_text(call.get("id"), f"{path}.id"), f"{path}.function"
        )

    def _call(self, value: object, raw: str | None, path: str) -> dict[str, Any]:
        """The block of a call with the id *raw*; those of the older form have none."""
        function = an_object(value, path)
        self.dropped += rest(function, ("name", "arguments"), path)
        name = named(function.get("name"), f"{path}.name")
        key = ("name", name) if raw is None else ("id", raw)
        if key in self.open:
            raise Untranslatable(f"{path}: a call with the same id is open")
        called = self._free(raw or "")
        self.used[name] = None
        self.open[key] = (called, path)
        given = _input(function.get("arguments", ""), f"{path}.arguments")
        return {"type": "tool_use", "id": called, "name": name, "input": given}

    def _free(self, raw: str) -> str:
        """An id for Messages that says *raw* as well as it can, the same on each turn."""
        base = called = _FOREIGN.sub("_", raw) or "call"
        more = len(self.taken)
        while called in self.taken:
            called = f"{base}_{more}"
            more += 1
        self.taken.add(called)
        return called

    def answered(self, message: JSON, place: int) -> str:
        """Return the id of the call whose result *message* is, and close it."""
        kind, name = ("id", "tool_call_id") if message["role"] == "tool" else ("name", "name")
        path = f"messages.{place}.{name}"
        found = self.open.pop((kind, a_text(message.get(name), path)), None)
        if found is None:
            raise Untranslatable(f"{path}: no call in the turn before waits for it")
        return found[0]

    def all_answered(self) -> None:
        """Raise if a call has no result."""
        for _, path in self.open.values():
            raise Untranslatable(f"{path}: Messages has no call without a result")
