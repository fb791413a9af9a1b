"""The parts of a message: texts, images, files, refusals.

A single text is said as a string, which every server reads; several stay parts, so that their
borders are kept.

Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmstack.dialects.responses_over_chat.paths import Told, cannot, objects_at, text_at
from llmstack.dialects.translator import JSON


__all__ = ["Content", "as_parts", "spoken", "written"]

Part = dict[str, Any]
Content = str | list[Part]

_BREAK: Final = "prompt_cache_breakpoint"
#: What chat knows of the four ways to look at an image.
_DETAILS: Final = ("auto", "low", "high")
_FILE: Final = ("filename", "file_data", "file_id")


def written(value: object, path: str, told: Told, *, media: bool = False) -> Content:
    """Return the content of a message that is given to the model; *media* only the user's."""
    if isinstance(value, str):
        return value
    readers = _MEDIA if media else _TEXTS
    return _short([_read(part, where, told, readers) for where, part in objects_at(value, path)])


def spoken(value: object, path: str, told: Told) -> tuple[Content | None, str | None]:
    """Return what the assistant said, and what it said in refusing."""
    if isinstance(value, str):
        return value, None
    parts = [_read(part, where, told, _SPOKEN) for where, part in objects_at(value, path)]
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


def _read(part: JSON, path: str, told: Told, readers: Mapping[str, _Reader]) -> Part:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in readers:
        raise cannot(f"{path}.type")
    said = readers[kind](part, path, told)
    if part.get(_BREAK) is not None:
        said[_BREAK] = part[_BREAK]
    return said


def _text(part: JSON, path: str, told: Told) -> Part:
    told.rest(part, ("type", "text", _BREAK), path)
    return {"type": "text", "text": text_at(part.get("text"), f"{path}.text")}


def _refusal(part: JSON, path: str, told: Told) -> Part:
    told.rest(part, ("type", "refusal"), path)
    return {"type": "refusal", "refusal": text_at(part.get("refusal"), f"{path}.refusal")}


def _image(part: JSON, path: str, told: Told) -> Part:
    if part.get("file_id") is not None:
        raise cannot(f"{path}.file_id")
    image = {"url": text_at(part.get("image_url"), f"{path}.image_url")}
    known = ["type", "image_url", _BREAK]
    if part.get("detail") in _DETAILS:
        image["detail"] = part["detail"]
        known.append("detail")
    told.rest(part, known, path)
    return {"type": "image_url", "image_url": image}


def _file(part: JSON, path: str, told: Told) -> Part:
    if part.get("file_url") is not None:
        raise cannot(f"{path}.file_url")
    file = {name: part[name] for name in _FILE if part.get(name) is not None}
    if not file.keys() & {"file_data", "file_id"}:
        raise cannot(f"{path}.file_data", "there is no file here")
    told.rest(part, ("type", *_FILE, _BREAK), path)
    return {"type": "file", "file": file}


_Reader = Callable[[JSON, str, Told], Part]
_TEXTS: Final[Mapping[str, _Reader]] = {"input_text": _text, "output_text": _text}
_MEDIA: Final[Mapping[str, _Reader]] = {**_TEXTS, "input_image": _image, "input_file": _file}
_SPOKEN: Final[Mapping[str, _Reader]] = {**_TEXTS, "refusal": _refusal}
