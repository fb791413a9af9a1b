"""The content of a chat message as the blocks of a Messages turn: texts and images.

Messages allows no text without a sign in it, so such texts are left out. Errors:
`Untranslatable`, with the path of the part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmstack.dialects.place import Place


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


def _text(part: Place) -> list[Block]:
    part.rest("type", "text")
    return text_block(part["text"].text())


def _refusal(part: Place) -> list[Block]:
    part.rest("type", "refusal")
    return text_block(part["refusal"].text())


def _image(part: Place) -> list[Block]:
    part.rest("type", "image_url")
    image = part["image_url"]
    image.rest("url", *(["detail"] if image["detail"].value == "auto" else []))
    return [{"type": "image", "source": _source(image["url"])}]


def _source(place: Place) -> Block:
    """The image at an address, or the one that is written in it."""
    url = place.text()
    scheme = url[:8].lower()
    if scheme == "https://":
        return {"type": "url", "url": url}
    head, comma, data = url.partition(",")
    kind, *more = head[5:].lower().split(";")
    if not scheme.startswith("data:") or not comma:
        raise place.refusal("Messages takes https: and data: only")
    if kind not in IMAGES or "base64" not in more:
        raise place.refusal("Messages takes base64 of gif, jpeg, png and webp only")
    return {"type": "base64", "media_type": IMAGES[kind], "data": data}


_MAKES: Final[Mapping[str, Callable[[Place], list[Block]]]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
}


def blocks(content: Place, role: str) -> list[Block]:
    """Return the blocks of *content*, a text or a list of parts."""
    if isinstance(content.value, str):
        return text_block(content.value)
    made = []
    for part in content.each():
        kind = part["type"].one_of(PARTS[role], "Messages has no such part in this place")
        made += _MAKES[kind](part)
    return made
