"""A whole reply: whether it says anything, and how many tokens it took.

Its bytes go on as they are. A reply of usual size is decoded once to look at it; a long one
is not, it is only looked at from both ends, unless its bytes have what an error has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from llmstack.call import Usage
from llmstack.errors import EmptyResponse, ProtocolError
from llmstack.messages import Request
from llmstack.providers.anthropic.classify import classify
from llmstack.providers.anthropic.progress import Progress, says
from llmstack.providers.anthropic.usage import counted, usage_in, usage_of
from llmstack.providers.format import Headers, Operation
from llmstack.providers.said import decoded


__all__ = ["OPERATIONS", "usage_after"]

#: Bytes of a reply that are decoded. What is longer is not empty.
DECODED: Final = 64 << 10
#: An error, wherever it stands. In a string the quotes would be escaped.
_WORD: Final = b'"error"'
_FAILED: Final = re.compile(rb'"error"\s*+:\s*+(?!null)|"type"\s*+:\s*+"error"')


def _message(reply: Mapping[str, Any]) -> bool:
    content = reply.get("content")
    reason = reply.get("stop_reason") or "end_turn"
    return reason != "end_turn" or any(map(says, content if isinstance(content, list) else ()))


def _count(reply: Mapping[str, Any]) -> bool:
    return bool(counted(reply))


def usage_after(
    has_content: Callable[[Mapping[str, Any]], bool], status: int, headers: Headers, body: bytes
) -> Usage | None:
    """Return the tokens of a whole reply; raise if it is an error, unreadable, or empty."""
    if not body or body.isspace():
        raise EmptyResponse
    if len(body) > DECODED and not (_WORD in body and _FAILED.search(body)):
        if body[:64].lstrip()[:1] != b"{" or body[-64:].rstrip()[-1:] != b"}":
            raise ProtocolError("the reply is not a JSON object")
        return usage_in(body)
    reply = decoded(body)
    if not isinstance(reply, dict):
        raise ProtocolError("the reply is not a JSON object")
    if reply.get("error") or reply.get("type") == "error":
        raise classify(status, headers(), body, "body")
    if not has_content(reply):
        raise EmptyResponse
    return usage_of(counted(reply.get("usage")))


def _progress(_request: Request, headers: Headers) -> Progress:
    return Progress(headers)


OPERATIONS: Final[Mapping[str, Operation]] = {
    "messages": Operation("/messages", partial(usage_after, _message), progress=_progress),
    # To count is free: a reply with a number, and no usage.
    "count_tokens": Operation("/messages/count_tokens", partial(usage_after, _count)),
}
