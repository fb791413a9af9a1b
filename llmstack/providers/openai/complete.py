"""A whole reply: whether it says anything, and how many tokens it took.

Its bytes go on as they are. A reply of usual size is decoded once to look at it (3.8 µs at
0.7 KB); a long one is not, it is only looked at from both ends, unless its bytes have what an
error or an answer that was given up has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmstack.call import Usage
from llmstack.errors import EmptyResponse, ProtocolError
from llmstack.providers.format import Headers
from llmstack.providers.openai.classify import classify
from llmstack.providers.openai.progress import failed_finish, has_content
from llmstack.providers.openai.usage import usage_in, usage_of
from llmstack.providers.said import as_object, decoded


__all__ = ["DECODED", "completion", "listed", "models", "usage_after"]

#: Bytes of a reply that are decoded.
DECODED: Final = 64 << 10

#: Words that a long reply is first searched for: 0.6 ms a MiB, and the pattern takes 1.4.
_WORDS: Final = (b'"error"', b'"insufficient_system_resource"')
#: An error, or a finish that is one, wherever it stands. In a string the quotes would be escaped.
_FAILED: Final = re.compile(
    rb'"error"\s*+:\s*+(?!null)'
    rb'|"(?:finish_reason|object)"\s*+:\s*+"(?:error|insufficient_system_resource)"'
)


def completion(reply: Mapping[str, Any]) -> bool:
    """Whether a chat completion says anything; raises if it was given up."""
    choices = reply.get("choices")
    for choice in map(as_object, choices if isinstance(choices, list) else ()):
        failed = failed_finish(choice)
        if failed is not None:
            raise failed
        finish = choice.get("finish_reason") or None
        if has_content(choice.get("message")) or finish not in (None, "stop"):
            return True
    return False


def listed(reply: Mapping[str, Any]) -> bool:
    """Whether a list has anything in it."""
    return bool(reply.get("data"))


def models(reply: Mapping[str, Any]) -> bool:
    """Whether there is a list: a server without models is no broken server."""
    return isinstance(reply.get("data"), list)


def usage_after(
    says: Callable[[Mapping[str, Any]], bool],
    status: int,
    headers: Headers,
    body: bytes,
    *,
    most: int = DECODED,
) -> Usage | None:
    """Return the tokens of a whole reply; raise if it is an error, unreadable, or empty.

    *says* tells whether a decoded reply has content. Of more than *most* bytes it is decoded
    only if it may have failed: what is that long is not empty.
    """
    if not body or body.isspace():
        raise EmptyResponse
    if len(body) > most and not _may_have_failed(body):
        if body[:64].lstrip()[:1] != b"{" or body[-64:].rstrip()[-1:] != b"}":
            raise ProtocolError("the reply is not a JSON object")
        return usage_in(body)
    reply = decoded(body)
    if not isinstance(reply, dict):
        raise ProtocolError("the reply is not a JSON object")
    if reply.get("error") or reply.get("object") == "error":
        raise classify(status, headers(), body, "body")
    if not says(reply):
        raise EmptyResponse
    return usage_of(reply.get("usage"))


def _may_have_failed(body: bytes) -> bool:
    return any(word in body for word in _WORDS) and _FAILED.search(body) is not None
