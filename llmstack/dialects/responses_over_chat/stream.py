"""The stream: chunks of a chat as the events of a response, one by one.

It begins with the first chunk that has a choice; what comes before may have no id yet. Items
end when the choice has finished, and the response when its tokens are known, or when nothing
will come any more. What comes for a choice after its finish says nothing, nor do choices but
the first: no other was asked for.

Items stand in the order in which they began. In a whole chat reply the text is before the
calls; if a host streams them the other way, so are they here.

Errors: `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.responses_over_chat.calls import Pending
from llmstack.dialects.responses_over_chat.envelope import TIERS, Envelope, base_of
from llmstack.dialects.responses_over_chat.heard import (
    index_of,
    logprobs,
    object_of,
    objects_of,
    text_of,
    usage,
)
from llmstack.dialects.responses_over_chat.output import Events, Message
from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["FINISHES", "ResponseStream", "reply"]

#: Why a choice finished, and why the response is incomplete, if it is. A host that has no
#: finish but only an end of the stream says by it that all has come.
FINISHES: Final[Mapping[object, str | None]] = {
    None: None,
    "stop": None,
    "tool_calls": None,
    "function_call": None,
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
#: The parts of a message, by the field of the delta.
_PARTS: Final = (("content", "output_text"), ("refusal", "refusal"))


def reply(body: JSON, /, asked: JSON, at: float) -> JSON:
    """Return a whole chat reply as a response: it is a stream of one chunk."""
    choices = []
    for choice in objects_of(body.get("choices"), "choices"):
        message = object_of(choice.get("message"), "the message")
        calls = objects_of(message.get("tool_calls"), "tool_calls")
        delta = {**message, "tool_calls": [{**call, "index": n} for n, call in enumerate(calls)]}
        choices.append({**choice, "delta": delta})
    stream = ResponseStream(asked, at)
    stream.take("", {**body, "choices": choices})
    _, terminal = stream.end()[-1]
    response: JSON = terminal["response"]
    return response


@final
@define(eq=False)
class ResponseStream:
    """One stream, from its first chunk to its terminal."""

    _asked: JSON
    _at: float
    _envelope: Envelope | None = field(default=None, init=False)
    _events: Events = field(factory=Events, init=False)
    _message: Message | None = field(default=None, init=False)
    _calls: dict[int, Pending] = field(factory=dict, init=False)
    #: Those that have begun, by their places in the output.
    _begun: list[Message | Pending] = field(factory=list, init=False)
    _output: list[JSON] | None = field(default=None, init=False)
    _finish: object = field(default=None, init=False)
    #: What is learned on the way: id, model, tier, usage.
    _known: dict[str, Any] = field(factory=dict, init=False)
    _over: bool = field(default=False, init=False)

    def take(self, _name: str, data: JSON, /) -> Sequence[Piece]:
        """Return the events that one chunk means."""
        self._known |= {
            name: data[name] for name in ("id", "model", "service_tier", "usage") if data.get(name)
        }
        choices = objects_of(data.get("choices"), "choices")
        envelope = self._begin() if choices else self._envelope
        for choice in choices:
            first = index_of(choice.get("index"), "a choice") == 0
            if first and self._output is None and envelope is not None:
                self._choice(choice, envelope)
        counted = not choices and usage(data.get("usage")) is not None
        if counted and envelope is not None and self._output is not None:
            self._close(envelope, self._output)
        return self._events.taken()

    def end(self) -> Sequence[Piece]:
        """Return what is left to say."""
        if self._envelope is None:
            raise ProtocolError("the reply has no choice in it")
        self._close(self._envelope, self._output or self._finished(None))
        return self._events.taken()
