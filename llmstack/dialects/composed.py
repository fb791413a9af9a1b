"""Two translators as one: from the dialect of the first to that of the second.

What the inner one leaves out or refuses, it names by the fields of the dialect in between,
which the caller has never seen: such a path begins with its name (``chat.messages[*].name``).

Errors: `ConfigError` for two that do not fit together; theirs. Events: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from attrs import define, field

from llmstack.dialects.translator import JSON, Piece, StreamTranslator, Translated, Translator
from llmstack.errors import ConfigError, Untranslatable


__all__ = ["Composed"]


@final
@define(eq=False)
class Composed:
    """*outer* is next to the caller, *inner* next to the endpoint.

    >>> from llmstack.dialects.chat_over_messages import ChatOverMessages
    >>> from llmstack.dialects.responses_over_chat import ResponsesOverChat
    >>> both = Composed(ResponsesOverChat(), ChatOverMessages())
    >>> both.asks, both.speaks
    ('responses', 'messages')
    """

    outer: Translator
    inner: Translator
    asks: str = field(init=False, repr=False)
    speaks: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.outer.speaks != self.inner.asks:
            raise ConfigError(f"{self.outer.speaks} is spoken, and {self.inner.asks} expected")
        self.asks, self.speaks = self.outer.asks, self.inner.speaks

    def request(self, body: JSON, /) -> Translated:
        """Return what the inner one makes of what the outer one makes of *body*."""
        said = self.outer.request(body)
        try:
            more = self.inner.request(said.body)
        except Untranslatable as error:
            raise Untranslatable(f"{self.inner.asks}.{error.message}") from error
        between = (f"{self.inner.asks}.{path}" for path in more.dropped)
        return Translated(more.body, (*said.dropped, *between))

    def reply(self, body: JSON, /, asked: JSON, at: float) -> JSON:
        """Return the reply of the endpoint, translated twice."""
        between = self.inner.reply(body, self.outer.request(asked).body, at)
        return self.outer.reply(between, asked, at)

    def stream(self, asked: JSON, /, at: float) -> StreamTranslator:
        """Return a stream translator that passes what one takes to the other."""
        inner = self.inner.stream(self.outer.request(asked).body, at)
        return _Both(self.outer.stream(asked, at), inner)


@final
@define(eq=False)
class _Both:
    outer: StreamTranslator
    inner: StreamTranslator

    def take(self, name: str, data: JSON, /) -> Sequence[Piece]:
        return self._passed(self.inner.take(name, data))

    def end(self) -> Sequence[Piece]:
        return [*self._passed(self.inner.end()), *self.outer.end()]

    def _passed(self, pieces: Iterable[Piece]) -> list[Piece]:
        return [more for piece in pieces for more in self.outer.take(*piece)]
