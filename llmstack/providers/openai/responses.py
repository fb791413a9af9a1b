"""The operation ``responses``: whole replies, what a request weighs, and its streams.

A response that failed is the error that it names. One that runs in the background is handed on
as it is: there is nothing to look at yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from llmstack.call import Usage
from llmstack.estimators.tokens import prompt_tokens
from llmstack.messages import Request
from llmstack.providers.format import Headers, Operation
from llmstack.providers.openai.complete import DECODED, usage_after
from llmstack.providers.openai.responses_progress import ResponsesProgress, failed, says
from llmstack.providers.said import as_object


__all__ = ["RESPONSES", "response_tokens"]

#: In a string the quotes would be escaped. A response repeats its instructions and tools, so
#: that one which failed may be long.
_FAILED: Final = re.compile(rb'"status"\s*:\s*"failed"')


def _usage(status: int, headers: Headers, body: bytes) -> Usage | None:
    most = len(body) if _FAILED.search(body) else DECODED
    return usage_after(partial(_says, headers), status, headers, body, most=most)


def _says(headers: Headers, reply: Mapping[str, Any]) -> bool:
    status, output = reply.get("status"), reply.get("output")
    if status == "failed":
        raise failed(reply, headers())
    unfinished = status not in (None, "completed")
    return unfinished or any(map(says, output if isinstance(output, list) else ()))


def response_tokens(body: Mapping[str, Any]) -> int:
    """Return a guess at the tokens of a request's prompt, from its items as from messages.

    >>> response_tokens({"input": "Say hello.", "instructions": "Be kind."})
    15
    """
    given = body.get("input")
    if not isinstance(given, list):
        given = [{"content": given}]
    messages = [{"content": body.get("instructions")}, *map(_as_message, given)]
    return prompt_tokens({"messages": messages, "tools": body.get("tools")})


def _as_message(item: object) -> Mapping[str, Any]:
    """Return an item as a message: what a call was given, or gave, is its text."""
    said = as_object(item)
    texts = (said.get(name) for name in ("content", "arguments", "input", "output"))
    return {"content": next((text for text in texts if text), None)}


def _progress(_request: Request, headers: Headers) -> ResponsesProgress:
    return ResponsesProgress(headers)


RESPONSES: Final = Operation("/responses", _usage, progress=_progress, prompt=response_tokens)
