"""The tools of a chat request, and which of them the model may or must use.

Functions of the older form are tools too; with them the reply has one call at most. Where a
conversation has calls but the request no tools, their names are declared and closed, since
Messages wants each tool of a conversation to be known. Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmstack.dialects.chat_over_messages.calls import named
from llmstack.dialects.chat_over_messages.fields import rest
from llmstack.dialects.chat_over_messages.shapes import a_list, a_text, an_object
from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable


__all__ = ["tools"]

_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "required": "any"}

Tool = dict[str, Any]


def tools(body: JSON, used: Iterable[str], dropped: list[str]) -> dict[str, Any]:
    """Return ``tools`` and ``tool_choice`` of *body*, whose conversation has *used* tools."""
    defined = _defined(body, dropped)
    choice, allowed = _choice(body, dropped)
    if not defined:
        if choice.get("type", "auto") not in {"auto", "none"}:
            raise Untranslatable("tool_choice: there are no tools")
        closed = [{"name": name, "input_schema": {"type": "object"}} for name in used]
        return {"tools": closed, "tool_choice": {"type": "none"}} if closed else {}
    offered = [tool for tool in defined if allowed is None or tool["name"] in allowed]
    if not offered or choice.get("name", offered[0]["name"]) not in {t["name"] for t in offered}:
        raise Untranslatable("tool_choice: there is no such tool")
    alone = body.get("parallel_tool_calls") is False or bool(body.get("functions"))
    if alone and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": offered, **({"tool_choice": choice} if choice else {})}


def _defined(body: JSON, dropped: list[str]) -> list[Tool]:
    """The tools of either form."""
    listed, older = body.get("tools"), body.get("functions")
    if listed and older:
        raise Untranslatable("functions: there are tools too")
    if older:
        functions = enumerate(a_list(older, "functions"))
        return [_tool(each, f"functions.{index}", dropped) for index, each in functions]
    made = []
    for index, each in enumerate(a_list(listed or [], "tools")):
        path = f"tools.{index}"
        tool = an_object(each, path)
        if tool.get("type") != "function":
            raise Untranslatable(f"{path}: Messages has functions only")
        dropped += rest(tool, ("type", "function"), path)
        made.append(_tool(tool.get("function"), f"{path}.function", dropped))
    return made


def _tool(value: object, path: str, dropped: list[str]) -> Tool:
    function = an_object(value, path)
    dropped += rest(function, ("name", "description", "parameters", "strict"), path)
    tool: Tool = {"name": named(function.get("name"), f"{path}.name")}
    if function.get("description") is not None:
        tool["description"] = a_text(function["description"], f"{path}.description")
    schema = an_object(function.get("parameters") or {}, f"{path}.parameters")
    if schema.get("type", "object") != "object":
        raise Untranslatable(f"{path}.parameters: Messages has objects only")
    tool["input_schema"] = {"type": "object", **schema}
    if isinstance(function.get("strict"), bool):
        tool["strict"] = function["strict"]
    return tool


def _choice(body: JSON, dropped: list[str]) -> tuple[dict[str, Any], set[str] | None]:
    """What the model may do, and the names that it is confined to, if it is."""
    name = "tool_choice" if body.get("tool_choice") is not None else "function_call"
    value = body.get(name)
    if value is None:
        return {}, None
    if isinstance(value, str):
        if value not in _CHOICES:
            raise Untranslatable(f"{name}: not a choice")
        return {"type": _CHOICES[value]}, None
    choice = an_object(value, name)
    if name == "tool_choice" and choice.get("type") == "allowed_tools":
        return _allowed(an_object(choice.get("allowed_tools"), "tool_choice.allowed_tools"))
    if name == "tool_choice":
        return {"type": "tool", "name": _function(choice, name)}, None
    dropped += rest(choice, ("name",), name)
    return {"type": "tool", "name": named(choice.get("name"), "function_call.name")}, None


def _function(choice: JSON, path: str) -> str:
    """The name of the function that *choice* is about."""
    if choice.get("type") != "function":
        raise Untranslatable(f"{path}: Messages has functions only")
    function = an_object(choice.get("function"), f"{path}.function")
    return named(function.get("name"), f"{path}.function.name")


def _allowed(allowed: JSON) -> tuple[dict[str, Any], set[str]]:
    path = "tool_choice.allowed_tools"
    mode = a_text(allowed.get("mode"), f"{path}.mode")
    if mode not in {"auto", "required"}:
        raise Untranslatable(f"{path}.mode: not a mode")
    listed = enumerate(a_list(allowed.get("tools"), f"{path}.tools"))
    names = {
        _function(an_object(each, f"{path}.tools.{index}"), f"{path}.tools.{index}")
        for index, each in listed
    }
    return {"type": _CHOICES[mode]}, names
