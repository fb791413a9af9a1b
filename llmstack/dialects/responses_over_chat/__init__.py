"""Responses over chat: a caller of the Responses API, and an endpoint that speaks chat.

`tables` has what becomes of each field; ``docs/reference/translation_responses_over_chat.rst``
shows it. Everything that needs the provider's store or its hosted tools is refused. Nothing is
stored: the response says so.

Errors: `Untranslatable` from the request, `ProtocolError` from the reply. Events: none.
"""

from __future__ import annotations

from typing import final

from attrs import define, field

from llmstack.dialects.responses_over_chat.request import request
from llmstack.dialects.responses_over_chat.stream import ResponseStream, reply
from llmstack.dialects.translator import JSON, StreamTranslator, Translated


__all__ = ["ResponsesOverChat"]


@final
@define(eq=False)
class ResponsesOverChat:
    """From Responses to chat completions, and back.

    >>> translator = ResponsesOverChat()
    >>> asked = {"model": "m", "input": "two words", "max_tool_calls": 1}
    >>> translator.request(asked).body
    {'model': 'm', 'messages': [{'role': 'user', 'content': 'two words'}]}
    >>> translator.request(asked).dropped
    ('max_tool_calls',)
    """

    asks: str = field(default="responses", init=False, repr=False)
    speaks: str = field(default="chat", init=False, repr=False)

    def request(self, body: JSON, /) -> Translated:
        """Return the caller's body as a chat request."""
        return request(body)

    def reply(self, body: JSON, /, asked: JSON, at: float) -> JSON:
        """Return a whole chat reply as a response of the time *at*."""
        return reply(body, asked, at)

    def stream(self, asked: JSON, /, at: float) -> StreamTranslator:
        """Return the translator of one stream of chunks."""
        return ResponseStream(asked, at)
