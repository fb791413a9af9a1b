"""A whole reply: whether it says anything, and how many tokens it took.

Its bytes go on as they are. A reply of usual size is decoded once to look at it (3.8 µs at
0.7 KB); a long one is not, it is only looked at from both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, final

from attrs import frozen

from llmstack.call import Usage
from llmstack.errors import EmptyResponse, ProtocolError
from llmstack.providers.openai.classify import classify
from llmstack.providers.openai.progress import failed_finish, has_content
from llmstack.providers.openai.said import as_object, decoded
from llmstack.providers.openai.usage import usage_in, usage_of


__all__ = ["OPERATIONS", "Operation", "usage_after"]


@final
@frozen
class Operation:
    """One thing that the format can do.

    *says* tells whether a decoded reply has content. Replies longer than *decoded* bytes
    are not decoded: what is that long is no error, and not empty.
    """

    path: str
    says: Callable[[Mapping[str, Any]], bool]
    method: str = "POST"
    streams: bool = False
    decoded: int = 64 << 10


def _chat(reply: Mapping[str, Any]) -> bool:
    choices = reply.get("choices")
    for choice in map(as_object, choices if isinstance(choices, list) else ()):
        failed = failed_finish(choice)
        if failed is not None:
            raise failed
        finish = choice.get("finish_reason") or None
        if has_content(choice.get("message")) or finish not in (None, "stop"):
            return True
    return False


def _listed(reply: Mapping[str, Any]) -> bool:
    return bool(reply.get("data"))


def _list(reply: Mapping[str, Any]) -> bool:
    return isinstance(reply.get("data"), list)


OPERATIONS: Final[Mapping[str, Operation]] = {
    "chat": Operation("/chat/completions", _chat, streams=True),
    # One vector of 1,536 numbers has 20 KB and takes 0.2 ms to decode.
    "embeddings": Operation("/embeddings", _listed, decoded=4 << 10),
    # A server without models is no broken server.
    "models": Operation("/models", _list, method="GET"),
}


def usage_after(
    operation: Operation, status: int, headers: Callable[[], Mapping[str, str]], body: bytes
) -> Usage | None:
    """Return the tokens of a whole reply; raise if it is an error, unreadable, or empty."""
    if not body or body.isspace():
        raise EmptyResponse
    if len(body) > operation.decoded:
        if body[:64].lstrip()[:1] != b"{" or body[-64:].rstrip()[-1:] != b"}":
            raise ProtocolError("the reply is not a JSON object")
        return usage_in(body)
    reply = decoded(body)
    if not isinstance(reply, dict):
        raise ProtocolError("the reply is not a JSON object")
    if reply.get("error") or reply.get("object") == "error":
        raise classify(status, headers(), body, "body")
    if not operation.says(reply):
        raise EmptyResponse
    return usage_of(reply.get("usage"))
