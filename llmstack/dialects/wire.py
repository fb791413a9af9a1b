"""The bytes of a stream's events: server-sent events, one JSON object in each.

Chat has no names for its events and ends with `TERMINAL`; Messages and Responses name each
event, and their last one is an event like the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from llmstack.dialects.translator import JSON, Piece


__all__ = ["TERMINAL", "encoded", "written"]

#: What ends a chat stream.
TERMINAL: Final = b"data: [DONE]\n\n"


def encoded(pieces: Iterable[Piece], /) -> bytes:
    r"""Return the bytes of *pieces*, one event after another.

    >>> encoded([("", {"id": "a"}), ("ping", {"type": "ping"})])
    b'data: {"id":"a"}\n\nevent: ping\ndata: {"type":"ping"}\n\n'
    """
    return b"".join(map(_event, pieces))


def written(body: JSON, /) -> bytes:
    r"""Return *body* as compact JSON, all in ASCII, so that even half a character can be told.

    >>> written({"text": "\ud83d"})
    b'{"text":"\\ud83d"}'
    """
    return json.dumps(body, separators=(",", ":")).encode()


def _event(piece: Piece) -> bytes:
    name, data = piece
    line = b"data: " + written(data) + b"\n\n"
    return b"event: " + name.encode() + b"\n" + line if name else line
