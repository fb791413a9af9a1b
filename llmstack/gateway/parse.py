"""A request, from headers and bytes: what a stack can take, or the problem with it.

Pure: no I/O and no clock, and whatever the bytes are, there is an answer and no exception.
A problem says what is wrong and where, and repeats nothing of the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import hdrs

from llmstack.body import Body
from llmstack.call import Call
from llmstack.gateway.errors import Problem
from llmstack.gateway.fields import FORBIDDEN, Kind, bad, called, is_forbidden, must_be, plain
from llmstack.gateway.front import Front, Look
from llmstack.gateway.strict import decode
from llmstack.messages import NO_HEADERS, Request


__all__ = ["check_content", "check_headers", "parse", "passed", "too_large"]

#: Names of models are for people and logs.
LONGEST_NAME: Final = 256

#: Characters of the name of a field that are shown.
LONGEST_FIELD: Final = 64

#: Of a header that a provider may see.
LONGEST_HEADER: Final = 2048

#: Of a Content-Length that is worth reading.
MOST_DIGITS: Final = 20

#: Two of one of these, and two readers may believe different ones.
_ONCE: Final = (
    *(b"anthropic-version", b"authorization", b"content-encoding", b"content-length"),
    *(b"content-type", b"host", b"transfer-encoding", b"x-api-key", b"x-request-id"),
)
_JSON: Final = "application/json"


def check_headers(raw: Sequence[tuple[bytes, bytes]]) -> Problem | None:
    """Return what is wrong with the names of the headers *raw*: one is there twice, or odd."""
    joined = b"\n".join([name for name, _ in raw]).lower()
    names = joined.split(b"\n")
    if b"_" in joined:
        # To some servers X_A and X-A are the same header, so nobody may send the first.
        return Problem(400, "a header has an underscore in its name", code="bad_header")
    if len(set(names)) == len(names):
        return None
    for name in _ONCE:
        if names.count(name) > 1:
            return Problem(400, f"the header {name.decode()} is there twice", code="bad_header")
    return None


def check_content(headers: Mapping[str, str], max_body: int) -> Problem | None:
    """Return what is wrong with the body as the *headers* announce it."""
    encoding = headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() != "identity":
        return _unsupported("Content-Encoding", "identity")
    coding = headers.get(hdrs.TRANSFER_ENCODING)
    if coding is not None and coding.strip().lower() != "chunked":
        return _unsupported("Transfer-Encoding", "chunked")
    kind = headers.get(hdrs.CONTENT_TYPE, "")
    if kind != _JSON and not _is_json(kind):
        return _unsupported("Content-Type", _JSON)
    length = headers.get(hdrs.CONTENT_LENGTH, "0")
    if not (length.isascii() and length.isdigit()):
        return Problem(400, "Content-Length is not a number", code="bad_header", close=True)
    # More digits than this are too many bytes whatever they say, and slow to read.
    if len(length) > MOST_DIGITS or int(length) > max_body:
        return too_large(max_body)
    return None


def _unsupported(header: str, wanted: str) -> Problem:
    code = "unsupported_media_type"
    return Problem(415, f"{header} must be {wanted}", param=header, code=code, close=True)


def _is_json(kind: str) -> bool:
    media, _, rest = kind.partition(";")
    charset = rest.strip().lower().removeprefix("charset=").strip('"')
    return media.strip().lower() == _JSON and charset in {"", "utf-8", "utf8"}


def too_large(max_body: int) -> Problem:
    """Return the problem of a body that is longer than *max_body* bytes."""
    message = f"the body is longer than {max_body} bytes"
    return Problem(413, message, code="payload_too_large", close=True)


def passed(names: Sequence[str], raw: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str] | Problem:
    """Return those of the headers *raw* that a provider may see, or what is wrong with one.

    A header that is there more than once is a list, so it becomes one with commas.
    """
    found = {}
    for name in names:
        value = b", ".join([value for key, value in raw if key.lower() == name.encode()])
        text = value.decode("ascii", "replace")
        if len(text) > LONGEST_HEADER or not (text.isascii() and text.isprintable()):
            message = f"the header {name} must be at most {LONGEST_HEADER} printable characters"
            return Problem(400, message, param=name, code="bad_header")
        if text:
            found[name] = text
    return found


def parse(
    front: Front, raw: bytes, call: Call, headers: Mapping[str, str] = NO_HEADERS
) -> Request | Problem:
    """Return the request that *raw* is the body of, or the first problem with it."""
    data, fault = decode(raw)
    if fault:
        return Problem(400, fault, code="invalid_json")
    if not isinstance(data, dict):
        message = f"the body must be an object, and it is {called(data)}"
        return Problem(400, message, code="invalid_json")
    problem = (
        _check_model(data.get("model"))
        or front.needs(data)
        or _check_fields(data, front.known)
        or _check_below(front.below(data))
    )
    if problem is not None:
        return problem
    stream = front.streams and data.get("stream") is True
    body = Body(raw, data)
    return Request(data["model"], body, front.operation, stream, headers=headers, call=call)


def _check_model(model: object) -> Problem | None:
    if not isinstance(model, str):
        return bad("model", must_be("a string", model))
    if not model or len(model) > LONGEST_NAME or not model.isprintable():
        return bad("model", f"must be 1 to {LONGEST_NAME} printable characters")
    return None


def _check_fields(data: Mapping[str, Any], known: Mapping[str, Kind]) -> Problem | None:
    """Return the first field that has the wrong type, or is forbidden."""
    for name, value in data.items():
        kind = known.get(name)
        if kind is None:
            if is_forbidden(name):
                return _forbidden(name)
        elif value is not None and not kind.fits(value):
            return bad(name, must_be(kind.says, value))
    return None


def _check_below(look: Look) -> Problem | None:
    for path, kind, value in look:
        if value is not None and not kind.fits(value):
            return bad(path, must_be(kind.says, value))
    return None


def _forbidden(name: str) -> Problem:
    # A name of which only the end is known may have any text before it.
    param = name[:LONGEST_FIELD] if plain(name) in FORBIDDEN else None
    shown = param or "a field with such a name"
    message = f"{shown} is not for callers to choose, so it must not be in a request"
    return Problem(400, message, param=param, code="forbidden_field")
