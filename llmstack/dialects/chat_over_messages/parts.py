"""The content of a chat message as the blocks of a Messages turn: texts and images.

Messages allows no text without a sign in it, so such texts are left out. Errors:
`Untranslatable`, with the path of the part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmstack.dialects.chat_over_messages.fields import rest
from llmstack.dialects.chat_over_messages.shapes import a_list, a_text, an_object
from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable


__all__ = ["IMAGES", "PARTS", "blocks", "text_block"]

#: The kinds of part that each role may send.
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "refusal"),
    "tool": ("text", "image_url"),
    "function": ("text", "image_url"),
}
#: The media types that Messages takes, by what callers call them.
IMAGES: Final[Mapping[str, str]] = {
    "image/gif": "image/gif",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/png": "image/png",
    "image/webp": "image/webp",
}

Block = dict[str, Any]


def text_block(text: str) -> list[Block]:
    """Return the block of *text*; none if there is nothing to see in it."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _text(part: JSON, path: str, dropped: list[str]) -> list[Block]:
    dropped += rest(part, ("type", "text"), path)
    return text_block(a_text(part.get("text"), f"{path}.text"))


def _refusal(part: JSON, path: str, dropped: list[str]) -> list[Block]:
    dropped += rest(part, ("type", "refusal"), path)
    return text_block(a_text(part.get("refusal"), f"{path}.refusal"))


def _image(part: JSON, path: str, dropped: list[str]) -> list[Block]:
    dropped += rest(part, ("type", "image_url"), path)
    image = an_object(part.get("image_url"), f"{path}.image_url")
    known = ("url", "detail") if image.get("detail") == "auto" else ("url",)
    dropped += rest(image, known, f"{path}.image_url")
    where = f"{path}.image_url.url"
    return [{"type": "image", "source": _source(a_text(image.get("url"), where), where)}]


def _source(url: str, path: str) -> Block:
    """The image at an address, or the one that is written in it."""
    scheme = url[:8].lower()
    if scheme == "https://":
        return {"type": "url", "url": url}
    head, comma, data = url.partition(",")
    kind, *more = head[5:].lower().split(";")
    if not scheme.startswith("data:") or not comma:
        raise Untranslatable(f"{path}: Messages takes https: and data: only")
    if kind not in IMAGES or "base64" not in more:
        raise Untranslatable(f"{path}: Messages takes base64 of gif, jpeg, png and webp only")
    return {"type": "base64", "media_type": IMAGES[kind], "data": data}


_MAKES: Final[Mapping[str, Callable[[JSON, str, list[str]], list[Block]]]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
}


def blocks(content: object, role: str, path: str, dropped: list[str]) -> list[Block]:
    """Return the blocks of *content*, a text or a list of parts; what is left out is told."""
    if isinstance(content, str):
        return text_block(content)
    made = []
    for index, each in enumerate(a_list(content, path)):
        where = f"{path}.{index}"
        part = an_object(each, where)
        kind = a_text(part.get("type"), f"{where}.type")
        if kind not in PARTS[role]:
            raise Untranslatable(f"{where}: Messages has no such part in this place")
        made += _MAKES[kind](part, where, dropped)
    return made
