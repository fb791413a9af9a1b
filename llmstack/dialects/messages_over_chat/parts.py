"""Content blocks of Messages as content parts of chat completions.

Images are parts with a data URI or an address, PDFs are ``file`` parts; texts, documents of
text and search results are text parts, with their title, source and context as lines of text.
What only the other provider has (a file by its id, a PDF that it is to fetch) is refused.

Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from llmstack.dialects.place import Place
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


def blocks(value: Place) -> Sequence[Place]:
    """Return the blocks of a content; a string is one block of text."""
    if isinstance(value.value, str):
        return [value.holding(text_part(value.value))]
    return value.each()


def parts(block: Place) -> Sequence[JSON]:
    """Return the parts that say *block*; `Untranslatable` for one of another kind."""
    return PARTS[block["type"].one_of(PARTS)](block)


def text_of(block: Place) -> JSON:
    """Return a text block as a part."""
    block.rest("type", "text")
    return text_part(block["text"].text())


def _text(block: Place) -> Sequence[JSON]:
    return [text_of(block)]


def _image(block: Place) -> Sequence[JSON]:
    block.rest("type", "source")
    source = block["source"]
    if source["type"].one_of(("base64", "url")) == "base64":
        url = _data_uri(source["media_type"].text(), source)
    else:
        url = source["url"].text()
    return [{"type": "image_url", "image_url": {"url": url}}]


def _data_uri(media: str, source: Place) -> str:
    return f"data:{media};base64,{source['data'].text()}"


def _document(block: Place) -> Sequence[JSON]:
    block.rest("type", "source", "title", "context")
    source = block["source"]
    match source["type"].one_of(("text", "content", "base64")):
        case "text":
            said = [text_part(source["data"].text())]
        case "content":
            said = _inner(source["content"])
        case _:
            media = source["media_type"].one_of((PDF,))
            file = {"filename": FILENAME, "file_data": _data_uri(media, source)}
            said = [{"type": "file", "file": file}]
    return [*_lines(block, "title", "context"), *said]


def _inner(content: Place) -> list[JSON]:
    """Return what a document is made of: texts and images."""
    said: list[JSON] = []
    for block in blocks(content):
        block["type"].one_of(("text", "image"))
        said += parts(block)
    return said


def _search(block: Place) -> Sequence[JSON]:
    block.rest("type", "content", "title", "source")
    texts = [text_of(each) for each in blocks(block["content"])]
    return [*_lines(block, "title", "source"), *texts]


def _lines(block: Place, *names: str) -> Sequence[JSON]:
    """Return what stands over a document, line by line, as one part or none."""
    lines = [block[name].text() for name in names if block[name].given]
    return [text_part("\n".join(lines))] if lines else []


#: The kinds of blocks that a user's turn and a tool's result may have.
PARTS: Final[Mapping[str, Callable[[Place], Sequence[JSON]]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search,
}
