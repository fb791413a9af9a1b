"""What holds for every chat request that is said in Messages."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable
from tests.dialects.chat_over_messages.asking import (
    CHAT,
    COMPLETIONS,
    JUNK,
    MARK,
    MESSAGES,
    SAMPLING,
    known,
    requests,
    spoilt,
)


Message = dict[str, Any]


def texts(content: str | list[Any] | None) -> list[str]:
    """The texts of a content of either dialect that have a sign in them."""
    parts = [{"text": content}] if isinstance(content, str) else content or []
    said = [part.get("text", part.get("refusal", "")) for part in parts]
    return [text for text in said if text.strip()]


def images(content: str | list[Any] | None) -> int:
    """How many images a content of either dialect has."""
    parts = content if isinstance(content, list) else []
    return sum(part["type"] in {"image", "image_url"} for part in parts)


def asked_for(conversation: list[Message]) -> dict[str, Any]:
    """What a chat says: texts by who says them, and calls with their results."""
    sides: dict[str, Any] = {"system": [], "user": [], "assistant": [], "calls": [], "images": 0}
    waiting: dict[str, list[Any]] = {}
    for message in conversation:
        side = "system" if message["role"] == "developer" else str(message["role"])
        if side in {"tool", "function"}:
            key: str = message["tool_call_id" if side == "tool" else "name"]
            waiting.pop(key).append(texts(message["content"]))
            continue
        sides[side] += texts(message["content"]) + texts(message.get("refusal"))
        sides["images"] += images(message["content"])
        calls = [(call["id"], call["function"]) for call in message.get("tool_calls", ())]
        if "function_call" in message:
            calls.append((message["function_call"]["name"], message["function_call"]))
        for key, call in calls:
            waiting[key] = [call["name"], json.loads(call["arguments"] or "{}")]
            sides["calls"].append(waiting[key])
    return sides


def is_turn(message: Message) -> bool:
    """Whether a message of a chat is one in Messages: it says something, and no instruction."""
    if message["role"] in {"tool", "function"}:
        return True
    said = [*texts(message["content"]), *texts(message.get("refusal"))]
    calls = [*message.get("tool_calls", ()), *message.get("function_call", ())]
    instructs = message["role"] in {"system", "developer"}
    return not instructs and bool(said or calls or images(message["content"]))


def behind_the_answer(conversation: list[Message]) -> list[str]:
    """The instructions behind the assistant's last turn, where the chat goes on behind it."""
    turns = [n for n, message in enumerate(conversation) if is_turn(message)]
    roles = [conversation[n]["role"] for n in turns[-1:]]
    if roles != ["assistant"] or conversation[-1]["role"] == "assistant":
        return []
    after = conversation[turns[-1] + 1 :]
    return [t for m in after if m["role"] in {"system", "developer"} for t in texts(m["content"])]


def turned_into(body: JSON) -> dict[str, Any]:
    """The same of a Messages request, with the rules that its turns have to keep."""
    sides: dict[str, Any] = {"user": [], "assistant": [], "calls": [], "images": 0}
    waiting: dict[str, list[Any]] = {}
    ids: set[str] = set()
    for n, turn in enumerate(body["messages"]):
        role = turn["role"]
        assert n == 0 or role != body["messages"][n - 1]["role"]
        results = [block for block in turn["content"] if block["type"] == "tool_result"]
        assert results == turn["content"][: len(results)]
        assert sorted(waiting) == sorted(block["tool_use_id"] for block in results)
        for block in results:
            waiting[block["tool_use_id"]].append(texts(block.get("content")))
        spoken = [block for block in turn["content"] if block["type"] == "text"]
        assert all(block["text"].strip() for block in spoken)
        sides[role] += texts(spoken)
        sides["images"] += images(turn["content"])
        calls = [block for block in turn["content"] if block["type"] == "tool_use"]
        waiting = {call["id"]: [call["name"], call["input"]] for call in calls}
        assert not ids & waiting.keys()
        ids |= waiting.keys()
        sides["calls"] += waiting.values()
    assert not waiting
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", each) for each in ids)
    return sides


@given(body=requests())
def test_a_request_says_the_same_in_messages(body: JSON) -> None:
    """All texts, images, calls and results are there, in turns that Messages allows."""
    expected, behind = asked_for(body["messages"]), behind_the_answer(body["messages"])
    if behind:
        del expected["system"][-len(behind) :]
        expected["user"].append("\n\n".join(behind))
    made = CHAT.request(body).body
    if made["messages"][-1]["role"] == "assistant":
        expected["assistant"][-1] = expected["assistant"][-1].rstrip()

    assert "\n\n".join(expected.pop("system")) == made.get("system", "")
    assert expected == turned_into(made)


@given(body=requests(), streamed=st.sampled_from([{"stream": True}, {"stream": False}, {}]))
def test_a_request_is_one_that_the_sdks_know(body: JSON, streamed: JSON) -> None:
    """The caller's is allowed by openai's types, ours by anthropic's, and no field is unknown."""
    spoken = [m for m in body["messages"] if "reasoning_content" not in m]
    spoken_alone = {**body, "messages": spoken}
    made = dict(CHAT.request({**body, **streamed}).body)
    sampling = [made.pop(name, 0) for name in SAMPLING]

    assert all(0 <= each <= 1 for each in sampling)
    assert spoken_alone == known(COMPLETIONS, spoken_alone)
    assert streamed == {name: made.pop(name) for name in streamed}
    assert made == known(MESSAGES, made)


@given(body=requests(), place=st.integers(1, 120), junk=JUNK)
def test_a_spoilt_request_is_refused_or_said(body: JSON, place: int, junk: object) -> None:
    """Whatever stands anywhere, it is `Untranslatable` or a valid request, and never told."""
    asked, left = spoilt(body, place, junk)
    assume(left < 0)
    told: tuple[str, ...] = ()
    try:
        translated = CHAT.request(asked)
        told = translated.dropped
        made = {n: v for n, v in translated.body.items() if n not in (*SAMPLING, "stream")}
        whole = {"model": "m", **made}
        assert whole == known(MESSAGES, whole)
    except Untranslatable as error:
        told = (str(error), repr(error))

    assert not [text for text in told if MARK in text]
