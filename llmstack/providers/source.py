"""The event stream of any wire format: from bytes to events, to its terminal or its end.

What the events mean is told by a `Progress`, one for each format. `opened` waits for the
first content and hands up an `EventStream`. What comes before is held, at most 256 KiB, and
replayed; what goes wrong before is an ordinary exception of the tree. After it a failure is
`StreamBroken`, and a clean end without the terminal is `StreamIncomplete`. Which of the two
it is depends on the order of the events alone, not on how the network cut them. The tokens
of a stream that ended without the provider's word are estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, final

from attrs import define, field

from llmstack.call import Usage
from llmstack.errors import (
    EmptyResponse,
    ProtocolError,
    StreamBroken,
    StreamIncomplete,
    UpstreamError,
)
from llmstack.providers.estimate import estimated
from llmstack.providers.incoming import Incoming
from llmstack.providers.redact import conceal, request_id
from llmstack.providers.secret import Secret
from llmstack.providers.sse import SSEEvent, SSELimitExceeded, SSEParser
from llmstack.stream import EventStream


__all__ = ["EventSource", "Progress", "opened"]

#: Bytes of events that may come before the first content.
PREAMBLE: Final = 256 << 10


class Progress(Protocol):
    """How far one stream has come, in the words of its format. No I/O."""

    @property
    def begun(self) -> bool:
        """Whether there was content."""
        ...

    @property
    def done(self) -> bool:
        """Whether nothing that comes now counts."""
        ...

    @property
    def whole(self) -> bool:
        """Whether the stream may end here: its terminal has been seen."""
        ...

    @property
    def unsaid(self) -> SSEEvent | None:
        """What a caller waits for at a good end and the provider has not said; None if nothing."""
        ...

    @property
    def usage(self) -> Usage | None:
        """Tokens so far, as far as the provider has said."""
        ...

    @property
    def text(self) -> int:
        """Bytes of content so far, or about as many."""
        ...

    def take(self, data: bytes, name: str, /) -> bool:
        """Learn from one event; return whether it is to be handed on.

        Raises what an error event means.
        """
        ...


def _unknown() -> int:
    return 0


async def opened(
    incoming: Incoming,
    progress: Progress,
    prompt: Callable[[], int] = _unknown,
    *,
    endpoint: str | None = None,
    key: Secret | None = None,
) -> EventStream:
    """Return the stream at its first content; raise what ends it before.

    *prompt* guesses at the tokens of the prompt, should the provider not say. *endpoint* is
    for the errors of the stream, and *key* is what they must not show. Whoever calls closes
    *incoming* if this raises.
    """
    source = EventSource(incoming, progress, prompt, endpoint, key)
    held = await source.preamble()
    return EventStream(source, incoming.status, incoming.kept(), held=held)


@final
@define(eq=False)
class EventSource:
    """The source of an `EventStream`: reads when asked, and knows whether all has come."""

    incoming: Incoming
    progress: Progress
    prompt: Callable[[], int] = field(default=_unknown, repr=False)
    endpoint: str | None = None
    key: Secret | None = field(default=None, repr=False)
    _parser: SSEParser = field(factory=SSEParser, init=False, repr=False)
    _over: bool = field(default=False, init=False)
    _cut: bool = field(default=False, init=False)
    _failure: UpstreamError | None = field(default=None, init=False)

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
        return self._over and self._failure is None and self.progress.whole

    async def preamble(self) -> list[SSEEvent]:
        """Return the events up to the first content, and those that came along with it."""
        held: list[SSEEvent] = []
        size = 0
        while not self.progress.begun:
            if self._over:
                raise self._failure or EmptyResponse("the stream ended before any content")
            events = await self._batch()
            size += sum(len(event.raw) for event in events)
            held += events
            if size > PREAMBLE and not self.progress.begun:
                raise ProtocolError(f"no content in the first {PREAMBLE} bytes of the stream")
        return held

    async def read(self) -> Sequence[SSEEvent]:
        """Return what has come since, nothing after the terminal."""
        events: Sequence[SSEEvent] = ()
        while not events and not self._over:
            try:
                events = await self._batch()
            except UpstreamError as error:
                self._fail(error)
        if events or self.complete:
            return events
        raise self._broken()

    def close(self) -> None:
        """Give the connection back if all has come, else close it."""
        if self.complete and not self._cut:
            self.incoming.release()
        else:
            self.incoming.close()

    async def _batch(self) -> list[SSEEvent]:
        """Read once; an error among the events waits until those before it are handed up."""
        try:
            chunk = await self.incoming.chunk()
        except UpstreamError:
            # Behind the terminal there is nothing to lose: the reply is whole.
            if not self.progress.whole:
                raise
            self._cut, chunk = True, b""
        return self._learned(chunk) if chunk else self._ended()

    def _ended(self) -> list[SSEEvent]:
        """Return what a good end lacks."""
        self._over = True
        last = self.progress.unsaid if self.progress.whole else None
        return [] if last is None else [last]

    def _learned(self, chunk: bytes) -> list[SSEEvent]:
        try:
            events = self._parser.feed(chunk)
        except SSELimitExceeded as error:
            raise ProtocolError(str(error)) from error
        passed: list[SSEEvent] = []
        try:
            for event in events:
                if self.progress.take(event.data, event.event):
                    passed.append(event)
                if self.progress.done:
                    self._over = True
                    break
        except UpstreamError as error:
            self._fail(error)
        return passed

    def _fail(self, error: UpstreamError) -> None:
        self._over = True
        self._failure = error.with_traceback(None)  # its frames hold this very object

    def _broken(self) -> UpstreamError:
        """Return what ended a stream of which content had been handed up."""
        cause = self._failure
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
