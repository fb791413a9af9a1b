"""The stream: chunks of a chat as the events of a response, one by one.

It begins with the first chunk that has a choice; what comes before may have no id yet. Items
end when the choice has finished, and the response when nothing will come any more: behind its
tokens the endpoint may still break. What comes for a choice after its finish says nothing, nor
do choices but the first: no other was asked for.

Errors: `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.heard import index_of, object_of, objects_of, text_of
from llmstack.dialects.responses_over_chat.answer import Answer
from llmstack.dialects.responses_over_chat.envelope import TIERS, Envelope, base_of
from llmstack.dialects.responses_over_chat.output import Events
from llmstack.dialects.responses_over_chat.tokens import logprobs, usage
from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["FINISHES", "ResponseStream", "reply"]

#: Why a choice finished, and why the response is incomplete, if it is. A host that has no
#: finish says by the end of the stream that all has come.
FINISHES: Final[Mapping[object, str | None]] = {
    None: None,
    "stop": None,
    "tool_calls": None,
    "function_call": None,
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


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
    _events: Events = field(factory=Events, init=False)
    #: Id and model: what the chunks before the first choice say is better than nothing.
    _head: dict[str, Any] = field(factory=dict, init=False)
    _answer: Answer | None = field(default=None, init=False)
    _first: int = field(default=0, init=False)
    _output: list[JSON] | None = field(default=None, init=False)
    _reason: str | None = field(default=None, init=False)
    _tier: object = field(default=None, init=False)
    _usage: JSON | None = field(default=None, init=False)

    def take(self, _name: str, data: JSON, /) -> Sequence[Piece]:
        """Return the events that one chunk means."""
        choices = objects_of(data.get("choices"), "choices")
        self._usage = usage(data.get("usage")) or self._usage
        self._tier = data.get("service_tier") or self._tier
        answer = self._answer or self._begun(data, choices)
        if answer is not None:
            for choice in choices:
                self._choice(choice, answer)
        return self._events.taken()

    def end(self) -> Sequence[Piece]:
        """Return what is left to say: the terminal, which is said here alone."""
        if self._answer is None:
            raise ProtocolError("the reply has no choice in it")
        output = self._ended(None, self._answer) if self._output is None else self._output
        self._close(self._answer, output)
        return self._events.taken()

    def _begun(self, data: JSON, choices: Sequence[JSON]) -> Answer | None:
        self._head |= {name: data[name] for name in ("id", "model") if data.get(name)}
        if not choices:
            return None
        self._first = _index(choices[0])
        model = self._head.get("model") or self._asked.get("model")
        base = base_of(self._head.get("id"), self._at)
        envelope = Envelope(self._asked, base, text_of(model, "the model"), self._at)
        for kind in ("created", "in_progress"):
            self._events.say(f"response.{kind}", {"response": envelope.around((), "in_progress")})
        self._answer = Answer(envelope, self._events)
        return self._answer

    def _choice(self, choice: JSON, answer: Answer) -> None:
        if _index(choice) != self._first or self._output is not None:
            return
        delta = object_of(choice.get("delta"), "the delta")
        answer.take(delta, logprobs(choice.get("logprobs")))
        finish = text_of(choice.get("finish_reason"), "the finish")
        if finish:
            self._output = self._ended(finish, answer)

    def _ended(self, finish: str | None, answer: Answer) -> list[JSON]:
        if finish not in FINISHES:
            raise ProtocolError("the finish is none that is known")
        self._reason = FINISHES[finish]
        return answer.end(self._status)

    @property
    def _status(self) -> str:
        return "completed" if self._reason is None else "incomplete"

    def _close(self, answer: Answer, output: Sequence[JSON]) -> None:
        """Say the terminal."""
        response = answer.envelope.around(output, self._status)
        if self._reason is not None:
            response["incomplete_details"] = {"reason": self._reason}
        if self._tier in TIERS:
            response["service_tier"] = self._tier
        if self._usage is not None:
            response["usage"] = self._usage
        self._events.say(f"response.{self._status}", {"response": response})


def _index(choice: JSON) -> int:
    return index_of(choice.get("index"), "a choice")
