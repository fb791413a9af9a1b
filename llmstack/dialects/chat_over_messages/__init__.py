"""Chat completions for callers of an endpoint that speaks Anthropic Messages.

What becomes of each field is data: `fields`. The reference page of this translation has the
same tables. Errors: `Untranslatable` for requests, `ProtocolError` for replies.
"""

from __future__ import annotations

from typing import final

from attrs import define, field

from llmstack.dialects.chat_over_messages.reply import reply
from llmstack.dialects.chat_over_messages.request import request
from llmstack.dialects.chat_over_messages.stream import ChatStream
from llmstack.dialects.translator import JSON, Translated


__all__ = ["ChatOverMessages"]


@final
@define(eq=False)
class ChatOverMessages:
    """The translator from ``chat`` to ``messages`` and back.

    Some models that are spoken to in Messages refuse ``temperature`` and ``top_p``: for them
    *sampling* is off, and both are left out and told.
    """

    sampling: bool = field(default=True, kw_only=True)
    asks: str = field(default="chat", init=False)
    speaks: str = field(default="messages", init=False)

    def request(self, body: JSON, /) -> Translated:
        """Return the chat request *body* as one for Messages."""
        return request(body, sampling=self.sampling)

    def reply(self, body: JSON, /, asked: JSON, at: float) -> JSON:
        """Return the message *body* as a chat completion."""
        return reply(body, asked, at)

    def stream(self, asked: JSON, /, at: float) -> ChatStream:
        """Return the translator of one stream of events to chunks."""
        return ChatStream.of(asked, at)
