"""The tools of a request, and which of them the model is to use.

A tool with a schema is a function. Tools that the provider runs, or whose schema only it
knows, are refused, and so are names that chat completions do not allow.

Errors: `Untranslatable`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llmstack.dialects.place import Place
from llmstack.dialects.translator import JSON


__all__ = ["CHOICES", "tools"]

#: What ``tool_choice`` is called there; one tool is named.
CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "any": "required", "none": "none"}
#: As the description of FunctionObject.name has it.
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOOL: Final = ("type", "name", "description", "input_schema", "strict")
#: Without tools there is nothing that these could mean.
_IDLE: Final = ("auto", "none")


def tools(asked: Place) -> dict[str, Any]:
    """Return the fields that say ``tools`` and ``tool_choice``."""
    said = [_tool(tool) for tool in asked["tools"].otherwise([]).each()]
    choice = asked["tool_choice"]
    if not choice.given:
        return {"tools": said} if said else {}
    if said:
        return {"tools": said, **_choice(choice)}
    if choice["type"].value not in _IDLE:
        raise choice.refusal("there are no tools")
    choice.drop()
    return {}


def _tool(tool: Place) -> JSON:
    tool["type"].otherwise("custom").one_of(("custom",))
    callers = tool["allowed_callers"].otherwise(["direct"])
    if all(caller.value != "direct" for caller in callers.each()):
        raise callers.refusal()
    tool.rest(*_TOOL)
    name = tool["name"]
    if not _NAME.fullmatch(name.text()):
        raise name.refusal()
    function: dict[str, Any] = {"name": name.text()}
    if tool["description"].given:
        function["description"] = tool["description"].text()
    function["parameters"] = tool["input_schema"].fields()
    if tool["strict"].given:
        function["strict"] = tool["strict"].value is True
    return {"type": "function", "function": function}


def _choice(choice: Place) -> JSON:
    choice.rest("type", "name", "disable_parallel_tool_use")
    kind = choice["type"].one_of(("tool", *CHOICES))
    if kind == "tool":
        function = {"name": choice["name"].text()}
        said: dict[str, Any] = {"tool_choice": {"type": "function", "function": function}}
    else:
        said = {"tool_choice": CHOICES[kind]}
    if choice["disable_parallel_tool_use"].value is True:
        said["parallel_tool_calls"] = False
    return said
