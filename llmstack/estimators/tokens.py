"""A guess at the tokens of a prompt, from the decoded body of a request.

For what must be known before the provider says so: the cost of a call, whether it fits a
context window, what to reserve of a quota. Four bytes of UTF-8 are taken for a token: the
rule of thumb for English, cruder for other scripts. Where that matters, use a tokeniser.

It takes whatever was in the body and raises nothing: what cannot be read counts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final


__all__ = ["IMAGE_TOKENS", "prompt_tokens", "text_tokens"]

BYTES_PER_TOKEN: Final = 4
MESSAGE_TOKENS: Final = 3  # a message costs so much before it says anything,
REPLY_TOKENS: Final = 3  # and so does the beginning of the reply.
# OpenAI's figure for 1024 x 1024 in high detail: 85, and 170 for each of four tiles.
IMAGE_TOKENS: Final = 765


def text_tokens(text: str) -> int:
    """Return the guess for one text.

    >>> text_tokens("hello"), text_tokens("")
    (2, 0)
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def prompt_tokens(body: object) -> int:
    """Return the guess for the body of a chat, completion or embeddings request.

    >>> prompt_tokens({"messages": [{"role": "user", "content": "Say hello."}]})
    9
    >>> prompt_tokens({"input": ["one", "three"]})
    3
    """
    if not isinstance(body, dict):
        return 0
    tokens = _input(body.get("input")) + _input(body.get("prompt")) + _texts(body.get("tools"))
    messages = body.get("messages")
    if isinstance(messages, list):
        tokens += REPLY_TOKENS + sum(map(_message, messages))
    return tokens


def _message(message: object) -> int:
    if not isinstance(message, dict):
        return MESSAGE_TOKENS
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    return MESSAGE_TOKENS + sum(map(_part, parts)) + _texts(message.get("tool_calls"))


def _part(part: object) -> int:
    """Count a text, or a part that has one; any other part is an image, or as dear."""
    text = part.get("text", part.get("refusal")) if isinstance(part, dict) else part
    if isinstance(text, str):
        return text_tokens(text)
    return IMAGE_TOKENS if isinstance(part, dict) else 0


def _input(value: object) -> int:
    """Count a text, a list of token numbers, or a list of either."""
    if not isinstance(value, list):
        return text_tokens(value) if isinstance(value, str) else 0
    return sum(
        text_tokens(item) if isinstance(item, str) else len(item) if isinstance(item, list) else 1
        for item in value
    )


def _texts(value: object) -> int:
    """Count every text in *value*, names of fields as well."""
    return sum(map(text_tokens, _strings(value)))


def _strings(value: object) -> Iterator[str]:
    left = [value]  # no recursion: a body may be nested as deeply as its parser can read
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            left += item
