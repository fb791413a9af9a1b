"""OpenAI chat completions: a whole reply as a stream of chunks, and a stream as a whole reply.

Pure functions over decoded JSON. Choices and tool calls are known by their index. What says
itself piece by piece is joined: texts, refusals, reasoning, arguments, transcripts, and lists
such as log probabilities. What names something (role, id, type, name) is said once, and its
first word stands. As in a stream that is passed on, the first finish of a choice counts, and
what comes for it later says nothing.

Errors: `ProtocolError`. Events: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["assembled", "pieces"]

#: As many choices as a stream may have.
CHOICES: Final = 128
OBJECT: Final = "chat.completion"
CHUNK: Final = "chat.completion.chunk"

#: Said once; their first word stands. Some hosts repeat them in each chunk.
_NAMES: Final = frozenset({"id", "name", "role", "type"})
#: What each chunk of a stream repeats.
_COMMON: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
_OWN: Final = frozenset({"index", "delta", "message", "logprobs", "finish_reason"})


def assembled(pieces: Iterable[Piece], /) -> JSON:
    """Return the reply that the chunks of a complete stream say together."""
    whole: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    for _, chunk in pieces:
        if chunk.get("error"):
            raise ProtocolError("a chunk is an error")
        for name, value in chunk.items():
            if name not in {"choices", "obfuscation"}:
                # Azure has a chunk before the first one, with an id and a model of "".
                latest = name == "usage" and value is not None
                whole[name] = value if latest else whole.get(name) or value
        for choice in _objects(chunk.get("choices") or [], "choices"):
            index = _index(choice)
            choices.setdefault(index, _Choice(index)).take(choice)
    if not choices:
        raise ProtocolError("a stream has no choice in it")
    whole["object"] = OBJECT
    whole["choices"] = [choices[index].whole() for index in sorted(choices)]
    return whole


def pieces(body: JSON, /) -> list[Piece]:
    """Return the chunks that say *body*: for each choice its role, its content, its finish.

    The usage, if there is one, has a chunk of its own; ``[DONE]`` belongs to the encoding.
    """
    common = {name: body[name] for name in _COMMON if name in body}
    common["object"] = CHUNK
    usage = body.get("usage")
    once = {
        name: value
        for name, value in body.items()
        if name not in {*common, "choices"} and (name != "usage" or usage is None)
    }
    said = [
        {**common, "choices": [part]}
        for choice in _objects(body.get("choices"), "choices")
        for part in _parts(choice)
    ]
    if not said:
        raise ProtocolError("a reply has no choice in it")
    said[0] |= once
    if usage is not None:
        said.append({**common, "choices": [], "usage": usage})
    return [("", chunk) for chunk in said]


@final
@define(eq=False)
class _Choice:
    """One choice on its way; texts that grow are kept as the list of their parts."""

    index: int
    finish: object = field(default=None, init=False)
    _message: dict[str, Any] = field(factory=dict, init=False)
    _calls: dict[int, dict[str, Any]] = field(factory=dict, init=False)
    _rest: dict[str, Any] = field(factory=dict, init=False)

    def take(self, choice: JSON) -> None:
        if self.finish:
            return
        delta = choice.get("delta")
        if not isinstance(delta, (dict, type(None))):
            raise ProtocolError("a delta is no object")
        delta = dict(delta or {})
        for call in _objects(delta.pop("tool_calls", None) or [], "tool calls"):
            self._call(call)
        if "tool_calls" in choice.get("delta", ()):
            self._message.setdefault("tool_calls", None)
        _grow(self._message, delta)
        if "logprobs" in choice:
            _grow(self._rest, {"logprobs": choice["logprobs"]})
        self._rest |= {name: choice[name] for name in choice.keys() - _OWN}
        self.finish = choice.get("finish_reason")

    def _call(self, call: JSON) -> None:
        """Add to the call of that index; one without an index is a call of its own."""
        index = call.get("index", len(self._calls))
        if not isinstance(index, int) or index < 0:
            raise ProtocolError("a tool call has an impossible index")
        known = self._calls.setdefault(index, {})
        _grow(known, {name: call[name] for name in call if name != "index"})

    def whole(self) -> JSON:
        message = _joined(self._message)
        if self._calls:
            message["tool_calls"] = [_joined(self._calls[index]) for index in sorted(self._calls)]
        rest = _joined(self._rest)
        return {"index": self.index, "message": message, "finish_reason": self.finish, **rest}
