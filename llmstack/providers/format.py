"""What wire formats differ in: where to ask, how the key is shown, what a reply means."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Protocol, final

from attrs import field, frozen

from llmstack.call import Usage
from llmstack.errors import UpstreamError
from llmstack.messages import Request
from llmstack.providers.progress import Progress


__all__ = ["Classify", "Format", "Headers", "Operation", "Write", "body_of"]

Headers = Callable[[], Mapping[str, str]]


class Classify(Protocol):
    """What a reply with the status of an error means; it never raises."""

    def __call__(
        self, status: int, headers: Mapping[str, str], body: bytes, *, wall: float | None = None
    ) -> UpstreamError:
        """Return the error. Names in *headers* are lower case, *wall* is the time of day."""
        ...


def body_of(request: Request, *, stream: bool) -> bytes:
    """Return the caller's bytes with the model, and saying *stream* where they do not."""
    data = request.body.data
    if (data.get("stream") or False) is stream:
        return request.body.named(request.model)
    if "stream" in data:
        data = {**data, "model": request.model, "stream": stream}
        return json.dumps(data, separators=(",", ":")).encode()
    body = request.body.named(request.model)
    start = body.index(b"{") + 1  # and it is not empty: the model is in it
    return body[:start] + b'"stream":true,' + body[start:]


class Write(Protocol):
    """How the body of an operation is written."""

    def __call__(self, request: Request, /, *, stream: bool) -> bytes:
        """Return the bytes for *request*, which asks for a *stream* or does not."""
        ...


@final
@frozen
class Operation:
    """One thing that a format can do.

    *usage* gives the tokens of a whole reply, and raises if it is an error, unreadable or
    empty. *progress* makes what reads a stream; without it the operation does not stream.
    """

    path: str
    usage: Callable[[int, Headers, bytes], Usage | None]
    method: str = "POST"
    progress: Callable[[Request, Headers], Progress] | None = None
    write: Write = body_of


@final
@frozen
class Format:
    """A wire format: its *operations* by name, its errors, and how it shows a *key*.

    *passes* are the headers of a caller that go upstream, each with what is said in its
    place if the caller says nothing, None for nothing.
    """

    operations: Mapping[str, Operation]
    classify: Classify
    key: Callable[[str], str]
    passes: Mapping[str, str | None] = field(factory=dict)
