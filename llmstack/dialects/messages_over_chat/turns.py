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
from typing import Final

from llmstack.dialects.messages_over_chat.fields import (
    Dropped,
    as_list,
    as_object,
    as_text,
    cannot,
)
from llmstack.dialects.messages_over_chat.parts import (
    blocks,
    content,
    parts,
    text_of,
    text_part,
)
from llmstack.dialects.translator import JSON


__all__ = ["OPAQUE", "ROLES", "conversation"]

ROLES: Final = ("user", "assistant", "system")
#: What only the provider that wrote it can read.
OPAQUE: Final = ("thinking", "redacted_thinking")
#: What stands in a tool's message for what it cannot carry.
_ELSEWHERE: Final[Mapping[str, str]] = {"image_url": "image", "file": "file"}
_RESULT: Final = ("type", "tool_use_id", "content", "is_error")
_CALL: Final = ("type", "id", "name", "input", "caller")


def conversation(system: object, messages: object, dropped: Dropped) -> list[JSON]:
    """Return the messages that say *system* and *messages*."""
    said = [] if system is None else [_system(blocks(system, "system"), dropped)]
    given = [
        (_role(message, f"messages.{n}"), _blocks(message, f"messages.{n}", dropped))
        for n, message in enumerate(as_list(messages, "messages"))
    ]
    if not given or given[-1][0] == "assistant":
        raise cannot(f"messages that end with {'the assistant' if given else 'nothing'}")
    for role, run in groupby(given, key=lambda each: each[0]):
        turn = [block for _, some in run for block in some]
        if role == "user":
            said += _user(turn, dropped)
        else:
            said.append((_assistant if role == "assistant" else _system)(turn, dropped))
    return said


def _role(message: object, path: str) -> str:
    role = as_object(message, path).get("role")
    if role not in ROLES:
        raise cannot(f"{path}.role")
    return as_text(role, f"{path}.role")


def _blocks(message: JSON, path: str, dropped: Dropped) -> Sequence[tuple[JSON, str]]:
    dropped.rest(message, path, ("role", "content"))
    return blocks(message.get("content"), f"{path}.content")


def _system(turn: Sequence[tuple[JSON, str]], dropped: Dropped) -> JSON:
    said = []
    for block, path in turn:
        if block.get("type") != "text":
            raise cannot(path)
        said.append(text_of(block, path, dropped))
    return {"role": "system", "content": content(said)}


def _user(turn: Sequence[tuple[JSON, str]], dropped: Dropped) -> list[JSON]:
    said: list[JSON] = []
    beside: list[JSON] = []
    rest: list[JSON] = []
    for block, path in turn:
        if block.get("type") == "tool_result":
            said.append(_result(block, path, dropped, beside))
        else:
            rest += parts(block, path, dropped)
    own = [*beside, *rest]
    if own or not said:
        said.append({"role": "user", "content": content(own)})
    return said


def _result(block: JSON, path: str, dropped: Dropped, beside: list[JSON]) -> JSON:
    """Return the message of a tool; what it cannot carry is put *beside* it."""
    if block.get("toolset_name") is not None:
        raise cannot(f"{path}.toolset_name")
    dropped.rest(block, path, (*_RESULT, "toolset_name"))
    call = as_text(block.get("tool_use_id"), f"{path}.tool_use_id")
    inner = block.get("content")
    texts: list[JSON] = []
    for each, where in [] if inner is None else blocks(inner, f"{path}.content"):
        for part in parts(each, where, dropped):
            if part["type"] == "text":
                texts.append(part)
                continue
            kind = f"{_ELSEWHERE[part['type']]} {len(beside) // 2 + 1}"
            texts.append(text_part(f"[{kind}: in the user's message below]"))
            beside += [text_part(f"[{kind}, of the tool result {call}]"), part]
    if block.get("is_error") is True:
        first = texts.pop(0)["text"] if texts else ""
        texts.insert(0, text_part(f"Error: {first}"))
    return {"role": "tool", "tool_call_id": call, "content": content(texts)}


def _assistant(turn: Sequence[tuple[JSON, str]], dropped: Dropped) -> JSON:
    texts: list[JSON] = []
    calls: list[JSON] = []
    for block, path in turn:
        kind = block.get("type")
        if kind == "text":
            texts.append(text_of(block, path, dropped))
        elif kind == "tool_use":
            calls.append(_call(block, path, dropped))
        elif kind in OPAQUE:
            dropped.tell(f"{path}.{kind}")
        else:
            raise cannot(path)
    said = {"role": "assistant", "content": content(texts)}
    if not calls:
        return said
    return {**said, "content": content(texts) if texts else None, "tool_calls": calls}


def _call(block: JSON, path: str, dropped: Dropped) -> JSON:
    if block.get("toolset_name") is not None:
        raise cannot(f"{path}.toolset_name")
    caller = block.get("caller")
    if caller is not None and as_object(caller, f"{path}.caller").get("type") != "direct":
        raise cannot(f"{path}.caller")
    dropped.rest(block, path, (*_CALL, "toolset_name"))
    value = as_object(block.get("input"), f"{path}.input")
    try:
        arguments = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        raise cannot(f"{path}.input") from None
    function = {"name": as_text(block.get("name"), f"{path}.name"), "arguments": arguments}
    identity = as_text(block.get("id"), f"{path}.id")
    return {"id": identity, "type": "function", "function": function}
