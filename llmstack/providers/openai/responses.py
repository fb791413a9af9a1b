"""The operation ``responses``, whole and streamed.

A response that failed is the error that it names. One that runs in the background is handed on
as it is: there is nothing to look at yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from llmstack.call import Usage
from llmstack.messages import Request
from llmstack.providers.format import Headers, Operation
from llmstack.providers.openai.complete import DECODED, usage_after
from llmstack.providers.openai.responses_progress import ResponsesProgress, failed, says


__all__ = ["RESPONSES"]

#: A response repeats its instructions and tools, so that one which failed may be long. In a
#: string the quotes would be escaped.
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


def _progress(_request: Request, headers: Headers) -> ResponsesProgress:
    return ResponsesProgress(headers)


RESPONSES: Final = Operation("/responses", _usage, progress=_progress)
