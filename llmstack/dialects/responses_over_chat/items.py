"""The items of the input as the messages of a chat.

What the assistant says and the tools that it calls are items of their own here, and one
message there: so items of the assistant that follow each other become one message, up to the
first answer of a tool or word of the user. Two texts without a call between them stay two
messages.

Ids and states of items name what is stored; they say nothing to a model, and no more is told
of them. Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.responses_over_chat.parts import Content, as_parts, spoken, written
from llmstack.dialects.responses_over_chat.paths import Told, cannot, objects_at, text_at
from llmstack.dialects.responses_over_chat.tables import ITEMS
from llmstack.dialects.translator import JSON


__all__ = ["messages"]

_QUIET: Final = ("type", "id", "status")


def messages(asked: JSON, told: Told) -> list[dict[str, Any]]:
    """Return instructions and input as messages; there must be one at least."""
    talk = _Talk(told)
    if "instructions" in asked:
        talk.add("system", text_at(asked["instructions"], "instructions"))
    given = asked.get("input")
    if isinstance(given, str):
        talk.add("user", given)
    else:
        for path, item in objects_at(given, "input"):
            _take(item, path, talk)
    if not talk.messages:
        raise cannot("input", "there is nothing to say")
    return talk.messages


@final
@define(eq=False)
class _Talk:
    """The messages so far."""

    told: Told
    messages: list[dict[str, Any]] = field(factory=list, init=False)

    def add(self, role: str, content: Content) -> None:
        self.messages.append({"role": role, "content": content})

    def answer(self, tool_call_id: str, content: Content) -> None:
        message = {"role": "tool", "tool_call_id": tool_call_id, "content": content}
        self.messages.append(message)

    def say(self, content: Content | None, refusal: str | None) -> None:
        """Add what the assistant says: to the calls that it has just made, if there are any."""
        message = self._assistant(calling=True)
        before = message["content"]
        message["content"] = content if before is None else _joined(before, content)
        if refusal is not None:
            message["refusal"] = message.get("refusal", "") + refusal

    def call(self, call: JSON) -> None:
        """Add a call to what the assistant has just said, if it has."""
        self._assistant(calling=False).setdefault("tool_calls", []).append(call)

    def _assistant(self, *, calling: bool) -> dict[str, Any]:
        """Return the message of the assistant that is still open, or a new one."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") == "assistant" and ("tool_calls" in last or not calling):
            return last
        self.add("assistant", "")
        self.messages[-1]["content"] = None
        return self.messages[-1]


def _joined(before: Content, content: Content | None) -> Content:
    return before if content is None else [*as_parts(before), *as_parts(content)]


def _take(item: JSON, path: str, talk: _Talk) -> None:
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item else "item_reference"
    if not isinstance(kind, str) or kind not in ITEMS:
        raise cannot(f"{path}.type")
    if kind not in _READERS:
        raise cannot(f"{path}.type", ITEMS[kind].words)
    _READERS[kind](item, path, talk)


def _message(item: JSON, path: str, talk: _Talk) -> None:
    role, value, where = item.get("role"), item.get("content"), f"{path}.content"
    if role == "assistant":
        talk.say(*spoken(value, where, talk.told))
    elif role in ("user", "system", "developer"):
        talk.add(str(role), written(value, where, talk.told, media=role == "user"))
    else:
        raise cannot(f"{path}.role")
    talk.told.rest(item, (*_QUIET, "role", "content"), path)


def _function_call(item: JSON, path: str, talk: _Talk) -> None:
    talk.call(_called("function", "arguments", item, path, talk.told))


def _custom_call(item: JSON, path: str, talk: _Talk) -> None:
    talk.call(_called("custom", "input", item, path, talk.told))


def _called(kind: str, given: str, item: JSON, path: str, told: Told) -> JSON:
    call_id = text_at(item.get("call_id"), f"{path}.call_id")
    called = {name: text_at(item.get(name), f"{path}.{name}") for name in ("name", given)}
    told.rest(item, (*_QUIET, "call_id", *called), path)
    return {"id": call_id, "type": kind, kind: called}


def _output(item: JSON, path: str, talk: _Talk) -> None:
    call_id = text_at(item.get("call_id"), f"{path}.call_id")
    talk.answer(call_id, written(item.get("output"), f"{path}.output", talk.told))
    talk.told.rest(item, (*_QUIET, "call_id", "output"), path)


def _reasoning(_item: JSON, path: str, talk: _Talk) -> None:
    talk.told.drop(path)


_READERS: Final[Mapping[str, Callable[[JSON, str, _Talk], None]]] = {
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _output,
    "function_call": _function_call,
    "function_call_output": _output,
    "message": _message,
    "reasoning": _reasoning,
}
