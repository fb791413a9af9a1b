"""What the events of a chat stream mean: content, finishes, usage, errors. No I/O.

Content is a delta with text, reasoning, a tool call, a refusal, or a finish other than a
bare ``stop``. A stream is whole when every choice that was seen has finished; ``[DONE]``
alone says so only where the endpoint is known to leave the finish out. The first finish of
a choice counts; what comes for it later is dropped. An event that counts the tokens and says
nothing else passes once, and only to a caller who asked for it. An error outweighs everything.

Errors: what an error event means by `classify`, `Overloaded` and `ServerError` for a finish
that is one, `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, final

from attrs import define, field

from llmstack.call import Usage
from llmstack.dialects.wire import DONE
from llmstack.errors import Overloaded, ProtocolError, ServerError, UpstreamError
from llmstack.providers.estimate import text_bytes
from llmstack.providers.openai.classify import classify
from llmstack.providers.openai.usage import usage_of
from llmstack.providers.said import as_object, decoded
from llmstack.providers.sse import SSEEvent
from llmstack.providers.template import Shape, Template


__all__ = ["Progress", "failed_finish", "has_content"]

CHOICES: Final = 128
#: OpenAI pads with another string; nothing varies between the text and it.
SHAPE: Final = Shape.of(
    *("content", "reasoning_content", "reasoning", "refusal", "arguments"),
    mark=b'"obfuscation":"',
    padding=rb'"\},"logprobs":null,"finish_reason":null\}\],(?:"usage":null,)?"obfuscation":"'
    rb"[A-Za-z0-9]*+",
)

_CONTENT: Final = (
    *("content", "reasoning_content", "reasoning", "reasoning_details", "refusal"),
    *("tool_calls", "function_call", "audio", "images"),
)
#: Where the text is; hosts that think aloud in ``reasoning_details`` repeat that in ``reasoning``.
_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal", "name", "arguments")
#: Finishes by which a provider says that it could not go on.
_FAILED: Final[Mapping[str, type[UpstreamError]]] = {
    "insufficient_system_resource": Overloaded,  # DeepSeek
    "error": ServerError,  # OpenRouter
}


def has_content(message: object) -> bool:
    """Whether a message or a delta says anything."""
    said = as_object(message)
    return any(map(said.get, _CONTENT))


def failed_finish(choice: Mapping[str, Any]) -> UpstreamError | None:
    """Return the error that the finish of *choice* stands for."""
    finish = choice.get("finish_reason")
    kind = _FAILED.get(finish) if isinstance(finish, str) else None
    return None if kind is None else kind("the provider gave the answer up")


@final
@define(eq=False)
class Progress:
    """How far a stream has come.

    *begun* since its first content, *done* since ``[DONE]``. *headers* gives those of the
    reply, for an error. *counts* says whether the caller wants the tokens counted, *choices*
    how many answers it wants; a host that gives fewer says ``[DONE]``, or is not believed.
    """

    headers: Callable[[], Mapping[str, str]] = field(default=dict, repr=False)
    done_is_terminal: bool = False
    counts: bool = True
    choices: int = 1
    usage: Usage | None = field(default=None, init=False)
    begun: bool = field(default=False, init=False)
    done: bool = field(default=False, init=False)
    _open: set[int] = field(factory=set, init=False)
    _finished: set[int] = field(factory=set, init=False)
    _text: int = field(default=0, init=False)
    _template: Template = field(factory=partial(Template, SHAPE), init=False, repr=False)

    @property
    def whole(self) -> bool:
        """Whether the stream may end here."""
        if self._finished and not self._open:
            return self.done or len(self._finished) >= self.choices
        return self.done and self.done_is_terminal

    @property
    def unsaid(self) -> SSEEvent | None:
        """The ``[DONE]`` that some hosts leave out."""
        return None if self.done else SSEEvent(b"data: [DONE]\n\n", DONE)

    @property
    def text(self) -> int:
        """Bytes of content so far."""
        return self._text + self._template.text

    def take(self, data: bytes, name: str = "", /) -> bool:
        """Learn from one event; return whether it is to be handed on.

        Raises what an error event means.
        """
        if name != "error" and self._template.fits(data):
            return True
        if data.strip() == DONE:
            self.done = True
            return self.whole
        chunk = decoded(data)
        if not isinstance(chunk, dict):
            raise ProtocolError("an event is not a JSON object")
        if chunk.get("error") or chunk.get("object") == "error" or name == "error":
            raise classify(200, self.headers(), data, "event")
        return self._chunk(chunk, data)

    def _chunk(self, chunk: Mapping[str, Any], data: bytes) -> bool:
        choices = chunk.get("choices") or ()
        if not isinstance(choices, (list, tuple)):
            raise ProtocolError("the choices of an event are no list")
        usage = usage_of(chunk.get("usage") or as_object(chunk.get("x_groq")).get("usage"))
        self.usage = usage or self.usage
        # All are judged before any counts: an event that is refused has begun nothing.
        said = [_judged(choice) for choice in choices]
        late = [self._choice(*each, counts=usage is not None) for each in said]
        if self._finished:
            self._template.forget()
        elif self.begun and len(late) == 1 and usage is None:
            self._template.learn(data)
        if usage is not None and not late:
            passes, self.counts = self.counts, False
            return passes
        return not late or not all(late)

    def run(self, chunk: bytes, /) -> tuple[int, int]:
        """Learn from events that differ in their text alone; return how many, and their bytes."""
        return self._template.run(chunk)

    def _choice(self, index: int, said: Mapping[str, Any], *, counts: bool) -> bool:
        """Learn from one choice; return whether it comes too late.

        Some hosts repeat the finish in the event that *counts* the tokens: that one passes.
        """
        content, finish = has_content(said.get("delta")), said.get("finish_reason") or None
        if index in self._finished:
            return content or (finish is not None and not counts)
        self._open.add(index)
        self._text += text_bytes(said.get("delta"), _TEXTS)
        if finish is not None:
            self._open.discard(index)
            self._finished.add(index)
        self.begun = self.begun or content or finish not in (None, "stop")
        return False


def _judged(choice: object) -> tuple[int, Mapping[str, Any]]:
    """Return a choice with its index; raise if it cannot be, or says that it failed."""
    said = as_object(choice)
    index = said.get("index", 0)
    if not isinstance(index, int) or not 0 <= index < CHOICES:
        raise ProtocolError("a choice has an impossible index")
    failed = failed_finish(said)
    if failed is not None:
        raise failed
    return index, said
