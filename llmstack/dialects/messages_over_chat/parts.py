"""Content blocks of Messages as content parts of chat completions.

Images are parts with a data URI or an address, PDFs are ``file`` parts; texts, documents of
text and search results are text parts, with their title, source and context as lines of text.
What only the other provider has (a file by its id, a PDF that it is to fetch) is refused.

Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from llmstack.dialects.messages_over_chat.fields import (
    Dropped,
    as_list,
    as_object,
    as_text,
    cannot,
)
from llmstack.dialects.translator import JSON


__all__ = ["PARTS", "blocks", "content", "parts", "text_of", "text_part"]

PDF: Final = "application/pdf"
#: Chat wants a name for a file; the title, which may be anything, is told as text.
FILENAME: Final = "document.pdf"


def text_part(text: str) -> JSON:
    """Return *text* as a part."""
    return {"type": "text", "text": text}


def content(said: Sequence[JSON]) -> str | Sequence[JSON]:
    """Return parts as the content of a message: a lone text, or none, is a string."""
    match said:
        case []:
            return ""
        case [{"type": "text", "text": str(text)}]:
            return text
        case _:
            return said


def blocks(value: object, path: str) -> Sequence[tuple[JSON, str]]:
    """Return the blocks of a content with their paths; a string is one block of text."""
    if isinstance(value, str):
        return [(text_part(value), path)]
    paths = [f"{path}.{n}" for n in range(len(as_list(value, path)))]
    return [
        (as_object(block, where), where)
        for block, where in zip(as_list(value, path), paths, strict=True)
    ]


def parts(block: JSON, path: str, dropped: Dropped) -> Sequence[JSON]:
    """Return the parts that say *block*; `Untranslatable` for one of another kind."""
    kind = block.get("type")
    say = PARTS.get(kind) if isinstance(kind, str) else None
    if say is None:
        raise cannot(path)
    return say(block, path, dropped)


def text_of(block: JSON, path: str, dropped: Dropped) -> JSON:
    """Return a text block as a part."""
    dropped.rest(block, path, ("type", "text"))
    return text_part(as_text(block.get("text"), f"{path}.text"))


def _text(block: JSON, path: str, dropped: Dropped) -> Sequence[JSON]:
    return [text_of(block, path, dropped)]


def _image(block: JSON, path: str, dropped: Dropped) -> Sequence[JSON]:
    dropped.rest(block, path, ("type", "source"))
    where = f"{path}.source"
    source = as_object(block.get("source"), where)
    if source.get("type") == "base64":
        url = _data_uri(as_text(source.get("media_type"), f"{where}.media_type"), source, where)
    elif source.get("type") == "url":
        url = as_text(source.get("url"), f"{where}.url")
    else:
        raise cannot(where)
    return [{"type": "image_url", "image_url": {"url": url}}]


def _data_uri(media: str, source: JSON, path: str) -> str:
    return f"data:{media};base64,{as_text(source.get('data'), f'{path}.data')}"


def _document(block: JSON, path: str, dropped: Dropped) -> Sequence[JSON]:
    dropped.rest(block, path, ("type", "source", "title", "context"))
    where = f"{path}.source"
    source = as_object(block.get("source"), where)
    kind = source.get("type")
    if kind == "text":
        said = [text_part(as_text(source.get("data"), f"{where}.data"))]
    elif kind == "content":
        said = _inner(source.get("content"), f"{where}.content", dropped)
    elif kind == "base64" and source.get("media_type") == PDF:
        file = {"filename": FILENAME, "file_data": _data_uri(PDF, source, where)}
        said = [{"type": "file", "file": file}]
    else:
        raise cannot(where)
    return [*_lines(block, path, ("title", "context")), *said]


def _inner(value: object, path: str, dropped: Dropped) -> list[JSON]:
    """Return what a document is made of: texts and images."""
    said: list[JSON] = []
    for block, where in blocks(value, path):
        if block.get("type") not in ("text", "image"):
            raise cannot(where)
        said += parts(block, where, dropped)
    return said


def _search(block: JSON, path: str, dropped: Dropped) -> Sequence[JSON]:
    dropped.rest(block, path, ("type", "content", "title", "source"))
    said = blocks(block.get("content"), f"{path}.content")
    texts = [text_of(each, where, dropped) for each, where in said]
    return [*_lines(block, path, ("title", "source")), *texts]


def _lines(block: JSON, path: str, names: Sequence[str]) -> Sequence[JSON]:
    """Return what stands over a document, line by line, as one part or none."""
    given = [name for name in names if block.get(name) is not None]
    lines = [as_text(block[name], f"{path}.{name}") for name in given]
    return [text_part("\n".join(lines))] if lines else []


#: The kinds of blocks that a user's turn and a tool's result may have.
PARTS: Final[Mapping[str, Callable[[JSON, str, Dropped], Sequence[JSON]]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search,
}
