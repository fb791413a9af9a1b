"""The parts of a message: texts, images, files, refusals.

A single text is said as a string, which every server reads; several stay parts, so that their
borders are kept.

Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmstack.dialects.place import Place


__all__ = ["Content", "as_parts", "spoken", "written"]

Part = dict[str, Any]
Content = str | list[Part]

_BREAK: Final = "prompt_cache_breakpoint"
#: What chat knows of the four ways to look at an image.
_DETAILS: Final = ("auto", "low", "high")
_FILE: Final = ("filename", "file_data", "file_id")


def written(content: Place, *, media: bool = False) -> Content:
    """Return the content of a message that is given to the model; *media* only the user's."""
    if isinstance(content.value, str):
        return content.value
    readers = _MEDIA if media else _TEXTS
    return _short([_read(part, readers) for part in content.otherwise([]).each()])


def spoken(content: Place) -> tuple[Content | None, str | None]:
    """Return what the assistant said, and what it said in refusing."""
    if isinstance(content.value, str):
        return content.value, None
    parts = [_read(part, _SPOKEN) for part in content.otherwise([]).each()]
    texts = [part for part in parts if part["type"] == "text"]
    refusals = [part["refusal"] for part in parts if part["type"] == "refusal"]
    if not refusals:
        return _short(texts), None
    return (_short(texts) if texts else None), "".join(refusals)


def as_parts(content: Content) -> list[Part]:
    """Return content as parts, whichever form it has."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _short(parts: list[Part]) -> Content:
    """Return the text alone where there is nothing else to say."""
    if not parts:
        return ""
    only = parts[0]
    plain = len(parts) == 1 and only["type"] == "text" and _BREAK not in only
    return str(only["text"]) if plain else parts


def _read(part: Place, readers: Mapping[str, _Reader]) -> Part:
    said = readers[part["type"].one_of(readers)](part)
    if part[_BREAK].given:
        said[_BREAK] = part[_BREAK].value
    return said


def _text(part: Place) -> Part:
    part.rest("type", "text", _BREAK)
    return {"type": "text", "text": part["text"].text()}


def _refusal(part: Place) -> Part:
    part.rest("type", "refusal")
    return {"type": "refusal", "refusal": part["refusal"].text()}


def _image(part: Place) -> Part:
    if part["file_id"].given:
        raise part["file_id"].refusal()
    image, detail = {"url": part["image_url"].text()}, part["detail"]
    if detail.value in _DETAILS:
        image["detail"] = detail.value
    part.rest("type", "image_url", _BREAK, *(["detail"] if "detail" in image else []))
    return {"type": "image_url", "image_url": image}


def _file(part: Place) -> Part:
    if part["file_url"].given:
        raise part["file_url"].refusal()
    file = part.some(*_FILE)
    if not file.keys() & {"file_data", "file_id"}:
        raise part["file_data"].refusal("there is no file here")
    part.rest("type", *_FILE, _BREAK)
    return {"type": "file", "file": file}


_Reader = Callable[[Place], Part]
_TEXTS: Final[Mapping[str, _Reader]] = {"input_text": _text, "output_text": _text}
_MEDIA: Final[Mapping[str, _Reader]] = {**_TEXTS, "input_image": _image, "input_file": _file}
_SPOKEN: Final[Mapping[str, _Reader]] = {**_TEXTS, "refusal": _refusal}
