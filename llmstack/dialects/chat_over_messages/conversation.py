"""The messages of a chat as the system text and the alternating turns of Messages.

System and developer texts go to ``system`` in their order, wherever they stand; but those that
come last are the user's where Messages would go on with the assistant's turn. Turns of one
role after another are one turn, the results of tools are the first in theirs, and an open last
turn of the assistant loses the blanks at its end, which Messages would refuse. Errors:
`Untranslatable`.
"""

from __future__ import annotations

from typing import Any, final

from attrs import define, field

from llmstack.dialects.chat_over_messages.calls import Calls
from llmstack.dialects.chat_over_messages.parts import PARTS, blocks, text_block
from llmstack.dialects.place import Place


__all__ = ["Conversation", "conversation"]

#: What stands between the system texts of a conversation.
_BETWEEN = "\n\n"


@final
@define(eq=False)
class Conversation:
    """What has been said so far in *messages*."""

    messages: Place
    system: list[str] = field(factory=list, init=False)
    turns: list[dict[str, Any]] = field(factory=list, init=False)
    #: The last message, and how many of the system texts came behind all turns.
    last: Place | None = field(default=None, init=False)
    trailing: int = field(default=0, init=False)
    calls: Calls = field(factory=Calls, init=False)

    def take(self, message: Place) -> None:
        """Add one chat message."""
        role = message["role"].one_of(PARTS, "not a role")
        self.last = message
        if role == "assistant":
            self._assistant(message)
            return
        known = {"tool": ("tool_call_id",), "function": ("name",)}.get(role, ())
        message.rest("role", "content", *known)
        content = message["content"]
        said = blocks(content.otherwise("") if role == "function" else content, role)
        if role in {"system", "developer"}:
            self.system += [block["text"] for block in said]
            self.trailing += len(said)
        elif role == "user":
            self._say("user", said)
        else:
            result = {"type": "tool_result", "tool_use_id": self.calls.answered(message)}
            self._say("user", [{**result, "content": said} if said else result])

    def _assistant(self, message: Place) -> None:
        if message["audio"].given:
            raise message["audio"].refusal("Messages has no audio")
        message.rest("role", "content", "refusal", "tool_calls", "function_call")
        if self.turns and self.turns[-1]["role"] == "user":
            self.calls.all_answered()
        said = blocks(message["content"].otherwise(""), "assistant")
        said += text_block(message["refusal"].otherwise("").text())
        self._say("assistant", said + self.calls.made(message))

    def _say(self, role: str, said: list[dict[str, Any]]) -> None:
        if not said:
            return
        self.trailing = 0
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += said
        else:
            self.turns.append({"role": role, "content": said})

    def _ask(self, last: Place) -> None:
        """See to it that what is no turn of the assistant does not go on with one."""
        if self.turns[-1]["role"] != "assistant" or last["role"].value == "assistant":
            return
        start = len(self.system) - self.trailing
        asked = text_block(_BETWEEN.join(self.system[start:]))
        if asked:
            del self.system[start:]
            self._say("user", asked)
        else:
            last["content"].drop()  # a turn that says nothing

    def whole(self) -> dict[str, Any]:
        """Return ``system`` and ``messages`` when all has been taken."""
        self.calls.all_answered()
        if self.turns and self.last:
            self._ask(self.last)
        system = text_block(_BETWEEN.join(self.system))
        if not self.turns:
            # Messages has no request without a turn: instructions alone are one of the user.
            self._say("user", system)
            system = []
        if not self.turns:
            raise self.messages.refusal("nothing is said in them")
        for turn in self.turns:
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
        last = self.turns[-1]
        if last["role"] == "assistant":
            last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
        said = {"system": system[0]["text"]} if system else {}
        return {**said, "messages": self.turns}


def conversation(messages: Place) -> Conversation:
    """Return the conversation of all *messages*."""
    taken = Conversation(messages)
    for message in messages.each():
        taken.take(message)
    return taken
