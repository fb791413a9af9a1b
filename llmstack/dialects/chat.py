"""OpenAI chat completions: a whole reply as a stream of chunks, and a stream as a whole reply.

Pure functions over decoded JSON. Choices and tool calls are known by their index. What comes
piece by piece is joined: texts, refusals, reasoning, arguments, lists such as log
probabilities. As in a stream that is passed on, the first finish of a choice counts, and what
comes for it later says nothing.

Errors: `ProtocolError`. Events: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.growing import Growing
from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["assembled", "pieces"]

#: As many choices as a stream may have, and tool calls in one of them.
CHOICES: Final = 128
CALLS: Final = 1024
OBJECT: Final = "chat.completion"
CHUNK: Final = "chat.completion.chunk"

#: What each chunk of a stream repeats.
_COMMON: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
_APART: Final = frozenset({*_COMMON, "object", "choices", "usage", "obfuscation"})
_OWN: Final = frozenset({"index", "delta", "message", "logprobs", "finish_reason"})


def assembled(pieces: Iterable[Piece], /) -> JSON:
    """Return the reply that the chunks of a complete stream say together.

    A choice that was never finished, as some hosts have it, has a null for its finish.
    """
    whole: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    for _, chunk in pieces:
        if chunk.get("error"):
            raise ProtocolError("a chunk is an error")
        for name in [name for name in chunk if name not in {"choices", "obfuscation"}]:
            whole[name] = _latest(name, whole.get(name), chunk[name])
        for choice in _objects(chunk.get("choices") or []):
            index = _index(choice, CHOICES)
            choices.setdefault(index, _Choice(index)).take(choice)
    if not choices:
        raise ProtocolError("the stream has no choice in it")
    whole["object"] = OBJECT
    whole["choices"] = [choices[index].whole() for index in sorted(choices)]
    return whole


def pieces(body: JSON, /) -> list[Piece]:
    """Return the chunks that say *body*: for each choice its role, its content, its finish.

    The usage, if there is one, has a chunk of its own; ``[DONE]`` belongs to the encoding.
    """
    common = {name: body[name] for name in _COMMON if name in body} | {"object": CHUNK}
    once = {name: body[name] for name in body if name not in _APART}
    said = [
        {**common, "choices": [part]}
        for choice in _objects(body.get("choices"))
        for part in _parts(choice)
    ]
    if not said:
        raise ProtocolError("the reply has no choice in it")
    usage = body.get("usage")
    if usage is not None:
        said.append({**common, "choices": [], "usage": usage})
    elif "usage" in body:
        once["usage"] = None
    said[0] |= once
    return [("", chunk) for chunk in said]


def _latest(name: str, old: object, value: object) -> object:
    """Return what a field of the whole reply is: the first to say anything, the last usage.

    Azure sends a chunk before the first one, whose id and model are "".
    """
    return value if name == "usage" and value is not None else old or value


def _parts(choice: JSON) -> Iterator[JSON]:
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ProtocolError("a choice has no message")
    index, silent = {"index": _index(choice, CHOICES)}, {"finish_reason": None}
    # What is empty is said with the role: a delta of nothing else would be read as content.
    opening = {name: message[name] for name in message if name == "role" or not message[name]}
    content = {name: message[name] for name in message if name not in opening}
    if "tool_calls" in content:
        calls = enumerate(_objects(content["tool_calls"]))
        content["tool_calls"] = [{**call, "index": at} for at, call in calls]
    none = {"logprobs": None} if "logprobs" in choice else {}
    yield {**index, "delta": opening, **none, **silent}
    if choice.get("logprobs"):
        none = {"logprobs": choice["logprobs"]}
    if content or any(none.values()):
        yield {**index, "delta": content, **none, **silent}
    rest = {name: choice[name] for name in choice if name not in _OWN}
    yield {**index, "delta": {}, "finish_reason": choice.get("finish_reason"), **rest}


@final
@define(eq=False)
class _Choice:
    """One choice on its way."""

    index: int
    finish: object = field(default=None, init=False)
    _message: Growing = field(factory=Growing, init=False)
    _calls: dict[int, Growing] = field(factory=dict, init=False)
    _ids: dict[int, object] = field(factory=dict, init=False)
    _beside: Growing = field(factory=Growing, init=False)
    _rest: dict[str, Any] = field(factory=dict, init=False)

    def take(self, choice: JSON) -> None:
        if self.finish:
            return
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise ProtocolError("a delta is no object")
        for call in _objects(delta.get("tool_calls") or []):
            self._call(call)
        self._message.take(
            {name: delta[name] for name in delta if name != "tool_calls" or not delta[name]}
        )
        self._beside.take({name: choice[name] for name in choice if name == "logprobs"})
        self._rest |= {name: choice[name] for name in choice if name not in _OWN}
        self.finish = choice.get("finish_reason")

    def _call(self, call: JSON) -> None:
        """Add to the call of that index; one without an index is a call of its own."""
        index = _index({"index": len(self._calls), **call}, CALLS)
        identity = call.get("id")
        if identity and self._ids.setdefault(index, identity) != identity:
            raise ProtocolError("two tool calls have one index")
        part = {name: call[name] for name in call if name != "index"}
        self._calls.setdefault(index, Growing()).take(part)

    def whole(self) -> JSON:
        message = self._message.whole()
        if self._calls:
            message["tool_calls"] = [self._calls[at].whole() for at in sorted(self._calls)]
        whole = {"index": self.index, "message": message, "finish_reason": self.finish}
        return {**whole, **self._beside.whole(), **self._rest}


def _objects(value: object) -> list[JSON]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ProtocolError("choices or tool calls are no list of objects")
    return value


def _index(value: JSON, most: int) -> int:
    index = value.get("index", 0)
    if not isinstance(index, int) or not 0 <= index < most:
        raise ProtocolError("a choice or a tool call has an impossible index")
    return index
