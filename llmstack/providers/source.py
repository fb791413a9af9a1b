"""The event stream of any wire format: from bytes to events, to its terminal or its end.

What the events mean is told by a `Progress`, one for each format. An `EventSource` waits for
the first content and hands up an `EventStream`. What comes before is held, at most 256 KiB, and
replayed; what goes wrong before is an ordinary exception of the tree. After it a failure is
`StreamBroken`, and a clean end without the terminal is `StreamIncomplete`. Which of the two
it is depends on the order of the events alone, not on how the network cut them. The tokens
of a stream that ended without the provider's word are estimated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, final

from attrs import Factory, define, field

from llmstack.call import Usage
from llmstack.errors import (
    ConnectionLost,
    EmptyResponse,
    ProtocolError,
    StreamBroken,
    StreamIncomplete,
    UpstreamError,
)
from llmstack.providers.batch import Sorter
from llmstack.providers.estimate import estimated
from llmstack.providers.incoming import Incoming
from llmstack.providers.portions import Portions
from llmstack.providers.progress import Progress
from llmstack.providers.redact import conceal, request_id, without_key
from llmstack.providers.secret import Secret
from llmstack.providers.sse import SSEEvent
from llmstack.stream import EventStream


__all__ = ["EventSource"]

#: Bytes of events that may come before the first content.
PREAMBLE: Final = 256 << 10
#: Seconds to wait for what may come behind the terminal: the tokens, the end of the body.
TAIL: Final = 2.0


@final
@define(eq=False)
class EventSource:
    """The source of an `EventStream`: reads when asked, and knows whether all has come.

    *prompt* guesses at the tokens of the prompt, should the provider not say. *endpoint* is
    for the errors of the stream, and *key* is what neither they nor the headers may show.
    Whoever opens or gathers it closes *incoming* if that raises. A stream of more than *limit*
    bytes is broken.
    """

    incoming: Incoming
    progress: Progress
    prompt: Callable[[], int] = field(repr=False)
    endpoint: str | None = None
    key: Secret | None = field(default=None, repr=False)
    limit: int = 1 << 30
    _portions: Portions = field(
        default=Factory(lambda self: Portions(self.incoming, self.limit), takes_self=True),
        init=False,
        repr=False,
    )
    _sorter: Sorter = field(
        default=Factory(lambda self: Sorter(self.progress), takes_self=True),
        init=False,
        repr=False,
    )
    _cut: bool = field(default=False, init=False)
    _until: float | None = field(default=None, init=False, repr=False)  # behind the terminal
    _tail: asyncio.Timeout | None = field(default=None, init=False, repr=False)

    @property
    def heard(self) -> float:
        """The loop time when bytes of any kind last came."""
        return self._portions.heard

    @property
    def usage(self) -> Usage | None:
        """Tokens: the provider's last word, or else an estimate from what has come."""
        said = self.progress.usage
        if said is not None and self.progress.whole:
            return said
        return estimated(said, self.prompt() if said is None else 0, self.progress.text)

    @property
    def complete(self) -> bool:
        """Whether the stream is over, with its terminal and without an error."""
        return self._sorter.over and self._sorter.failure is None and self.progress.whole

    async def opened(self) -> EventStream:
        """Return the stream at its first content; raise what ends it before."""
        held = await self._preamble()
        headers = without_key(self.incoming.kept(), self.key)
        return EventStream(self, self.incoming.status, headers, held=held)

    async def gathered(self, limit: int) -> list[SSEEvent]:
        """Return all events of at most *limit* bytes; raise what ends them before the terminal.

        Nothing has been handed up, so that is an ordinary error, whenever it comes.
        """
        held = await self._preamble()
        room = limit - sum(len(event.raw) for event in held)
        while not self._sorter.over and room >= 0:
            events = await self._batch()
            room -= sum(len(event.raw) for event in events)
            held += events
        if room < 0:
            raise ProtocolError(f"the stream is longer than {limit} bytes")
        if not self.complete:
            raise self._sorter.failure or ConnectionLost("the stream ended before its terminal")
        self.close()
        return held

    async def _preamble(self) -> list[SSEEvent]:
        """Return the events up to the first content, and those that came along with it."""
        held: list[SSEEvent] = []
        size = 0
        while not self.progress.begun:
            if self._sorter.over:
                raise self._sorter.failure or EmptyResponse("the stream ended before any content")
            events = await self._batch()
            size += sum(len(event.raw) for event in events)
            held += events
            if size > PREAMBLE and not self.progress.begun:
                raise ProtocolError(f"no content in the first {PREAMBLE} bytes of the stream")
        return held

    async def read(self) -> Sequence[SSEEvent]:
        """Return what has come since, nothing after the terminal."""
        sorter, portions = self._sorter, self._portions
        while not sorter.over:
            try:
                # The usual case by itself, without coroutines between here and the wait.
                if sorter.id is None or portions.rest:
                    events = await self._batch()
                else:
                    events = sorter.take(portions.first(await self.incoming.chunk()))
            except UpstreamError as error:
                sorter.fail(error)
            else:
                if events:
                    return events
        if self.complete:
            return ()
        raise self._broken()

    def conclude(self) -> bool:
        """Wait no longer for what may come behind the terminal; False if it is not that."""
        if self._tail is None:
            return False
        self._tail.reschedule(asyncio.get_running_loop().time())
        return True

    def close(self) -> None:
        """Give the connection back if all has come, else close it."""
        if self.complete and not self._cut:
            self.incoming.release()
        else:
            self.incoming.close()

    async def _batch(self) -> Sequence[SSEEvent]:
        """Read once; an error among the events waits until those before it are handed up."""
        if self.progress.whole:
            chunk = await self._behind()
        else:
            chunk = await self._portions.next()
        return self._sorter.take(chunk)

    async def _behind(self) -> bytes:
        """Read behind the terminal, where there is nothing to lose: the reply is whole."""
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + TAIL
        try:
            async with asyncio.timeout_at(self._until) as self._tail:
                return await self._portions.next()
        except (UpstreamError, TimeoutError):
            self._cut = True
            return b""
        finally:
            self._tail = None

    def _broken(self) -> UpstreamError:
        """Return what ended a stream of which content had been handed up."""
        cause = self._sorter.failure
        if cause is None:
            error: UpstreamError = StreamIncomplete()
        else:
            error = StreamBroken(f"the stream broke off: {type(cause).__name__}")
            conceal(cause, self.key)
            error.__cause__ = cause  # which says whom to blame
            error.code, error.retry_after = cause.code, cause.retry_after
        error.endpoint, error.status = self.endpoint, self.incoming.status
        error.request_id = request_id(self.incoming.headers())
        conceal(error, self.key)
        return error
