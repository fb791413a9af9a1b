"""Tools that the caller runs, and which of them the model may or must call.

A hosted tool is run by the provider inside its answer, which a chat cannot ask for. Without
tools chat refuses to hear how they are to be chosen, so what would change nothing is not said.

Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmstack.dialects.place import Place
from llmstack.dialects.responses_over_chat.tables import CHOICES
from llmstack.dialects.translator import JSON


__all__ = ["tools"]

_FUNCTION: Final = ("name", "description", "parameters", "strict")
_GRAMMAR: Final = ("syntax", "definition")
_WORDS: Final = tuple(word for word, row in CHOICES.items() if row.fate == "carried")


def tools(asked: Place) -> dict[str, Any]:
    """Return the fields of a chat request that are about tools."""
    said: dict[str, Any] = {}
    listed = [_tool(tool) for tool in asked["tools"].otherwise([]).each()]
    if listed:
        said = {"tools": listed, **asked.some("parallel_tool_calls")}
    choice = asked["tool_choice"]
    if choice.given and (listed or choice.value not in ("auto", "none")):
        said["tool_choice"] = _choice(choice)
    return said


def _tool(tool: Place) -> JSON:
    kind = tool["type"].one_of(_READERS)
    tool["name"].text()
    return {"type": kind, kind: _READERS[kind](tool)}


def _function(tool: Place) -> JSON:
    tool.rest("type", *_FUNCTION)
    return tool.some(*_FUNCTION)


def _custom(tool: Place) -> JSON:
    tool.rest("type", "name", "description", "format")
    said = tool.some("name", "description")
    if tool["format"].given:
        said["format"] = _format(tool["format"])
    return said


def _format(given: Place) -> JSON:
    if given["type"].one_of(("text", "grammar")) == "text":
        given.rest("type")
        return {"type": "text"}
    grammar = {name: given[name].text() for name in _GRAMMAR}
    given.rest("type", *_GRAMMAR)
    return {"type": "grammar", "grammar": grammar}


_READERS: Final[Mapping[str, Callable[[Place], JSON]]] = {
    "custom": _custom,
    "function": _function,
}


def _choice(choice: Place) -> str | JSON:
    if isinstance(choice.value, str):
        return choice.one_of(_WORDS)
    if choice["type"].value != "allowed_tools":
        return _named(choice)
    choice.rest("type", "mode", "tools")
    allowed = [_named(tool) for tool in choice["tools"].otherwise([]).each()]
    mode = choice["mode"].text()
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}


def _named(said: Place) -> JSON:
    kind = said["type"].one_of(("function", "custom"))
    said.rest("type", "name")
    return {"type": kind, kind: {"name": said["name"].text()}}
