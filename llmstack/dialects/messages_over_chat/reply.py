"""What a chat completion says, as a message: its blocks, its reason to stop, its tokens.

A refusal is a block of text and the reason ``refusal``. Reasoning that the endpoint shows is
left out: as a thinking block it would need a signature. Arguments that are no JSON object are
an error, but for a reply that was cut, by a limit or a filter: the call is there with an empty
input, and the reason to stop tells of the cut. Chat does not say which stop sequence it met,
so that is an ``end_turn``.

Errors: `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmstack.dialects.heard import objects_of, text_of, the
from llmstack.dialects.messages import call_id
from llmstack.dialects.shapes import is_whole, object_in
from llmstack.dialects.translator import JSON
from llmstack.errors import ProtocolError


__all__ = [
    "CUT",
    "FINISHES",
    "arguments_in",
    "finish_of",
    "first_choice",
    "message",
    "reply",
    "stop_reason",
    "tokens",
]

#: Reasons to stop, by the finish of a choice; one that makes no calls does not stop for them.
FINISHES: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
#: Finishes after which a call may be half there.
CUT: Final = ("length", "content_filter")


def reply(body: JSON, asked: JSON) -> JSON:
    """Return the message that *body* is, to a caller who *asked*."""
    choice = first_choice(body)
    if choice is None:
        raise ProtocolError("the reply has no choice")
    said = the(dict, choice, "message")
    finish = finish_of(choice)
    refusal = text_of(said.get("refusal"), "the refusal")
    texts = [text for text in (text_of(said.get("content"), "the content"), refusal) if text]
    content: list[JSON] = [{"type": "text", "text": text} for text in texts]
    whole = message(body, asked)
    cut = finish in CUT
    calls = [
        _block(call, f"{whole['id']}_{n}", cut=cut)
        for n, call in enumerate(_calls(said))
        if not cut or _function(call)
    ]
    reason = stop_reason(finish, refused=bool(refusal), calls=bool(calls))
    return {
        **whole,
        "content": [*content, *calls],
        "stop_reason": reason,
        "usage": tokens(body.get("usage")),
    }


def message(body: JSON, asked: JSON) -> dict[str, Any]:
    """Return a message of which nothing is said yet but who says it."""
    identity = body.get("id")
    return {
        "id": identity if isinstance(identity, str) and identity else "msg",
        "type": "message",
        "role": "assistant",
        "model": _model(body, asked),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": tokens(None),
    }


def _model(body: JSON, asked: JSON) -> str:
    """Return the model that answered, or else the one that was asked for."""
    named = [model for model in (body.get("model"), asked.get("model")) if model]
    return named[0] if named and isinstance(named[0], str) else ""


def first_choice(body: JSON) -> JSON | None:
    """Return the choice with the index 0; None if *body*, a reply or a chunk, has none."""
    for choice in objects_of(body.get("choices"), "choices"):
        if choice.get("index", 0) == 0:
            return choice
    return None


def finish_of(choice: JSON) -> str | None:
    """Return why *choice* ended; None if it has not, or its host never says so."""
    finish = choice.get("finish_reason")
    if finish is None or (isinstance(finish, str) and finish in FINISHES):
        return finish
    raise ProtocolError("a choice ended for a reason that is not known")


def stop_reason(finish: str | None, *, refused: bool, calls: bool) -> str:
    """Return the reason to stop that *finish* stands for.

    Hosts say ``stop`` behind a call that was asked for by name, and behind a refusal.
    """
    if finish in CUT:
        return FINISHES[finish]
    if refused:
        return "refusal"
    return "tool_use" if calls else "end_turn"


def _calls(said: JSON) -> Iterator[JSON]:
    """Yield the calls of a message, and the one that older hosts put beside them."""
    yield from objects_of(said.get("tool_calls") or None, "tool_calls")
    if said.get("function_call") is not None:
        yield {"function": said["function_call"]}


def _function(call: JSON) -> JSON:
    """Return the function of a call; an empty object if it has none, or one without a name."""
    function = call.get("function")
    if isinstance(function, dict) and text_of(function.get("name"), "the name of a tool call"):
        return function
    return {}


def _block(call: JSON, otherwise: str, *, cut: bool) -> JSON:
    """Return the block of a call; *otherwise* is its id if it brings none."""
    function = _function(call)
    if not function:
        raise ProtocolError("a tool call has no function with a name")
    arguments = text_of(function.get("arguments"), "the text of a tool call")
    return {
        "type": "tool_use",
        "id": call_id(text_of(call.get("id"), "the id of a tool call"), otherwise),
        "name": function["name"],
        "input": arguments_in(arguments, cut=cut),
    }


def arguments_in(text: str, *, cut: bool) -> JSON:
    """Return the object that *text* is; an empty one for nothing, or for what was *cut*."""
    value = object_in(text)
    if value is not None:
        return value
    if cut:
        return {}
    raise ProtocolError("the arguments of a tool call are no JSON object")


def tokens(usage: object) -> JSON:
    """Return the tokens as Messages counts them: in kinds that add up.

    Those that chat counts in its prompt are read from a cache, written to one, or neither.
    Without a *usage* all are zero.
    """
    said = usage if isinstance(usage, dict) else {}
    prompt, details = _count(said, "prompt_tokens"), said.get("prompt_tokens_details")
    inner = details if isinstance(details, dict) else {}
    # DeepSeek names it on the outside.
    read = _count(inner, "cached_tokens") or _count(said, "prompt_cache_hit_tokens")
    read = min(read, prompt)
    written = min(_count(inner, "cache_write_tokens"), prompt - read)
    counted: dict[str, Any] = {
        "input_tokens": prompt - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": _count(said, "completion_tokens"),
    }
    thought = said.get("completion_tokens_details")
    if isinstance(thought, dict) and thought.get("reasoning_tokens") is not None:
        thinking = min(_count(thought, "reasoning_tokens"), counted["output_tokens"])
        counted["output_tokens_details"] = {"thinking_tokens": thinking}
    return counted


def _count(said: JSON, name: str) -> int:
    value = said.get(name)
    return value if is_whole(value) else 0
