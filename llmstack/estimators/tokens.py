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

#: Where the parts of a message have their text, by dialect: texts, calls and their results.
_SAID: Final = ("text", "refusal", "thinking", "input", "arguments", "output", "content")


def text_tokens(text: str) -> int:
    """Return the guess for one text.

    >>> text_tokens("hello"), text_tokens("")
    (2, 0)
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def prompt_tokens(body: object) -> int:
    """Return the guess for the body of a request, in any dialect.

    >>> prompt_tokens({"messages": [{"role": "user", "content": "Say hello."}]})
    9
    >>> prompt_tokens({"input": ["one", "three"]})
    3
    """
    if not isinstance(body, dict):
        return 0
    tokens = _input(body.get("input")) + _input(body.get("prompt")) + _texts(body.get("tools"))
    tokens += _content(body.get("system")) + _content(body.get("instructions"))
    messages = body.get("messages")
    if isinstance(messages, list):
        tokens += REPLY_TOKENS + sum(map(_message, messages))
    return tokens


def _message(message: object) -> int:
    if not isinstance(message, dict):
        return MESSAGE_TOKENS
    calls = _texts(message.get("tool_calls"))
    return MESSAGE_TOKENS + _content(message.get("content")) + calls


def _content(content: object) -> int:
    return sum(map(_part, content if isinstance(content, list) else [content]))


def _part(part: object) -> int:
    """Count a text, or a part that has one; any other part is an image, or as dear."""
    if not isinstance(part, dict):
        return text_tokens(part) if isinstance(part, str) else 0
    said = [part[name] for name in _SAID if isinstance(part.get(name), (str, dict))]
    if said and not _is_image(part):
        return _texts(said)
    # The result of a tool may have parts of its own, and those have none.
    inner = part.get("content")
    if not isinstance(inner, list):
        return IMAGE_TOKENS
    return sum(
        text_tokens(each["text"])
        if isinstance(each, dict) and isinstance(each.get("text"), str)
        else IMAGE_TOKENS
        for each in inner
    )


def _is_image(part: dict[str, object]) -> bool:
    return isinstance(part.get("type"), str) and "image" in str(part["type"])


def _input(value: object) -> int:
    """Count a text, a list of token numbers, or a list of texts, numbers or items."""
    if not isinstance(value, list):
        return text_tokens(value) if isinstance(value, str) else 0
    return sum(map(_item, value))


def _item(item: object) -> int:
    if isinstance(item, str):
        return text_tokens(item)
    if isinstance(item, dict):
        return _message(item) if "role" in item else _part(item)
    return len(item) if isinstance(item, list) else 1


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
