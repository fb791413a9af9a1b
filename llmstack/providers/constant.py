"""A service that says the same to everybody: the last entry of a `Fallback`, or a stand-in.

It ends a stack, or is the service of an endpoint. Nothing is sent and no token is spent. Its
dialect is chat completions; a `Translate` around it answers callers of the others.

Errors: `Untranslatable`, a refusal, for what is no chat. Events: none.
"""

from __future__ import annotations

from typing import Final, final

from attrs import field, frozen, validators

from llmstack import clock
from llmstack.call import Usage
from llmstack.dialects.wire import written
from llmstack.errors import Untranslatable
from llmstack.messages import Reply, Request, Response
from llmstack.order import Bound
from llmstack.providers.openai.progress import Progress
from llmstack.providers.reshape import as_stream, dialect_of
from llmstack.providers.said import as_object


__all__ = ["Constant"]

CHAT: Final = "chat"
SPEAKS: Final = frozenset({CHAT})


@final
@frozen
class Constant:
    """Answers each chat with *text*, whole or streamed as it was asked for.

    >>> Constant("We are back in a moment.")
    Constant(text='We are back in a moment.')
    """

    text: str = field(validator=validators.and_(validators.instance_of(str), validators.min_len(1)))

    @property
    def speaks(self) -> frozenset[str]:
        """The operations that it can be asked for."""
        return SPEAKS

    @property
    def bound(self) -> Bound:
        """Nobody is asked, so it takes no call, no time and no money."""
        return Bound(0, 0.0, 0.0)

    async def __call__(self, request: Request, /) -> Reply:
        """Return the reply, or its stream."""
        if request.operation != CHAT:
            raise Untranslatable(f"the endpoint has no {request.operation}; it has: {CHAT}")
        headers = {"content-type": "application/json"}
        reply = Response(self._body(request), headers=headers, usage=Usage())
        if not request.stream:
            return reply
        options = as_object(request.body.data.get("stream_options"))
        progress = Progress(dict, counts=bool(options.get("include_usage")))
        return as_stream(dialect_of(CHAT), reply, progress, int)

    def _body(self, request: Request) -> bytes:
        message = {"role": "assistant", "content": self.text, "refusal": None}
        return written(
            {
                "id": f"chatcmpl-{request.call.id or 'constant'}",
                "object": "chat.completion",
                "created": int(clock.wall()),
                "model": request.model,
                "choices": [
                    {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
                ],
                "usage": dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0),
            }
        )
