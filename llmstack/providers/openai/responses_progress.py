"""What the events of a Responses stream mean: content, usage, errors, the end. No I/O.

Content is a delta that is not empty (text, reasoning, refusal, arguments, code, …), or an item
that was added and is a call. The terminal is one event with the whole response in it: complete
or incomplete, both of which are an answer, or failed, which is an error. Nothing passes after
it. Events of types that nobody knows pass.

Errors: what an error event or a failed response means by `classify`, `ProtocolError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from attrs import define, field

from llmstack.call import Usage
from llmstack.dialects.wire import DONE
from llmstack.errors import ProtocolError, UpstreamError
from llmstack.providers.estimate import text_bytes
from llmstack.providers.openai.classify import classify
from llmstack.providers.openai.usage import usage_of
from llmstack.providers.said import as_object, decoded


__all__ = ["ResponsesProgress", "failed", "says"]

#: Items that are empty when they are added.
SPOKEN: Final = frozenset({"message", "reasoning"})
_TEXTS: Final = ("text", "refusal", "encrypted_content")


def says(item: object) -> bool:
    """Whether an item of an output says anything; one that is a call does."""
    said = as_object(item)
    kind = said.get("type")
    if not isinstance(kind, str):
        return False
    return text_bytes(said, _TEXTS) > 0 if kind in SPOKEN else bool(kind)


def failed(response: Mapping[str, Any], headers: Mapping[str, str]) -> UpstreamError:
    """Return what the error of a failed *response* means, as if it had a status of its own."""
    try:
        body = json.dumps({"error": response.get("error") or {}}).encode()
    except RecursionError:
        return ProtocolError("the error of a response is nested too deeply")
    return classify(200, headers, body, "body")


@final
@define(eq=False)
class ResponsesProgress:
    """How far a stream has come.

    *begun* since its first content, *done* since its terminal. *headers* gives those of the
    reply, for an error.
    """

    headers: Callable[[], Mapping[str, str]] = field(default=dict, repr=False)
    usage: Usage | None = field(default=None, init=False)
    text: int = field(default=0, init=False)
    begun: bool = field(default=False, init=False)
    done: bool = field(default=False, init=False)

    @property
    def whole(self) -> bool:
        """Whether the stream may end here."""
        return self.done

    @property
    def unsaid(self) -> None:
        """Nothing: the terminal is an event of the provider."""
        return

    def take(self, data: bytes, name: str = "", /) -> bool:
        """Learn from one event; return whether it is to be handed on.

        Raises what an error event means.
        """
        event = decoded(data)
        if not isinstance(event, dict):
            if data.strip() == DONE:  # said by some hosts, and it says nothing
                return False
            raise ProtocolError("an event is not a JSON object")
        kind = event.get("type") or name
        if "error" in (kind, name) or event.get("error"):
            raise classify(200, self.headers(), data, "event")
        if self.done:
            return False
        if not isinstance(kind, str):
            raise ProtocolError("the type of an event is no text")
        self._learn(kind, event)
        return True

    def run(self, _chunk: bytes, /) -> tuple[int, int]:
        """Return that there are none: each event has a number of its own."""
        return 0, 0

    def _learn(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind.endswith(".delta"):
            delta = event.get("delta")
            self.text += text_bytes({"delta": delta}, ("delta",))
            self.begun = self.begun or bool(delta)
        elif kind == "response.output_item.added":
            self.begun = self.begun or says(event.get("item"))
        elif kind == "response.failed":
            raise failed(as_object(event.get("response")), self.headers())
        elif kind in {"response.completed", "response.incomplete"}:
            self._ended(kind, as_object(event.get("response")))

    def _ended(self, kind: str, response: Mapping[str, Any]) -> None:
        if not response:
            raise ProtocolError("the last event of a response has no response in it")
        if response.get("status") == "failed":  # whatever the event is called
            raise failed(response, self.headers())
        output = response.get("output")
        content = any(map(says, output if isinstance(output, list) else ()))
        self.begun = self.begun or content or kind == "response.incomplete"
        self.usage = usage_of(response.get("usage"))
        self.done = True
