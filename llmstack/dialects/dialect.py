"""The dialects that are known: how each says the same whole and streamed, and what counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, final

from attrs import frozen

from llmstack.dialects import chat, content, messages, responses
from llmstack.dialects.translator import JSON, Piece
from llmstack.dialects.wire import DONE


__all__ = ["DIALECTS", "Dialect"]


@final
@frozen
class Dialect:
    """One dialect: a whole reply from the *pieces* of a stream, and the reverse.

    *says* tells whether a piece has content. *last* is the data of the event that ends a
    stream, in a dialect where that one is no JSON and so no piece.
    """

    assembled: Callable[[Iterable[Piece]], JSON]
    pieces: Callable[[JSON], Sequence[Piece]]
    says: Callable[[Piece], bool]
    last: bytes = b""


#: By the operation that callers ask for.
DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "chat": Dialect(chat.assembled, chat.pieces, content.of_chat, DONE),
        "messages": Dialect(messages.assembled, messages.pieces, content.of_messages),
        "responses": Dialect(responses.assembled, responses.pieces, content.of_responses),
    }
)
