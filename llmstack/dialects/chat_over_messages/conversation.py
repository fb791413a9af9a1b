"""The messages of a chat as the system text and the alternating turns of Messages.

System and developer texts go to ``system`` in their order, wherever they stand; but those that
come last are the user's where Messages would go on with the assistant's turn. Turns of one
role after another are one turn, the results of tools are the first in theirs, and an open last
turn of the assistant loses the blanks at its end, which Messages would refuse. Errors:
`Untranslatable`.
"""

from __future__ import annotations

from typing import Any, final

from attrs import Factory, define, field

from llmstack.dialects.chat_over_messages.calls import Calls
from llmstack.dialects.chat_over_messages.fields import rest
from llmstack.dialects.chat_over_messages.parts import PARTS, blocks, text_block
from llmstack.dialects.chat_over_messages.shapes import a_list, a_text, an_object
from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable


__all__ = ["Conversation", "conversation"]

#: What stands between the system texts of a conversation.
_BETWEEN = "\n\n"


@final
@define(eq=False)
class Conversation:
    """What has been said so far, and the paths of what was left out of it."""

    dropped: list[str]
    system: list[str] = field(factory=list, init=False)
    turns: list[dict[str, Any]] = field(factory=list, init=False)
    #: Who spoke last, and how many of the system texts came behind all turns.
    last: str = field(default="", init=False)
    trailing: int = field(default=0, init=False)
    calls: Calls = field(
        default=Factory(lambda self: Calls(self.dropped), takes_self=True), init=False
    )

    def take(self, message: JSON, place: int) -> None:
        """Add one chat message, the one at *place*."""
        path = f"messages.{place}"
        role = a_text(message.get("role"), f"{path}.role")
        if role not in PARTS:
            raise Untranslatable(f"{path}.role: not a role")
        self.last = role
        if role == "assistant":
            self._assistant(message, place)
            return
        known = {"tool": ("tool_call_id",), "function": ("name",)}.get(role, ())
        self.dropped += rest(message, ("role", "content", *known), path)
        content = message.get("content")
        if role == "function" and content is None:
            content = ""
        said = blocks(content, role, f"{path}.content", self.dropped)
        if role in {"system", "developer"}:
            self.system += [block["text"] for block in said]
            self.trailing += len(said)
        elif role == "user":
            self._say("user", said)
        else:
            result = {"type": "tool_result", "tool_use_id": self.calls.answered(message, place)}
            self._say("user", [{**result, "content": said} if said else result])

    def _assistant(self, message: JSON, place: int) -> None:
        path = f"messages.{place}"
        known = ("role", "content", "refusal", "tool_calls", "function_call")
        if message.get("audio") is not None:
            raise Untranslatable(f"{path}.audio: Messages has no audio")
        self.dropped += rest(message, known, path)
        if self.turns and self.turns[-1]["role"] == "user":
            self.calls.all_answered()
        content, refusal = message.get("content"), message.get("refusal")
        said = (
            [] if content is None else blocks(content, "assistant", f"{path}.content", self.dropped)
        )
        if refusal is not None:
            said += text_block(a_text(refusal, f"{path}.refusal"))
        self._say("assistant", said + self.calls.made(message, place))

    def _say(self, role: str, said: list[dict[str, Any]]) -> None:
        self.trailing = 0
        if said and self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += said
        elif said:
            self.turns.append({"role": role, "content": said})

    def _ask(self) -> None:
        """See to it that what is no turn of the assistant does not go on with one."""
        if not self.turns or self.turns[-1]["role"] != "assistant" or self.last == "assistant":
            return
        start = len(self.system) - self.trailing
        asked = text_block(_BETWEEN.join(self.system[start:]))
        if asked:
            del self.system[start:]
            self._say("user", asked)
        else:
            self.dropped.append("messages.*.content")  # a turn that says nothing

    def whole(self) -> dict[str, Any]:
        """Return ``system`` and ``messages`` when all has been taken."""
        self.calls.all_answered()
        self._ask()
        system = text_block(_BETWEEN.join(self.system))
        if not self.turns:
            # Messages has no request without a turn: instructions alone are one of the user.
            self._say("user", system)
            system = []
        if not self.turns:
            raise Untranslatable("messages: nothing is said in them")
        for turn in self.turns:
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
        last = self.turns[-1]
        if last["role"] == "assistant":
            last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
        said = {"system": system[0]["text"]} if system else {}
        return {**said, "messages": self.turns}


def conversation(messages: object, dropped: list[str]) -> Conversation:
    """Return the conversation of all *messages*; what is left out is added to *dropped*."""
    taken = Conversation(dropped)
    for place, message in enumerate(a_list(messages, "messages")):
        taken.take(an_object(message, f"messages.{place}"), place)
    return taken
