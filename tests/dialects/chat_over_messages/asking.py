"""What callers who speak chat ask, and whether what becomes of it is a Messages request.

Every text of a drawn request has `MARK` in it, so that a test can see where it turns up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from llmstack.dialects.chat_over_messages import ChatOverMessages
from llmstack.dialects.translator import JSON


__all__ = [
    "CHAT",
    "COMPLETIONS",
    "JUNK",
    "MARK",
    "MESSAGES",
    "SAMPLING",
    "asked",
    "known",
    "plain",
    "requests",
    "said",
    "spoilt",
    "turns",
]

CHAT: Final = ChatOverMessages()
MARK: Final = "zq9"
#: Fields of the API that the SDK does not have any more; older models still take them.
SAMPLING: Final = ("temperature", "top_p")

MESSAGES: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
COMPLETIONS: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)


def plain(value: object) -> object:
    """The value with lists for what is validated as it is read."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(each) for each in value]
    return value


def known(adapter: TypeAdapter[Any], body: JSON) -> dict[str, Any]:
    """What the types of an SDK know of *body*; what they do not allow is an error."""
    validated: dict[str, Any] = adapter.validate_python(dict(body), strict=True)
    return {name: plain(each) for name, each in validated.items()}


def asked(**fields: object) -> dict[str, Any]:
    """A request of one word, with *fields*."""
    return {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}


def said(**fields: object) -> dict[str, Any]:
    """What becomes of *fields*: the request without what a word alone becomes."""
    body = CHAT.request(asked(**fields)).body
    alone = CHAT.request(asked()).body
    return {name: body[name] for name in body if body[name] != alone.get(name)}


def turns(*messages: JSON) -> list[dict[str, Any]]:
    """The turns that *messages* become."""
    made: list[dict[str, Any]] = CHAT.request({"messages": list(messages)}).body["messages"]
    return made


def spoilt(value: object, place: int, junk: object) -> tuple[Any, int]:
    """The value with *junk* in the place that is so many values away, and what is left of it."""
    if place == 0:
        return junk, -1
    place -= 1
    if isinstance(value, (dict, list)):
        pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
        for key, each in pairs:
            changed, place = spoilt(each, place, junk)
            if place < 0:
                pairs = [(k, changed if k == key else v) for k, v in pairs]
                return (dict(pairs) if isinstance(value, dict) else [v for _, v in pairs]), place
    return value, place


#: What may stand anywhere in what comes from outside.
JUNK: Final = st.sampled_from(
    [MARK, f"{MARK}.{MARK}", None, True, -1, 2.5, [], [MARK], [[MARK]], {}, {"type": MARK}]
)


_texts: Final = st.text("ab \n\u00e9\U0001f600", max_size=4).map(lambda text: f"{text}{MARK}")
_blanks: Final = st.sampled_from(["", " ", "\n"])
_names: Final = st.sampled_from([f"f_{MARK}", f"g-{MARK}"])
_inputs: Final = st.dictionaries(_texts, _texts | st.integers() | st.none(), max_size=2)
_images: Final = st.sampled_from([f"https://{MARK}.org/a.png", "data:image/jpeg;base64,AAAA"])


def _object(**fields: object) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with all of *fields*, each a strategy or a value."""
    strategies = {
        name: each if isinstance(each, st.SearchStrategy) else st.just(each)
        for name, each in fields.items()
    }
    return st.fixed_dictionaries(strategies)


_text_parts: Final = _object(type="text", text=_texts | _blanks)
_image_parts: Final = _object(
    type="image_url",
    image_url=_object(url=_images) | _object(url=_images, detail=st.sampled_from(["auto", "low"])),
)
_refusals: Final = _object(type="refusal", refusal=_texts)


def _contents(*parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _texts | _blanks | st.lists(st.one_of(*parts), min_size=1, max_size=3)


_spoken: Final = st.one_of(
    _object(role=st.sampled_from(["system", "developer"]), content=_contents(_text_parts)),
    _object(role="user", content=_contents(_text_parts, _image_parts)),
    _object(role="user", content=_texts, name=_texts),
    _object(role="assistant", content=_contents(_text_parts, _refusals)),
    _object(role="assistant", content=st.none(), refusal=_texts, reasoning_content=_texts),
)


@st.composite
def _exchanges(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Calls in parallel and their results, in any order; or one call of the older form."""
    written = _inputs.map(json.dumps) | st.just("")
    calls = draw(st.lists(_object(name=_names, arguments=written), min_size=1, max_size=3))
    says = draw(st.none() | _texts)
    if draw(st.integers(0, 3)) == 0:
        function = {"role": "function", "name": calls[0]["name"], "content": draw(_texts)}
        return [{"role": "assistant", "content": says, "function_call": calls[0]}, function]
    ids = draw(
        st.lists(st.sampled_from(["call_0", "a.b", "a_b", f"\u00e9{MARK}", "x" * 70]), unique=True)
    )
    called = [
        {"id": known_as, "type": "function", "function": call}
        for known_as, call in zip(ids, calls, strict=False)
    ]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": draw(_contents(_text_parts))}
        for call in called
    ]
    made = {"tool_calls": called} if called else {}
    assistant = {"role": "assistant", "content": says or MARK, **made}
    return [assistant, *draw(st.permutations(results))]


_functions: Final = st.lists(
    st.fixed_dictionaries(
        {"name": _names},
        optional={
            "description": _texts,
            "parameters": st.sampled_from([{}, {"type": "object", "properties": {MARK: {}}}]),
            "strict": st.sampled_from([True, False, None]),
        },
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda each: str(each["name"]),
)


@st.composite
def _tooling(draw: st.DrawFn) -> dict[str, Any]:
    """Tools with a choice among them, functions of the older form, or nothing."""
    functions = draw(_functions)
    named = {"type": "function", "function": {"name": functions[0]["name"]}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
    choices = ["auto", "none", "required", named, allowed]
    kind = draw(st.sampled_from(["none", "tools", "tools", "functions"]))
    if kind == "tools":
        tools = [{"type": "function", "function": each} for each in functions]
        options: dict[str, Sequence[object]] = {
            "tool_choice": choices,
            "parallel_tool_calls": [True, False],
        }
        drawn = draw(st.fixed_dictionaries({}, optional=_each(options)))
        return {"tools": tools, **drawn}
    if kind == "functions":
        old = [{name: each[name] for name in each if name != "strict"} for each in functions]
        choice = draw(st.sampled_from(["auto", "none", {"name": old[0]["name"]}]))
        return {"functions": old, "function_call": choice}
    return {}


def _each(options: Mapping[str, Sequence[object]]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: st.sampled_from(values) for name, values in options.items()}


_schema: Final = {"name": MARK, "schema": {"type": "object"}, "strict": True}
_fields: Final = st.fixed_dictionaries(
    {"model": _texts},
    optional={
        **_each(
            {
                "max_tokens": [1, 500, None],
                "max_completion_tokens": [7],
                "metadata": [{}, {"user_id": MARK}, {MARK: MARK}, None],
                "n": [1, None],
                "prediction": [{"type": "content", "content": MARK}],
                "reasoning_effort": ["none", "minimal", "low", "medium", "high", "xhigh", "max"],
                "response_format": [
                    {"type": "text"},
                    {"type": "json_schema", "json_schema": _schema},
                ],
                "seed": [1],
                "service_tier": ["auto", "default", "flex"],
                "stop": [MARK, [MARK, "\n" + MARK], None],
                "stream_options": [None],
                "temperature": [0, 0.5, 1, 1.7, None],
                "top_p": [0.2, 1],
                "verbosity": ["low"],
            }
        ),
        "user": _texts,
        "safety_identifier": _texts,
    },
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests that the types of the openai SDK allow, and Messages can say."""
    some = st.lists(st.one_of(_spoken.map(lambda one: [one]), _exchanges()), max_size=5)
    messages = [
        {"role": "user", "content": MARK},
        *(message for part in draw(some) for message in part),
    ]
    return {**draw(_fields), "messages": messages, **draw(_tooling())}
