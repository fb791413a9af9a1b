"""What a fake provider says to a request, in the format that the request is in; no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

from llmstack.testing import anthropic_wire, openai_wire
from llmstack.testing.behaviour import Seen


__all__ = ["Answer", "answer_to", "at_once", "error_body", "events_of", "refusal"]

Answer = openai_wire.Answer | anthropic_wire.Answer

MODELS: Final = "/v1/models"
EMBEDDINGS: Final = "/v1/embeddings"
MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"

#: What a request must have in its body.
ROUTES: Final[Mapping[tuple[str, str], Sequence[str]]] = {
    ("GET", MODELS): (),
    ("POST", EMBEDDINGS): ("model", "input"),
    ("POST", "/v1/chat/completions"): ("model", "messages"),
    ("POST", MESSAGES): ("model", "max_tokens", "messages"),
    ("POST", COUNT): ("model", "messages"),
}


def refusal(
    seen: Seen, api_key: str | None, models: Sequence[str]
) -> tuple[int, Mapping[str, Any]] | None:
    """Return status and body if something is wrong with the request."""
    wrong: tuple[int, str, str | None] | None
    needed = ROUTES.get((seen.method, seen.path))
    if api_key is not None and not _shows(seen, api_key):
        wrong = 401, "the API key is not known", "invalid_api_key"
    elif needed is None:
        wrong = 404, f"unknown URL: {seen.method} {seen.path}", "unknown_url"
    else:
        wrong = openai_wire.complaint(seen.body, needed, models)
    if wrong is None:
        return None
    status, message, code = wrong
    # Anthropic has codes for few errors, and none for these.
    return status, error_body(seen, status, message, None if _of_anthropic(seen) else code)


def error_body(seen: Seen, status: int, message: str, code: str | None) -> Mapping[str, Any]:
    """Return the body of an error."""
    say = anthropic_wire.error_body if _of_anthropic(seen) else openai_wire.error_body
    return say(status, message, code)


def at_once(seen: Seen, models: Sequence[str], seed: int) -> Mapping[str, Any] | None:
    """Return the body of a reply that is no answer in words."""
    if seen.path == MODELS:
        return openai_wire.models_body(models or ("fake",), 0)
    if seen.path == EMBEDDINGS:
        return openai_wire.embeddings(seen.json, seed)
    return {"input_tokens": anthropic_wire.tokens_in(seen.json)} if seen.path == COUNT else None


def answer_to(seen: Seen, tokens: int, rng: Random, *, at: float) -> Answer:
    """Return the answer of *tokens* words, or the fewer that the request allows."""
    answers: type[Answer] = anthropic_wire.Answer if _of_anthropic(seen) else openai_wire.Answer
    return answers.to(seen.json, tokens, rng, at=at)


def events_of(answer: Answer, body: Mapping[str, Any]) -> list[bytes]:
    """Return the events of a stream as they are written."""
    if isinstance(answer, anthropic_wire.Answer):
        return answer.events()
    options = body.get("stream_options") or {}
    chunks = answer.chunks(usage=bool(options.get("include_usage")))
    return [f"data: {event}\n\n".encode() for event in (*map(json.dumps, chunks), "[DONE]")]


def _of_anthropic(seen: Seen) -> bool:
    return seen.path.startswith(MESSAGES)


def _shows(seen: Seen, key: str) -> bool:
    """Whether the request shows *key*; a bearer is one in both formats."""
    bearer = seen.headers.get("authorization") == f"Bearer {key}"
    return bearer or (_of_anthropic(seen) and seen.headers.get("x-api-key") == key)
