"""What a translator is: from one dialect to another and back, as pure functions.

A dialect is named by the operation that callers ask for: ``chat``, ``messages``,
``responses``. A translator takes a caller's request to an endpoint that speaks another
dialect, and the endpoint's reply back, whole or event by event. It does no I/O and reads no
clock: *at* is the time of day in seconds, for dialects whose replies have a date.

What the other dialect cannot say is a refusal (`Untranslatable`, which names the field) where
the meaning of the reply depends on it, and otherwise a drop, which is told: `Translated.dropped`
has the paths of the fields, never their values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, final

from attrs import frozen


__all__ = ["JSON", "Piece", "StreamTranslator", "Translated", "Translator"]

JSON = Mapping[str, Any]

#: One event of a stream: its name, "" in dialects without names, and its decoded data.
Piece = tuple[str, JSON]


@final
@frozen
class Translated:
    """A request body in the other dialect, and the paths of what was left out."""

    body: JSON
    dropped: tuple[str, ...] = ()


class StreamTranslator(Protocol):
    """Turns the events of one reply into those of the caller's dialect, one by one.

    All pieces together are the stream of the reply that `Translator.reply` would make of the
    assembled one.
    """

    def take(self, name: str, data: JSON, /) -> Sequence[Piece]:
        """Return what one event of the endpoint means; nothing for most that say little.

        Raises `ProtocolError` for an event that its dialect does not allow.
        """
        ...

    def end(self) -> Sequence[Piece]:
        """Return what is left to say when the endpoint's terminal has been seen; called once.

        A chat stream's ``[DONE]`` is not said here: it belongs to the encoding.
        """
        ...


class Translator(Protocol):
    """From the dialect *asks* to the dialect *speaks*, and back."""

    @property
    def asks(self) -> str:
        """The dialect of the caller."""
        ...

    @property
    def speaks(self) -> str:
        """The dialect of the endpoint."""
        ...

    def request(self, body: JSON, /) -> Translated:
        """Return the caller's body in the endpoint's dialect; `Untranslatable` if impossible.

        *model* and *stream* are carried over; the leaf writes the model's name in any case.
        """
        ...

    def reply(self, body: JSON, /, asked: JSON, at: float) -> JSON:
        """Return the endpoint's whole reply in the caller's dialect.

        *asked* is the caller's body. Raises `ProtocolError` for a reply that its dialect does
        not allow.
        """
        ...

    def stream(self, asked: JSON, /, at: float) -> StreamTranslator:
        """Return the translator of one stream."""
        ...
