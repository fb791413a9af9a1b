"""The tools of a request, and which of them the model is to use.

A tool with a schema is a function. Tools that the provider runs, or whose schema only it
knows, are refused, and so are names that chat completions do not allow.

Errors: `Untranslatable`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llmstack.dialects.messages_over_chat.fields import (
    Dropped,
    as_list,
    as_object,
    as_text,
    cannot,
)
from llmstack.dialects.translator import JSON


__all__ = ["CHOICES", "tools"]

#: What ``tool_choice`` is called there; one tool is named.
CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "any": "required", "none": "none"}
#: As the description of FunctionObject.name has it.
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOOL: Final = ("type", "name", "description", "input_schema", "strict")
#: Without tools there is nothing that these could mean.
_IDLE: Final = ("auto", "none")


def tools(body: JSON, dropped: Dropped) -> JSON:
    """Return the fields that say ``tools`` and ``tool_choice``."""
    given = body.get("tools")
    said = [
        _tool(as_object(tool, f"tools.{n}"), f"tools.{n}", dropped)
        for n, tool in enumerate([] if given is None else as_list(given, "tools"))
    ]
    choice = body.get("tool_choice")
    if choice is None:
        return {"tools": said} if said else {}
    choice = as_object(choice, "tool_choice")
    if said:
        return {"tools": said, **_choice(choice, dropped)}
    if choice.get("type") not in _IDLE:
        raise cannot("tool_choice without tools")
    dropped.tell("tool_choice")
    return {}


def _tool(tool: JSON, path: str, dropped: Dropped) -> JSON:
    if tool.get("type") not in (None, "custom"):
        raise cannot(f"{path}.type")
    callers = tool.get("allowed_callers")
    if callers is not None and "direct" not in as_list(callers, f"{path}.allowed_callers"):
        raise cannot(f"{path}.allowed_callers")
    dropped.rest(tool, path, _TOOL)
    name = as_text(tool.get("name"), f"{path}.name")
    if not _NAME.fullmatch(name):
        raise cannot(f"{path}.name")
    function: dict[str, Any] = {"name": name}
    if tool.get("description") is not None:
        function["description"] = as_text(tool["description"], f"{path}.description")
    function["parameters"] = as_object(tool.get("input_schema"), f"{path}.input_schema")
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"] is True
    return {"type": "function", "function": function}


def _choice(choice: JSON, dropped: Dropped) -> JSON:
    dropped.rest(choice, "tool_choice", ("type", "name", "disable_parallel_tool_use"))
    kind = choice.get("type")
    if kind == "tool":
        name = as_text(choice.get("name"), "tool_choice.name")
        said: dict[str, Any] = {"tool_choice": {"type": "function", "function": {"name": name}}}
    elif isinstance(kind, str) and kind in CHOICES:
        said = {"tool_choice": CHOICES[kind]}
    else:
        raise cannot("tool_choice.type")
    if choice.get("disable_parallel_tool_use") is True:
        said["parallel_tool_calls"] = False
    return said
