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

from llmstack.dialects.place import Place
from llmstack.dialects.responses_over_chat.parts import Content, as_parts, spoken, written
from llmstack.dialects.responses_over_chat.tables import ITEMS
from llmstack.dialects.translator import JSON


__all__ = ["messages"]

_QUIET: Final = ("type", "id", "status")
_ROLES: Final = ("assistant", "user", "system", "developer")


def messages(asked: Place) -> list[dict[str, Any]]:
    """Return instructions and input as messages; there must be one at least."""
    talk, given = _Talk(), asked["input"]
    if asked["instructions"].given:
        talk.add("system", asked["instructions"].text())
    if isinstance(given.value, str):
        talk.add("user", given.value)
    else:
        for item in given.otherwise([]).each():
            _take(item, talk)
    if not talk.messages:
        raise given.refusal("there is nothing to say")
    return talk.messages


@final
@define(eq=False)
class _Talk:
    """The messages so far."""

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


def _take(item: Place, talk: _Talk) -> None:
    otherwise = "message" if "role" in item.fields() else "item_reference"
    kind = item["type"].otherwise(otherwise).one_of(ITEMS)
    if kind not in _READERS:
        raise item["type"].refusal(ITEMS[kind].words)
    _READERS[kind](item, talk)


def _message(item: Place, talk: _Talk) -> None:
    role, content = item["role"].one_of(_ROLES), item["content"]
    if role == "assistant":
        talk.say(*spoken(content))
    else:
        talk.add(role, written(content, media=role == "user"))
    item.rest(*_QUIET, "role", "content")


def _function_call(item: Place, talk: _Talk) -> None:
    talk.call(_called("function", "arguments", item))


def _custom_call(item: Place, talk: _Talk) -> None:
    talk.call(_called("custom", "input", item))


def _called(kind: str, given: str, item: Place) -> JSON:
    item.rest(*_QUIET, "call_id", "name", given)
    called = {name: item[name].text() for name in ("name", given)}
    return {"id": item["call_id"].text(), "type": kind, kind: called}


def _output(item: Place, talk: _Talk) -> None:
    talk.answer(item["call_id"].text(), written(item["output"]))
    item.rest(*_QUIET, "call_id", "output")


def _reasoning(item: Place, _talk: _Talk) -> None:
    item.drop()


_READERS: Final[Mapping[str, Callable[[Place, _Talk], None]]] = {
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _output,
    "function_call": _function_call,
    "function_call_output": _output,
    "message": _message,
    "reasoning": _reasoning,
}
