"""The conversation: Messages' turns as the messages of chat completions.

Messages of one role that follow each other are one turn, as the Messages dialect has it.
Chat wants the results of tools right behind the calls, so they come first in a user's turn;
a tool's message can only be text there, so images and files of a result follow in the user's
message, and both places say so. In an assistant's turn the texts come before the calls.

Thinking is for the provider that signed it, and is dropped. A conversation that ends with the
assistant's turn asks for its continuation, which chat cannot say.

Errors: `Untranslatable`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from llmstack.dialects.messages_over_chat.parts import (
    blocks,
    content,
    parts,
    text_of,
    text_part,
)
from llmstack.dialects.place import Place
from llmstack.dialects.translator import JSON


__all__ = ["OPAQUE", "ROLES", "conversation"]

ROLES: Final = ("user", "assistant", "system")
#: What only the provider that wrote it can read.
OPAQUE: Final = ("thinking", "redacted_thinking")
#: What stands in a tool's message for what it cannot carry.
_ELSEWHERE: Final[Mapping[str, str]] = {"image_url": "image", "file": "file"}
_ASSISTANT: Final = ("text", "tool_use", *OPAQUE)
_RESULT: Final = ("type", "tool_use_id", "content", "is_error")
_CALL: Final = ("type", "id", "name", "input", "caller")


def conversation(system: Place, messages: Place) -> list[JSON]:
    """Return the messages that say *system* and *messages*."""
    said = [_system(blocks(system))] if system.value not in (None, "", []) else []
    given = [(message["role"].one_of(ROLES), _blocks(message)) for message in messages.each()]
    if not given or given[-1][0] == "assistant":
        raise messages.refusal(f"they end with {'the assistant' if given else 'nothing'}")
    for role, run in groupby(given, key=itemgetter(0)):
        turn = [block for _, some in run for block in some]
        if role == "user":
            said += _user(turn)
        elif role == "assistant":
            said.append(_assistant(turn))
        elif turn:
            said.append(_system(turn))
    return said


def _blocks(message: Place) -> Sequence[Place]:
    message.rest("role", "content")
    return blocks(message["content"])


def _system(turn: Sequence[Place]) -> JSON:
    for block in turn:
        block["type"].one_of(("text",))
    return {"role": "system", "content": content([text_of(block) for block in turn])}


def _user(turn: Sequence[Place]) -> list[JSON]:
    said: list[JSON] = []
    beside: list[JSON] = []
    rest: list[JSON] = []
    for block in turn:
        if block["type"].value == "tool_result":
            said.append(_result(block, beside))
        else:
            rest += parts(block)
    own = [*beside, *rest]
    if own or not said:
        said.append({"role": "user", "content": content(own)})
    return said


def _result(block: Place, beside: list[JSON]) -> JSON:
    """Return the message of a tool; what it cannot carry is put *beside* it."""
    _own(block)
    block.rest(*_RESULT)
    call = block["tool_use_id"].text()
    texts: list[JSON] = []
    for inner in blocks(block["content"].otherwise([])):
        for part in parts(inner):
            if part["type"] == "text":
                texts.append(part)
                continue
            kind = f"{_ELSEWHERE[part['type']]} {len(beside) // 2 + 1}"
            texts.append(text_part(f"[{kind}: in the user's message below]"))
            beside += [text_part(f"[{kind}, of the tool result {call}]"), part]
    if block["is_error"].value is True:
        first = texts.pop(0)["text"] if texts else ""
        texts.insert(0, text_part(f"Error: {first}"))
    return {"role": "tool", "tool_call_id": call, "content": content(texts)}


def _assistant(turn: Sequence[Place]) -> JSON:
    texts: list[JSON] = []
    calls: list[JSON] = []
    for block in turn:
        kind = block["type"].one_of(_ASSISTANT)
        if kind == "text":
            texts.append(text_of(block))
        elif kind == "tool_use":
            calls.append(_call(block))
        else:
            block[kind].drop()
    said = {"role": "assistant", "content": content(texts)}
    if not calls:
        return said
    return {**said, "content": content(texts) if texts else None, "tool_calls": calls}


def _call(block: Place) -> JSON:
    _own(block)
    block["caller"].otherwise({"type": "direct"})["type"].one_of(("direct",))
    block.rest(*_CALL)
    value = block["input"].fields()
    try:
        arguments = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        raise block["input"].refusal() from None
    function = {"name": block["name"].text(), "arguments": arguments}
    return {"id": block["id"].text(), "type": "function", "function": function}


def _own(block: Place) -> None:
    """Refuse what belongs to a toolset, which the provider has."""
    if block["toolset_name"].given:
        raise block["toolset_name"].refusal()
