"""A reply whose bytes come in the pieces that a test wants, for tests of what reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from llmstack.errors import UpstreamError
from llmstack.providers.incoming import Incoming


class Pieces:
    """Gives one piece a read, b"" after the last one; an error among them is raised."""

    status = 200

    def __init__(self, pieces: Iterable[bytes | float | UpstreamError]) -> None:
        self.pieces = list(pieces)
        self.ended = ""

    async def chunk(self) -> bytes:
        while self.pieces:
            piece = self.pieces.pop(0)
            if isinstance(piece, UpstreamError):
                raise piece
            if isinstance(piece, bytes):
                return piece
            await asyncio.sleep(piece)
        return b""

    def headers(self) -> dict[str, str]:
        return {}

    kept = headers

    def close(self) -> None:
        self.ended = "closed"

    def release(self) -> None:
        self.ended = "released"


def incoming(*pieces: bytes | float | UpstreamError) -> Incoming:
    """A reply that comes in *pieces*; a number is a wait."""
    return cast("Incoming", Pieces(pieces))
