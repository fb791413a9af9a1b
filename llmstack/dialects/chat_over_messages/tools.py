"""The tools of a chat request, and which of them the model may or must use.

Functions of the older form are tools too; with them the reply has one call at most. Where a
conversation has calls but the request no tools, their names are declared and closed, since
Messages wants each tool of a conversation to be known. Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmstack.dialects.chat_over_messages.calls import named
from llmstack.dialects.place import Place


__all__ = ["tools"]

_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "required": "any"}

_FUNCTIONS_ONLY: Final = "Messages has functions only"

Tool = dict[str, Any]


def tools(asked: Place, used: Iterable[str]) -> dict[str, Any]:
    """Return ``tools`` and ``tool_choice`` for a conversation that has *used* tools."""
    defined = _defined(asked)
    choice, allowed = _choice(asked)
    if not defined:
        if choice.get("type", "auto") not in {"auto", "none"}:
            raise asked["tool_choice"].refusal("there are no tools")
        closed = [{"name": name, "input_schema": {"type": "object"}} for name in used]
        return {"tools": closed, "tool_choice": {"type": "none"}} if closed else {}
    offered = [tool for tool in defined if allowed is None or tool["name"] in allowed]
    if not offered or choice.get("name", offered[0]["name"]) not in {t["name"] for t in offered}:
        raise asked["tool_choice"].refusal("there is no such tool")
    alone = asked["parallel_tool_calls"].value is False or bool(asked["functions"].value)
    if alone and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": offered, **({"tool_choice": choice} if choice else {})}


def _defined(asked: Place) -> list[Tool]:
    """The tools of either form."""
    listed, older = asked["tools"], asked["functions"]
    if listed.value and older.value:
        raise older.refusal("there are tools too")
    if older.value:
        return [_tool(function) for function in older.each()]
    made = []
    for tool in listed.each() if listed.value else ():
        tool["type"].one_of(("function",), _FUNCTIONS_ONLY)
        tool.rest("type", "function")
        made.append(_tool(tool["function"]))
    return made


def _tool(function: Place) -> Tool:
    function.rest("name", "description", "parameters", "strict")
    tool: Tool = {"name": named(function["name"])}
    if function["description"].given:
        tool["description"] = function["description"].text()
    parameters = function["parameters"]
    schema = parameters.fields() if parameters.value else {}
    if schema.get("type", "object") != "object":
        raise parameters.refusal("Messages has objects only")
    tool["input_schema"] = {"type": "object", **schema}
    if isinstance(function["strict"].value, bool):
        tool["strict"] = function["strict"].value
    return tool


def _choice(asked: Place) -> tuple[dict[str, Any], set[str] | None]:
    """What the model may do, and the names that it is confined to, if it is."""
    newer, older = asked["tool_choice"], asked["function_call"]
    choice = newer if newer.given else older
    if not choice.given:
        return {}, None
    if isinstance(choice.value, str):
        return {"type": _CHOICES[choice.one_of(_CHOICES, "not a choice")]}, None
    if choice is older:
        choice.rest("name")
        return {"type": "tool", "name": named(choice["name"])}, None
    if choice["type"].value == "allowed_tools":
        return _allowed(choice["allowed_tools"])
    return {"type": "tool", "name": _function(choice)}, None


def _function(choice: Place) -> str:
    """The name of the function that *choice* is about."""
    choice["type"].one_of(("function",), _FUNCTIONS_ONLY)
    return named(choice["function"]["name"])


def _allowed(allowed: Place) -> tuple[dict[str, Any], set[str]]:
    mode = allowed["mode"].one_of(("auto", "required"), "not a mode")
    names = {_function(tool) for tool in allowed["tools"].each()}
    return {"type": _CHOICES[mode]}, names
