"""A stream of one dialect read as a stream of another.

It is the source of the stream that the caller gets, and the only reader of the one that the
endpoint gave. Between the two nothing is kept: what has come is translated in one go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, final

from attrs import define, field

from llmstack.call import Usage
from llmstack.dialects.dialect import DIALECTS
from llmstack.dialects.translator import Piece, StreamTranslator
from llmstack.dialects.wire import DONE, framed, written
from llmstack.errors import (
    EmptyResponse,
    ProtocolError,
    StreamBroken,
    StreamIncomplete,
    UpstreamError,
)
from llmstack.stream import Event, EventStream


__all__ = ["TranslatedEvent", "TranslatedSource"]


@final
@define
class TranslatedEvent:
    """One event of ours: its bytes, what they say, and its name or ""."""

    raw: bytes
    data: bytes
    event: str = ""

    @classmethod
    def of(cls, piece: Piece) -> TranslatedEvent:
        """Encode *piece*."""
        name, said = piece
        data = written(said)
        return cls(framed(name, data), data, name)


@final
@define(eq=False)
class TranslatedSource:
    """Reads *stream* through *translator*; *asks* is the caller's dialect."""

    asks: str
    stream: EventStream
    translator: StreamTranslator
    _over: bool = field(default=False, init=False)
    _begun: bool = field(default=False, init=False)
    _fault: UpstreamError | None = field(default=None, init=False)

    @property
    def usage(self) -> Usage | None:
        """Tokens, as the endpoint counts them."""
        return self.stream.usage

    @property
    def complete(self) -> bool:
        """Whether the endpoint's terminal has been seen, and ours was said."""
        return self._over and self._fault is None

    @property
    def heard(self) -> float:
        """When bytes came last, in loop time."""
        return getattr(self.stream.source, "heard", self.stream.first)

    async def preamble(self) -> list[Event]:
        """Return all up to the first content that the caller's dialect can say.

        Until then a broken stream is an ordinary failure, which may be tried elsewhere.
        """
        held: list[Event] = []
        try:
            while not self._begun:
                if self._over:
                    raise EmptyResponse("the reply has nothing that the caller's format can say")
                held += await self._more()
        except StreamBroken as error:
            raise _cause_of(error) from None  # which it is the cause of
        except StreamIncomplete as error:
            raise EmptyResponse("the stream ended before any content") from error
        return held

    async def read(self) -> Sequence[Event]:
        """Return what has come since, nothing after the terminal."""
        try:
            while not self.complete:
                events = await self._more()
                if events:
                    return events
        except ProtocolError as error:
            broken = StreamBroken("the stream broke off: ProtocolError", endpoint=error.endpoint)
            raise broken from error
        return ()

    def conclude(self) -> bool:
        """Have the endpoint's stream wait no longer behind its terminal, if it does."""
        return bool(getattr(self.stream.source, "conclude", bool)())

    def close(self) -> None:
        """Leave the endpoint's stream, if it is not over."""
        self.stream.close()

    async def _more(self) -> list[Event]:
        """Wait for one event, and translate all that have come with it.

        What was translated before a fault is handed up before the fault is told.
        """
        if self._fault is not None:
            raise self._fault
        said: list[Event] = []
        try:
            said += self._said(await self._next())
            # What is there, and a good end, need no waiting for.
            while not self._over and (self.stream.at_hand or self.stream.ended is not None):
                said += self._said(await self._next())
        except ProtocolError as error:
            if not said:
                raise
            self._fault = error
        return said

    async def _next(self) -> Event | None:
        """Return the next event; None at a good end."""
        try:
            return await anext(self.stream)
        except StopAsyncIteration:
            return None

    def _said(self, event: Event | None) -> list[Event]:
        if event is None:
            pieces = self.translator.end()
            self._over = True
        elif event.data.strip() == DONE:
            return []  # what counts is the end
        else:
            pieces = self.translator.take(event.event, _decoded(event.data))
        dialect = DIALECTS.get(self.asks)
        # Of a dialect that somebody else brought it is not known what says nothing.
        self._begun = self._begun or any(map(dialect.says, pieces) if dialect else pieces)
        events: list[Event] = [TranslatedEvent.of(piece) for piece in pieces]
        if self._over and dialect and dialect.last:
            events.append(TranslatedEvent(framed("", dialect.last), dialect.last))
        return events


def _cause_of(error: StreamBroken) -> UpstreamError:
    """Return what broke a stream of which the caller has nothing yet."""
    cause = error.__cause__
    if not isinstance(cause, UpstreamError):
        return error
    cause.endpoint, cause.status, cause.request_id = error.endpoint, error.status, error.request_id
    return cause


def _decoded(data: bytes) -> Mapping[str, Any]:
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise ProtocolError("an event is not a JSON object")
    return decoded
