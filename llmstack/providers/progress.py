"""What a wire format has to know of one of its streams: how far it has come. No I/O."""

from __future__ import annotations

from typing import Protocol

from llmstack.call import Usage
from llmstack.providers.sse import SSEEvent


__all__ = ["Progress"]


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

    def run(self, chunk: bytes, /) -> tuple[int, int]:
        """Learn from ordinary events that *chunk* begins with, all to be handed on.

        Returns how many they are, each whole and with content, and how many bytes they take.
        """
        ...
