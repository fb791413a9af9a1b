"""The tool calls of a conversation: their ids, their inputs, and which still lack a result.

Messages wants ids of its own alphabet, each once in a conversation, and for each call a result
in the very next turn. Errors: `Untranslatable`.
"""

from __future__ import annotations

import re
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.messages import call_id
from llmstack.dialects.place import Place
from llmstack.dialects.shapes import object_in
from llmstack.dialects.translator import JSON


__all__ = ["Calls", "named"]

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def named(name: Place) -> str:
    """Return the name of a tool, if it is one for Messages too."""
    if not _NAME.fullmatch(name.text()):
        raise name.refusal("not a name of a tool in Messages")
    return name.text()


def _input(arguments: Place) -> JSON:
    """The object that *arguments* are the JSON of; nothing is one without members."""
    value = object_in(arguments.text())
    if value is None:
        raise arguments.refusal("must be the JSON of an object")
    return value


@final
@define(eq=False)
class Calls:
    """The calls so far: ids that are *taken*, names *used*, and those *open*, with their places."""

    taken: set[str] = field(factory=set, init=False)
    used: dict[str, None] = field(factory=dict, init=False)
    open: dict[tuple[str, str], tuple[str, Place]] = field(factory=dict, init=False)

    def made(self, message: Place) -> list[dict[str, Any]]:
        """Return the blocks of the calls that the assistant makes in *message*."""
        older, calls = message["function_call"], message["tool_calls"]
        made = [self._call(older, None)] if older.given else []
        return [*made, *(self._tool_call(call) for call in (calls.each() if calls.value else ()))]

    def _tool_call(self, call: Place) -> dict[str, Any]:
        if call.fields().get("type", "function") != "function":
            raise call["type"].refusal("Messages has calls of functions only")
        call.rest("id", "type", "function", "index")
        return self._call(call["function"], call["id"].text())

    def _call(self, function: Place, raw: str | None) -> dict[str, Any]:
        """The block of a call with the id *raw*; those of the older form have none."""
        function.rest("name", "arguments")
        name = named(function["name"])
        key = ("name", name) if raw is None else ("id", raw)
        if key in self.open:
            raise function.refusal("a call with the same id is open")
        called = self._free(raw or "")
        self.used[name] = None
        self.open[key] = (called, function)
        given = _input(function["arguments"]) if "arguments" in function.fields() else {}
        return {"type": "tool_use", "id": called, "name": name, "input": given}

    def _free(self, raw: str) -> str:
        """An id for Messages that says *raw* as well as it can, the same on each turn."""
        base = called = call_id(raw, "call")
        more = len(self.taken)
        while called in self.taken:
            called = f"{base}_{more}"
            more += 1
        self.taken.add(called)
        return called

    def answered(self, message: Place) -> str:
        """Return the id of the call whose result *message* is, and close it."""
        tool = message["role"].value == "tool"
        kind, name = ("id", message["tool_call_id"]) if tool else ("name", message["name"])
        found = self.open.pop((kind, name.text()), None)
        if found is None:
            raise name.refusal("no call in the turn before waits for it")
        return found[0]

    def all_answered(self) -> None:
        """Raise if a call has no result."""
        for _, call in self.open.values():
            raise call.refusal("Messages has no call without a result")
