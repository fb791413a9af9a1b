"""What a provider of the Anthropic format says: bodies as plain data, no I/O and no clock.

`FakeProvider` puts them on a socket. The words are chosen by the caller's dice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, ClassVar, Final, final

from attrs import frozen

from llmstack.testing.openai_wire import WORDS


__all__ = ["Answer", "error_body", "tokens_in"]

#: The ``type`` of an error by status; others below 500 are the caller's.
TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
#: Of these a prompt is made; a block has more strings than what it says.
_SAID: Final = ("system", "messages", "content", "text", "input", "tools", "description")


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return the body of an error; *code* goes into its details."""
    kind = TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    details = {} if code is None else {"details": {"error_code": code}}
    return {"type": "error", "error": {"type": kind, "message": message, **details}}


def tokens_in(body: Mapping[str, Any]) -> int:
    """Count the words of a prompt, which stand for its tokens."""
    return sum(_words(body.get(name)) for name in _SAID)


def _words(value: object) -> int:
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, Mapping):
        return tokens_in(value)
    return sum(map(_words, value)) if isinstance(value, Sequence) else 0


@final
@frozen
class Answer:
    """One message: the same words, complete or as events; a *tool* gets them as arguments."""

    #: Events before the first word.
    lead: ClassVar[int] = 3

    id: str
    model: str
    words: tuple[str, ...]
    stop_reason: str
    input_tokens: int
    tool: str | None

    @classmethod
    def to(cls, body: Mapping[str, Any], tokens: int, rng: Random, *, at: float) -> Answer:
        """Return the answer to *body*, of *tokens* words or the fewer it allows."""
        allowed: int = body["max_tokens"]
        tool = _tool(body)
        reason = "end_turn" if tool is None else "tool_use"
        return cls(
            id=f"msg_{int(at):x}{rng.getrandbits(64):016x}",
            model=str(body["model"]),
            words=tuple(rng.choice(WORDS) for _ in range(min(tokens, allowed))),
            stop_reason=reason if tokens <= allowed else "max_tokens",
            input_tokens=tokens_in(body),
            tool=tool,
        )

    @property
    def text(self) -> str:
        """The words as they are read."""
        return " ".join(self.words)

    def complete(self) -> dict[str, Any]:
        """Return the body that says everything at once."""
        block = self._block()
        if self.tool is None:
            block["text"] = self.text
        elif self.words:
            block["input"] = {"words": self.text}
        return {
            **self._message(len(self.words)),
            "content": [block],
            "stop_reason": self.stop_reason,
        }

    def events(self) -> list[bytes]:
        """Return the events of a stream: the start, a word each, and the end."""
        return [
            f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
            for data in self._spoken()
        ]

    def _spoken(self) -> Iterator[dict[str, Any]]:
        yield {"type": "message_start", "message": self._message(min(1, len(self.words)))}
        yield {"type": "content_block_start", "index": 0, "content_block": self._block()}
        yield {"type": "ping"}
        for n, word in enumerate(self.words):
            delta = self._delta(f" {word}" if n else word, n)
            yield {"type": "content_block_delta", "index": 0, "delta": delta}
        yield {"type": "content_block_stop", "index": 0}
        yield {
            "type": "message_delta",
            "delta": {
                "stop_reason": self.stop_reason,
                "stop_sequence": None,
                "stop_details": None,
            },
            "usage": {"output_tokens": len(self.words)},
        }
        yield {"type": "message_stop"}

    def _message(self, output_tokens: int) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": {
                "input_tokens": self.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": output_tokens,
            },
        }

    def _block(self) -> dict[str, Any]:
        if self.tool is None:
            return {"type": "text", "text": ""}
        return {"type": "tool_use", "id": f"toolu_{self.id}", "name": self.tool, "input": {}}

    def _delta(self, piece: str, n: int) -> dict[str, Any]:
        """Return the piece of a text, or of arguments; the words need no escapes."""
        if self.tool is None:
            return {"type": "text_delta", "text": piece}
        start = "" if n else '{"words": "'
        end = '"}' if n == len(self.words) - 1 else ""
        return {"type": "input_json_delta", "partial_json": f"{start}{piece}{end}"}


def _tool(body: Mapping[str, Any]) -> str | None:
    """Return the name of the tool that the request insists on, or of the first one."""
    choice = body.get("tool_choice") or {}
    match choice.get("type"):
        case "tool":
            return str(choice["name"])
        case "any" if body.get("tools"):
            return str(body["tools"][0]["name"])
        case _:
            return None
