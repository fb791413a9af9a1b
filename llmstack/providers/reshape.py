"""A reply in another shape than was asked for: whole where a stream was, or the reverse.

Some hosts only stream, others never do, and some answer a stream with one piece of JSON. The
caller gets what was asked for, in the same dialect and within the same limits.

Errors: `ProtocolError` for a reply that its dialect does not allow. Events: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

from attrs import define, field

from llmstack.call import Usage
from llmstack.dialects.dialect import DIALECTS, Dialect
from llmstack.dialects.wire import encoded, written
from llmstack.errors import ProtocolError
from llmstack.messages import EventStream, Response
from llmstack.providers.estimate import estimated
from llmstack.providers.progress import Progress
from llmstack.providers.said import decoded
from llmstack.providers.sse import SSEEvent, SSEParser


__all__ = ["as_stream", "as_whole", "dialect_of"]


def dialect_of(operation: str) -> Dialect:
    """Return the dialect of *operation*; `ProtocolError` if there is none: it has one shape."""
    dialect = DIALECTS.get(operation)
    if dialect is None:
        raise ProtocolError("the reply is whole where a stream was asked for, or the reverse")
    return dialect


def as_stream(
    dialect: Dialect, reply: Response, progress: Progress, prompt: Callable[[], int]
) -> EventStream:
    """Return the stream that says *reply*; what *progress* would not pass is left out."""
    body = decoded(reply.body)
    if not isinstance(body, dict):
        raise ProtocolError("the reply is not a JSON object")
    try:
        said = encoded(dialect.pieces(body), dialect.last)
    except RecursionError:
        raise ProtocolError("the reply is nested too deeply") from None
    # What was told in one piece of JSON may be as long in one event.
    events = SSEParser(max_line=len(said), max_event=len(said)).feed(said)
    held = [event for event in events if progress.take(event.data, event.event)]
    if not progress.whole:
        raise ProtocolError("the reply does not say how it ended")
    usage = reply.usage or estimated(None, prompt(), progress.text)
    headers = {**reply.headers, "content-type": "text/event-stream"}
    return EventStream(_Told(usage), reply.status, headers, held=held)


def as_whole(dialect: Dialect, events: Iterable[SSEEvent]) -> bytes:
    """Return the body that *events* say together, of which the last is the terminal."""
    said = ((event.event, decoded(event.data)) for event in events)
    try:
        return written(dialect.assembled((name, data) for name, data in said if data is not None))
    except RecursionError:
        raise ProtocolError("the reply is nested too deeply") from None


@final
@define(eq=False)
class _Told:
    """The source of a stream of which all events are there."""

    usage: Usage | None = None
    complete: bool = field(default=True, init=False)

    async def read(self) -> Sequence[SSEEvent]:
        """Return nothing more."""
        return ()

    def close(self) -> None:
        """Do nothing: the connection was given back when the body had come."""
