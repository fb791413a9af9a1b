"""What the OpenAI format can do, and how a chat request is written.

A stream counts its tokens only if it is asked to, so it is, whether the caller asks or not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Final

from llmstack.messages import Request
from llmstack.providers.format import Headers, Operation, body_of
from llmstack.providers.openai.complete import completion, listed, models, usage_after
from llmstack.providers.openai.progress import Progress
from llmstack.providers.openai.responses import RESPONSES
from llmstack.providers.said import as_object


__all__ = ["counting_body_of", "operations"]

COUNTS: Final = "include_usage"
_ASKED: Final = b'"stream_options":{"include_usage":true},'


def counting_body_of(request: Request, *, stream: bool) -> bytes:
    """Return the caller's bytes, asking a stream to count its tokens where they do not say."""
    body = body_of(request, stream=stream)
    data = request.body.data
    options = data.get("stream_options")
    known = isinstance(options, dict) and options.get(COUNTS) is not None
    if not stream or known or not isinstance(options, (dict, type(None))):
        return body
    if "stream_options" in data:
        options = {**(options or {}), COUNTS: True}
        data = {**data, "model": request.model, "stream": True, "stream_options": options}
        return json.dumps(data, separators=(",", ":")).encode()
    start = body.index(b"{") + 1  # and it is not empty: the model is in it
    return body[:start] + _ASKED + body[start:]


def operations(
    *, done_is_terminal: bool = False, asks_usage: bool = True
) -> Mapping[str, Operation]:
    """Return what the format can do, for a host whose ``[DONE]`` is a terminal or is not.

    *asks_usage* is for all hosts but those that refuse to be asked.
    """

    def progress(request: Request, headers: Headers) -> Progress:
        options = as_object(request.body.data.get("stream_options"))
        # A reply that is wanted whole has its tokens in it.
        counts = not request.stream or bool(options.get(COUNTS))
        wanted = request.body.data.get("n")
        return Progress(headers, done_is_terminal, counts, wanted if isinstance(wanted, int) else 1)

    return {
        "chat": Operation(
            "/chat/completions",
            partial(usage_after, completion),
            progress=progress,
            write=counting_body_of if asks_usage else body_of,
        ),
        # One vector of 1,536 numbers has 20 KB and takes 0.2 ms to decode.
        "embeddings": Operation("/embeddings", partial(usage_after, listed, most=4 << 10)),
        "models": Operation("/models", partial(usage_after, models), method="GET"),
        "responses": RESPONSES,
    }
