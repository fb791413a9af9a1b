"""For a caller who speaks Anthropic Messages, an endpoint that speaks chat completions.

Pure functions; the tables of what is said, dropped and refused are in `request`, `parts`,
`turns` and `tools`, and on the reference page.

Errors: `Untranslatable` for a request, `ProtocolError` for a reply. Events: none.
"""

from __future__ import annotations

from typing import Literal, final

from attrs import field, frozen, validators

from llmstack.dialects.messages_over_chat.reply import reply
from llmstack.dialects.messages_over_chat.request import request
from llmstack.dialects.messages_over_chat.stream import Stream
from llmstack.dialects.translator import JSON, StreamTranslator, Translated


__all__ = ["MessagesOverChat"]


@final
@frozen
class MessagesOverChat:
    """Translates Messages to chat completions, and the replies back.

    *limit* is what the endpoint calls the longest reply: OpenAI knows
    ``max_completion_tokens`` and refuses ``max_tokens`` for models that reason; some servers
    that are like it know only ``max_tokens``, and would write on without a limit.
    """

    limit: Literal["max_completion_tokens", "max_tokens"] = field(
        default="max_completion_tokens",
        validator=validators.in_(("max_completion_tokens", "max_tokens")),
    )

    asks = "messages"
    speaks = "chat"

    def request(self, body: JSON, /) -> Translated:
        """Return the caller's body for a chat endpoint."""
        return request(body, self.limit)

    def reply(self, body: JSON, /, asked: JSON, at: float) -> JSON:  # noqa: ARG002 -- no date in it
        """Return the completion *body* as a message."""
        return reply(body, asked)

    def stream(self, asked: JSON, /, at: float) -> StreamTranslator:  # noqa: ARG002 -- as above
        """Return the translator of one stream of chunks."""
        return Stream(asked)
