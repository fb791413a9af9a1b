"""What a provider of the OpenAI format says: bodies as plain data, no I/O and no clock.

`FakeProvider` puts them on a socket. The words are chosen by the caller's dice.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, ClassVar, Final, final

from attrs import frozen


__all__ = [
    "Answer",
    "complaint",
    "embedding",
    "embeddings",
    "error_body",
    "models_body",
    "words_in",
]

WORDS: Final = ("able", "blue", "calm", "deep", "even", "fair", "glad", "high", "idle", "just")

#: Numbers of a vector, where the request does not say.
DIMENSIONS: Final = 8

#: The ``type`` of an error by status; others below 500 are the caller's.
TYPES: Final[Mapping[int, str]] = {
    429: "rate_limit_error",
    401: "authentication_error",
    403: "permission_error",
}


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return the body of an error."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def models_body(names: Sequence[str], created: int) -> dict[str, Any]:
    """Return the list of models."""
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": "llmstack"}
        for name in names
    ]
    return {"object": "list", "data": data}


def complaint(
    raw: bytes, needed: Sequence[str], models: Sequence[str]
) -> tuple[int, str, str | None] | None:
    """Return status, message and code if the body lacks something *needed* or a known model."""
    if not needed:
        return None
    try:
        body = json.loads(raw)
    except ValueError:
        return 400, "the body is not JSON", None
    missing = [name for name in needed if not isinstance(body, dict) or not body.get(name)]
    if missing:
        return 400, f"missing: {', '.join(missing)}", None
    if models and body["model"] not in models:
        return 404, "the model does not exist", "model_not_found"
    return None


def words_in(value: object) -> int:
    """Count the words in all strings of *value*, which stand for prompt tokens."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, Mapping):
        return sum(words_in(part) for key, part in value.items() if key != "role")
    if isinstance(value, Sequence):
        return sum(words_in(part) for part in value)
    return 0


@final
@frozen
class Answer:
    """One chat completion: the same words, complete or as chunks."""

    #: Chunks before the first word.
    lead: ClassVar[int] = 1

    id: str
    created: int
    model: str
    words: tuple[str, ...]
    finish: str
    prompt_tokens: int

    @classmethod
    def to(cls, body: Mapping[str, Any], tokens: int, rng: Random, *, at: float) -> Answer:
        """Return the answer to *body*, of *tokens* words or the fewer it allows."""
        allowed = body.get("max_completion_tokens") or body.get("max_tokens") or tokens
        return cls(
            id=f"chatcmpl-{rng.getrandbits(64):016x}",
            created=int(at),
            model=str(body["model"]),
            words=tuple(rng.choice(WORDS) for _ in range(min(tokens, allowed))),
            finish="stop" if tokens <= allowed else "length",
            prompt_tokens=words_in(body["messages"]),
        )

    @property
    def usage(self) -> dict[str, int]:
        """The tokens of prompt and completion; one word is one token."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": len(self.words),
            "total_tokens": self.prompt_tokens + len(self.words),
        }

    @property
    def text(self) -> str:
        """The words as they are read."""
        return " ".join(self.words)

    def complete(self) -> dict[str, Any]:
        """Return the body that says everything at once."""
        message = {"role": "assistant", "content": self.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish}
        return {**self._frame("chat.completion"), "choices": [choice], "usage": self.usage}

    def chunks(self, *, usage: bool) -> Iterator[dict[str, Any]]:
        """Yield the chunks: the role, a word each, the finish, and the *usage* if asked for."""
        yield self._chunk({"role": "assistant", "content": ""}, None)
        for n, word in enumerate(self.words):
            yield self._chunk({"content": f" {word}" if n else word}, None)
        yield self._chunk({}, self.finish)
        if usage:
            yield {**self._frame("chat.completion.chunk"), "choices": [], "usage": self.usage}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(self, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._frame("chat.completion.chunk"), "choices": [choice]}


def embedding(text: object, size: int, seed: int) -> list[float]:
    """Return the vector of *text*, the same for the same *seed*; its numbers fit 32 bits."""
    rng = Random(f"{seed} {text!r}")
    return [rng.randrange(-(1 << 20), 1 << 20) / (1 << 20) for _ in range(size)]


def embeddings(body: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the vectors of all inputs, as floats or as base64 of little-endian 32 bits."""
    given = body["input"]
    # One text is a string, or its tokens as numbers.
    one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    inputs = [given] if one else list(given)
    size = body.get("dimensions") or DIMENSIONS
    vectors: list[Any] = [embedding(text, size, seed) for text in inputs]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{size}f", *v)).decode() for v in vectors]
    tokens = sum(len(text) if isinstance(text, list) else words_in(text) for text in inputs)
    return {
        "object": "list",
        "model": body["model"],
        "data": [
            {"object": "embedding", "index": n, "embedding": vector}
            for n, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
