"""A provider that shows our key in the headers of a good reply: the caller does not see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from llmstack.messages import Reply
from llmstack.providers.anthropic import Anthropic
from llmstack.providers.openai import OpenAI
from tests.providers.anthropic import scripts as a
from tests.providers.openai import scripts as o


#: A key that looks like a word, which nothing but its owner would know for one.
KEY: Final = "hunter2Pass-Zq81kk"
ECHO: Final = (
    f"X-Request-Id: {KEY.upper()}\r\nX-RateLimit-Limit-Requests: for {KEY}\r\n"
    f"Anthropic-RateLimit-{KEY}: 1\r\nRetry-After: 3\r\nOpenAI-Processing-Ms: 7\r\n"
).encode()
CHAT: Final = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'
MESSAGE: Final = (
    b'{"type": "message", "content": [{"type": "text", "text": "Hello"}],'
    b' "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}'
)


def head(first: bytes) -> bytes:
    """The head of a reply with the key in some more headers."""
    line, _, rest = first.partition(b"\r\n")
    return line + b"\r\n" + ECHO + rest


def chat(answer: bytes, *, stream: bool) -> Reply | None:
    def leaf(url: str) -> OpenAI:
        return OpenAI(url, api_key=KEY)

    return o.play(answer, asked=o.request(stream=stream), leaf=leaf).reply


def messages(answer: bytes, *, stream: bool) -> Reply | None:
    def leaf(url: str) -> Anthropic:
        return Anthropic(url, api_key=KEY)

    return a.play(answer, asked=a.request(stream=stream), leaf=leaf).reply


CHAT_WHOLE: Final = o.sized(CHAT, head(o.JSON))
CHAT_STREAM: Final = head(o.SSE) + o.chunked(o.WHOLE) + o.END
MESSAGES_WHOLE: Final = a.sized(MESSAGE, head(a.JSON))
MESSAGES_STREAM: Final = head(a.SSE) + a.chunked(a.WHOLE) + a.END


@pytest.mark.parametrize("stream", [False, True], ids=["asked whole", "asked as a stream"])
@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (chat, CHAT_WHOLE),
        (chat, CHAT_STREAM),
        (messages, MESSAGES_WHOLE),
        (messages, MESSAGES_STREAM),
    ],
    ids=["chat whole", "chat stream", "messages whole", "messages stream"],
)
def test_no_header_of_a_reply_has_the_key_in_it(
    ask: Callable[..., Reply | None], answer: bytes, *, stream: bool
) -> None:
    """In whichever shape it came and was asked for; what has nothing of it passes."""
    reply: Any = ask(answer, stream=stream)
    headers = dict(reply.headers)

    assert ("3", "7") == (headers["retry-after"], headers["openai-processing-ms"])
    assert headers["content-type"].startswith(("application/json", "text/event-stream"))
    assert KEY.lower() not in str(headers).lower()
