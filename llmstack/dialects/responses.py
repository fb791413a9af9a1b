"""OpenAI Responses: a whole response as a stream of events, and a stream as a response.

Pure functions over decoded JSON. The last event of a stream has the whole response in it; its
output is put together from the items only where a host leaves it out. Events that are not
known say nothing.

Errors: `ProtocolError`. Events: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["assembled", "pieces"]

#: The last events, by the status of the response in them.
TERMINALS: Final[Mapping[str, str]] = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}
#: What is not known yet when a response begins: null, but for the usage, which may not be.
_LATER: Final = ("completed_at", "error", "incomplete_details")
ANNOTATED: Final = "response.output_text.annotation.added"
_NOTHING: Final[Mapping[str, Any]] = {}


def assembled(pieces: Iterable[Piece], /) -> JSON:
    """Return the response that a complete stream says: that of its terminal event."""
    items: dict[int, JSON] = {}
    for _, event in pieces:
        kind = event.get("type")
        if kind in TERMINALS.values():
            return _terminal(event.get("response"), items)
        if kind == "response.output_item.done":
            index, item = event.get("output_index"), event.get("item")
            if not isinstance(index, int) or not isinstance(item, dict):
                raise ProtocolError("an item has no index, or is no object")
            items[index] = item
        elif kind == "error":
            raise ProtocolError("an event is an error")
    raise ProtocolError("the stream has no terminal event")


def pieces(body: JSON, /) -> list[Piece]:
    """Return the events that say *body*; each text comes in one piece."""
    last = TERMINALS.get(str(body.get("status") or "completed"))
    output = body.get("output")
    if last is None or not isinstance(output, list):
        raise ProtocolError("the response is not over, or has no output")
    early = {**body, "output": [], "status": "in_progress"}
    early |= {name: None for name in _LATER if name in body}
    early.pop("usage", None)
    said: list[JSON] = [
        {"type": "response.created", "response": early},
        {"type": "response.in_progress", "response": early},
    ]
    for index, item in enumerate(output):
        if not isinstance(item, dict):
            raise ProtocolError("an item is no object")
        said += _item_events(index, item)
    said.append({"type": last, "response": body})
    return [
        (event["type"], {**event, "sequence_number": number}) for number, event in enumerate(said)
    ]


def _terminal(response: object, items: Mapping[int, JSON]) -> JSON:
    if not isinstance(response, dict):
        raise ProtocolError("the terminal event has no response")
    if response.get("output") is None:
        return {**response, "output": [items[index] for index in sorted(items)]}
    return response


def _item_events(index: int, item: JSON) -> Iterator[JSON]:
    """Say one item: an empty one, what it has, the whole of it."""
    where = {"output_index": index, "item_id": item.get("id") or f"item_{index}"}
    empty = dict(item)
    if "status" in item:
        empty["status"] = "in_progress"
    inner: Iterable[JSON] = ()
    match item:
        case {"type": "message" | "reasoning"}:
            empty |= {name: [] for name in ("content", "summary") if item.get(name)}
            inner = [*_each(item, "summary", _summary), *_each(item, "content", _part)]
        case {"type": "function_call", "arguments": str(text)}:
            empty["arguments"] = ""
            *more, done = _text("response.function_call_arguments", "arguments", text)
            inner = [*more, {**done, "name": item.get("name", "")}]
        case {"type": "custom_tool_call", "input": str(text)}:
            empty["input"] = ""
            inner = _text("response.custom_tool_call_input", "input", text)
    yield {"type": "response.output_item.added", "output_index": index, "item": empty}
    for event in inner:
        yield {**event, **where}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _each(item: JSON, name: str, say: Callable[[JSON], Iterable[JSON]]) -> Iterator[JSON]:
    """Say each part of the item's list of that *name*, by its number in it."""
    number = "summary_index" if name == "summary" else "content_index"
    parts = item.get(name)
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        if not isinstance(part, dict):
            raise ProtocolError("a part is no object")
        for event in say(part):
            yield {**event, number: index}


def _part(part: JSON) -> Iterator[JSON]:
    empty, inner = dict(part), list[JSON]()
    match part:
        case {"type": "output_text", "text": str(text)}:
            odds = {"logprobs": part.get("logprobs") or []}
            inner += _text("response.output_text", "text", text, odds)
            cited = part.get("annotations") or []
            inner[-1:-1] = [
                {"type": ANNOTATED, "annotation_index": index, "annotation": each}
                for index, each in enumerate(cited)
            ]
            empty |= {name: [] for name in ("annotations", "logprobs") if part.get(name)}
            empty["text"] = ""
        case {"type": "reasoning_text", "text": str(text)}:
            inner += _text("response.reasoning_text", "text", text)
            empty["text"] = ""
        case {"type": "refusal", "refusal": str(text)}:
            inner += _text("response.refusal", "refusal", text)
            empty["refusal"] = ""
    yield {"type": "response.content_part.added", "part": empty}
    yield from inner
    yield {"type": "response.content_part.done", "part": part}


def _summary(part: JSON) -> Iterator[JSON]:
    empty, inner = dict(part), list[JSON]()
    text = part.get("text")
    if isinstance(text, str):
        inner += _text("response.reasoning_summary_text", "text", text)
        empty["text"] = ""
    yield {"type": "response.reasoning_summary_part.added", "part": empty}
    yield from inner
    yield {"type": "response.reasoning_summary_part.done", "part": part}


def _text(kind: str, name: str, text: str, odds: JSON = _NOTHING) -> Iterator[JSON]:
    """Say a text in one piece, nothing if it is empty, and then the whole of it."""
    if text:
        yield {"type": f"{kind}.delta", "delta": text, **odds}
    yield {"type": f"{kind}.done", name: text, **odds}
