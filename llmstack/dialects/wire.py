"""The bytes of a stream's events: server-sent events, one JSON object in each.

Chat has no names for its events and ends with `DONE`; Messages and Responses name each
event, and their last one is an event like the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from llmstack.dialects.translator import JSON, Piece


__all__ = ["DONE", "encoded", "framed", "written"]

#: The data of the event that ends a chat stream. It is no JSON, and so no piece.
DONE: Final = b"[DONE]"


def encoded(pieces: Iterable[Piece], last: bytes = b"", /) -> bytes:
    r"""Return the bytes of *pieces*, one event after another, and one of *last* if there is any.

    >>> encoded([("", {"id": "a"}), ("ping", {"type": "ping"})])
    b'data: {"id":"a"}\n\nevent: ping\ndata: {"type":"ping"}\n\n'
    """
    said = [framed(name, written(data)) for name, data in pieces]
    return b"".join([*said, framed("", last)] if last else said)


def written(body: JSON, /) -> bytes:
    r"""Return *body* as compact JSON, all in ASCII, so that even half a character can be told.

    >>> written({"text": "\ud83d"})
    b'{"text":"\\ud83d"}'
    """
    return json.dumps(body, separators=(",", ":"), default=dict).encode()


def framed(name: str, data: bytes, /) -> bytes:
    r"""Return the bytes of one event; *data* is JSON without a line break in it.

    >>> framed("ping", b"{}")
    b'event: ping\ndata: {}\n\n'
    """
    line = b"data: " + data + b"\n\n"
    return b"event: " + name.encode() + b"\n" + line if name else line
