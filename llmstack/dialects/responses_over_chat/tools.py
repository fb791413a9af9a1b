"""Tools that the caller runs, and which of them the model may or must call.

A hosted tool is run by the provider inside its answer, which a chat cannot ask for. Without
tools chat refuses to hear how they are to be chosen, so what would change nothing is not said.

Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmstack.dialects.responses_over_chat.paths import (
    Told,
    cannot,
    object_at,
    objects_at,
    text_at,
)
from llmstack.dialects.responses_over_chat.tables import CHOICES
from llmstack.dialects.translator import JSON


__all__ = ["tools"]

_FUNCTION: Final = ("name", "description", "parameters", "strict")
_GRAMMAR: Final = ("syntax", "definition")


def tools(asked: JSON, told: Told) -> dict[str, Any]:
    """Return the fields of a chat request that are about tools."""
    said: dict[str, Any] = {}
    listed = [_tool(tool, path, told) for path, tool in objects_at(asked.get("tools"), "tools")]
    if listed:
        said["tools"] = listed
    if listed and "parallel_tool_calls" in asked:
        said["parallel_tool_calls"] = asked["parallel_tool_calls"]
    choice = asked.get("tool_choice")
    if choice is not None and (listed or choice not in ("auto", "none")):
        said["tool_choice"] = _choice(choice, told)
    return said


def _tool(tool: JSON, path: str, told: Told) -> JSON:
    kind = tool.get("type")
    if not isinstance(kind, str) or kind not in _READERS:
        raise cannot(f"{path}.type")
    text_at(tool.get("name"), f"{path}.name")
    return {"type": kind, kind: _READERS[kind](tool, path, told)}


def _function(tool: JSON, path: str, told: Told) -> JSON:
    told.rest(tool, ("type", *_FUNCTION), path)
    return {name: tool[name] for name in _FUNCTION if tool.get(name) is not None}


def _custom(tool: JSON, path: str, told: Told) -> JSON:
    known = ("name", "description")
    said = {name: tool[name] for name in known if tool.get(name) is not None}
    if tool.get("format") is not None:
        said["format"] = _format(object_at(tool["format"], f"{path}.format"), path, told)
    told.rest(tool, ("type", "format", *known), path)
    return said


def _format(given: JSON, path: str, told: Told) -> JSON:
    where = f"{path}.format"
    if given.get("type") == "text":
        told.rest(given, ("type",), where)
        return {"type": "text"}
    if given.get("type") != "grammar":
        raise cannot(f"{where}.type")
    grammar = {name: text_at(given.get(name), f"{where}.{name}") for name in _GRAMMAR}
    told.rest(given, ("type", *_GRAMMAR), where)
    return {"type": "grammar", "grammar": grammar}


_READERS: Final[Mapping[str, Callable[[JSON, str, Told], JSON]]] = {
    "custom": _custom,
    "function": _function,
}


def _choice(choice: object, told: Told) -> str | JSON:
    if isinstance(choice, str):
        if choice in CHOICES and CHOICES[choice].fate == "carried":
            return choice
        raise cannot("tool_choice")
    said = object_at(choice, "tool_choice")
    if said.get("type") != "allowed_tools":
        return _named(said, "tool_choice", told)
    listed = objects_at(said.get("tools"), "tool_choice.tools")
    told.rest(said, ("type", "mode", "tools"), "tool_choice")
    allowed = {
        "mode": text_at(said.get("mode"), "tool_choice.mode"),
        "tools": [_named(tool, path, told) for path, tool in listed],
    }
    return {"type": "allowed_tools", "allowed_tools": allowed}


def _named(said: JSON, path: str, told: Told) -> JSON:
    kind = said.get("type")
    if kind not in ("function", "custom"):
        raise cannot(f"{path}.type")
    told.rest(said, ("type", "name"), path)
    return {"type": kind, kind: {"name": text_at(said.get("name"), f"{path}.name")}}
