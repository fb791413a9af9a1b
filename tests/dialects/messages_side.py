"""Replies of a Messages endpoint, drawn whole and cut into the events of their streams.

A reply is one that the types of the anthropic SDK allow. `cuts` draws the ways to stream it:
where texts are cut, how the JSON of an input is written, what the two usages say, where pings
fall. `assembled` is the way back, by the SDK's own rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

from hypothesis import strategies as st


__all__ = [
    "NAMES",
    "Events",
    "assembled",
    "blocks",
    "cuts",
    "ids",
    "inputs",
    "replies",
    "texts",
    "usages",
]

Events = list[tuple[str, dict[str, Any]]]

NAMES: Final = ("get_weather", "search", "Z-9_a")
STOPS: Final = ("end_turn", "max_tokens", "stop_sequence", "refusal", "pause_turn")
WINDOW: Final = "model_context_window_exceeded"
CATEGORIES: Final = ("cyber", "bio", None)
CACHED: Final = ("cache_creation_input_tokens", "cache_read_input_tokens")

ids: Final = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
texts: Final = st.text(max_size=12) | st.sampled_from(
    ["Hello", " ", "\n", "é€😀", '"\\{}', "\u2028"]
)
scalars: Final = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6) | texts
)
values: Final = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
#: What a tool is called with: any JSON object.
inputs: Final = st.dictionaries(texts, values, max_size=3)

_blocks: Final = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
    st.fixed_dictionaries(
        {"type": st.just("tool_use"), "id": ids, "name": st.sampled_from(NAMES), "input": inputs}
    ),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": texts, "signature": ids}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": ids}),
)


def _name(block: dict[str, Any]) -> tuple[str, str]:
    """What must not occur twice in one reply: the id of a call."""
    return block["type"], block.get("id", str(id(block)))


#: The content of a reply; each call has an id of its own.
blocks: Final = st.lists(_blocks, max_size=5, unique_by=_name)

counts: Final = st.integers(0, 10**6)
#: Tokens by disjoint category; what a cache did may be left out or null.
usages: Final = st.fixed_dictionaries(
    {"input_tokens": counts, "output_tokens": counts},
    optional={
        **dict.fromkeys(CACHED, st.none() | counts),
        "service_tier": st.sampled_from(["standard", "priority", None]),
    },
)


@st.composite
def replies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a whole reply, with a reason to stop that fits its content."""
    content = draw(blocks)
    called = any(block["type"] == "tool_use" for block in content)
    stop = draw(st.sampled_from(["tool_use", "max_tokens", WINDOW] if called else [*STOPS, WINDOW]))
    refused = {"type": "refusal", "category": draw(st.sampled_from(CATEGORIES))}
    return {
        "id": "msg_" + draw(ids),
        "type": "message",
        "role": "assistant",
        "model": draw(st.sampled_from(["claude-sonnet-5", "claude-haiku-4-5"])),
        "content": content,
        "stop_reason": stop,
        "stop_sequence": draw(texts) if stop == "stop_sequence" else None,
        **({"stop_details": refused} if stop == "refusal" else {}),
        "usage": draw(usages),
    }


@st.composite
def _pieces(draw: st.DrawFn, text: str) -> list[str]:
    """Draw a way to cut *text*; pieces may be empty, and for "" there may be none."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    if not text and draw(st.booleans()):
        return []
    return pieces


@st.composite
def _written(draw: st.DrawFn, value: dict[str, Any]) -> str:
    """Draw a way to write *value*: a model sets spaces as it likes, and may say {} with ""."""
    if not value and draw(st.booleans()):
        return ""
    spaces = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    return json.dumps(value, ensure_ascii=draw(st.booleans()), separators=spaces)


@st.composite
def _deltas(draw: st.DrawFn, block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw the start of a block and its deltas."""
    kind = block["type"]
    if kind == "text":
        said = draw(_pieces(block["text"]))
        early = said.pop(0) if draw(st.booleans()) and said else ""
        return {**block, "text": early}, [{"type": "text_delta", "text": p} for p in said]
    if kind == "tool_use":
        if draw(st.integers(0, 9)) == 0:
            return block, []  # compatible servers may say the whole input at once
        written = draw(_pieces(draw(_written(block["input"]))))
        return {**block, "input": {}}, [
            {"type": "input_json_delta", "partial_json": piece} for piece in written
        ]
    if kind == "thinking":
        thought = draw(_pieces(block["thinking"]))
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [
            *({"type": "thinking_delta", "thinking": piece} for piece in thought),
            signed,
        ]
    return block, []


@st.composite
def _opening(draw: st.DrawFn, reply: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw what is known of *reply* at its start, and the usage that is told at its end."""
    usage, again = reply["usage"], {}
    early = {**usage, "output_tokens": draw(st.integers(0, usage["output_tokens"]))}
    for name in ("input_tokens", *CACHED):
        if isinstance(usage.get(name), int) and draw(st.booleans()):
            again[name] = usage[name]
            early[name] = draw(st.integers(0, usage[name]))
    start = {**reply, "content": [], "stop_reason": None, "stop_sequence": None, "usage": early}
    start.pop("stop_details", None)
    return start, {**again, "output_tokens": usage["output_tokens"]}


@st.composite
def cuts(draw: st.DrawFn, reply: dict[str, Any]) -> Events:
    """Draw the events of a stream whose assembled message is *reply*."""
    start, usage = draw(_opening(reply))
    ending = {
        name: reply[name]
        for name in ("stop_reason", "stop_sequence", "stop_details")
        if name in reply
    }
    said: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(reply["content"]):
        first, deltas = draw(_deltas(block))
        said += [
            {"type": "content_block_start", "index": index, "content_block": first},
            *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas),
            {"type": "content_block_stop", "index": index},
        ]
    said += [
        {"type": "message_delta", "delta": ending, "usage": usage},
        {"type": "message_stop"},
    ]
    for place in draw(st.lists(st.integers(1, len(said) - 1), max_size=2)):
        said.insert(place, {"type": "ping"})
    return [(deepcopy(data)["type"], deepcopy(data)) for data in said]


#: Which key of a delta goes to the end of which key of its block.
GROWS: Final = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "written"),
}


def _closed(block: dict[str, Any]) -> dict[str, Any]:
    """A block with the input that was written piece by piece, if any was."""
    written = block.pop("written", "")
    return {**block, "input": json.loads(written)} if written else block


def assembled(events: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the message that *events* tell of."""
    said = [event for name, event in deepcopy(list(events)) if name not in {"ping", "message_stop"}]
    message: dict[str, Any] = said.pop(0)["message"]
    content: list[dict[str, Any]] = message["content"]
    for event in said:
        if event["type"] == "content_block_start":
            content.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], content[event["index"]]
            key, grows = GROWS[delta["type"]]
            block[grows] = block.get(grows, "") + delta[key]
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    return {**message, "content": [_closed(block) for block in content]}
