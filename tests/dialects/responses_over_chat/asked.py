"""What a caller of the Responses API asks: requests that a chat can answer, and broken ones.

Every text of the caller's has `MARK` in it, so that what must not be repeated can be found.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st


__all__ = ["MARK", "broken", "requests"]

MARK: Final = "\u00a7"
texts: Final = st.text('ab{"\\\n\u2028\U0001f600', max_size=6).map(MARK.__add__)
names: Final = st.sampled_from(["f", "look_up", "send-mail"])
schemas: Final = st.just({"type": "object", "properties": {MARK: {"type": "string"}}})


def some(
    wanted: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with all *wanted* fields, and any of the others."""
    return st.fixed_dictionaries(wanted, optional=optional)


def typed(kind: str, **wanted: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return {"type": st.just(kind), **wanted}


breaks: Final = st.just({"mode": "explicit"})
inputs: Final = some(typed("input_text", text=texts), prompt_cache_breakpoint=breaks)
images: Final = some(
    typed("input_image", detail=st.sampled_from(["auto", "low", "high", "original"]))
    | {"image_url": texts.map("https://a.example/{}".format)},
    prompt_cache_breakpoint=breaks,
)
files: Final = some(
    typed("input_file", file_data=texts),
    filename=texts,
    detail=st.sampled_from(["low", "high"]),
)
outputs: Final = some(
    typed("output_text", text=texts)
    | {"annotations": st.just([]), "logprobs": st.just([])}
)  # fmt: skip
refusals: Final = some(typed("refusal", refusal=texts))
statuses: Final = st.sampled_from(["completed", "incomplete"])
call_ids: Final = st.sampled_from(["call_1", "call_2"])

items: Final = st.one_of(
    some(
        {
            "role": st.just("user"),
            "content": texts | st.lists(inputs | images | files, max_size=3),
        },
        type=st.just("message"),
    ),
    some(
        {
            "role": st.sampled_from(["system", "developer"]),
            "content": texts | st.lists(inputs, max_size=2),
        }
    ),
    some(
        typed("message", id=st.just("msg_1"), role=st.just("assistant"), status=statuses)
        | {"content": st.lists(outputs | refusals, max_size=3)},
        phase=st.just("commentary"),
    ),
    some(
        typed("function_call", call_id=call_ids, name=names, arguments=texts),
        id=st.just("fc_1"),
        status=statuses,
        namespace=names,
    ),
    some(
        typed("function_call_output", call_id=call_ids)
        | {"output": texts | st.lists(inputs, max_size=2)},
        status=statuses,
    ),
    some(typed("custom_tool_call", call_id=call_ids, name=names, input=texts)),
    some(typed("custom_tool_call_output", call_id=call_ids, output=texts)),
    some(typed("reasoning", id=texts, summary=st.just([])), encrypted_content=texts),
)
functions: Final = some(
    typed("function", name=names, parameters=st.none() | schemas)
    | {"strict": st.none() | st.booleans()},
    description=st.none() | texts,
    defer_loading=st.booleans(),
)
formats: Final = st.one_of(
    some(typed("text")),
    some(typed("grammar", syntax=st.sampled_from(["lark", "regex"]), definition=texts)),
)
customs: Final = some(typed("custom", name=names), description=texts, format=formats)
named: Final = some({"type": st.sampled_from(["function", "custom"]), "name": names})
choices: Final = st.one_of(
    st.sampled_from(["none", "auto", "required"]),
    named,
    some(
        typed("allowed_tools", mode=st.sampled_from(["auto", "required"]))
        | {"tools": st.lists(named, max_size=2)}
    ),
)
#: Thoughts alone are dropped, and leave nothing to say.
talks: Final = st.lists(items, min_size=1, max_size=6).filter(
    lambda said: any(item.get("type") != "reasoning" for item in said)
)
replies: Final = st.one_of(
    some(typed("text")),
    some(typed("json_object")),
    some(typed("json_schema", name=names, schema=schemas), strict=st.booleans(), description=texts),
)


def requests() -> st.SearchStrategy[dict[str, Any]]:
    """Draw a request, with each of its fields or without."""
    return some(
        {"model": st.just("m"), "input": texts | talks},
        background=st.just(False),
        context_management=st.just([{"type": "compaction", "compact_threshold": 9999}]),
        include=st.lists(
            st.sampled_from(["reasoning.encrypted_content", "message.output_text.logprobs"])
        ),
        instructions=st.none() | texts,
        max_output_tokens=st.none() | st.integers(16, 99),
        max_tool_calls=st.integers(1, 9),
        metadata=st.none() | st.dictionaries(texts, texts, max_size=2),
        parallel_tool_calls=st.none() | st.booleans(),
        prompt_cache_key=texts,
        prompt_cache_options=st.just({"ttl": "30m"}),
        prompt_cache_retention=st.sampled_from([None, "24h", "in_memory"]),
        reasoning=some({}, effort=st.sampled_from([None, "low"]), summary=st.just("auto")),
        safety_identifier=texts,
        service_tier=st.sampled_from([None, "auto", "flex", "ultrafast"]),
        store=st.sampled_from([None, False]),
        stream=st.none() | st.booleans(),
        stream_options=some({}, include_obfuscation=st.booleans()),
        temperature=st.none() | st.floats(0, 2),
        text=some({}, format=replies, verbosity=st.sampled_from([None, "low", "high"])),
        tool_choice=choices,
        tools=st.lists(functions | customs, max_size=3),
        top_logprobs=st.none() | st.integers(0, 20),
        top_p=st.none() | st.floats(0, 1),
        truncation=st.sampled_from([None, "auto", "disabled"]),
        user=texts,
    )


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a request in which something, anywhere, is something else."""
    body = draw(requests())
    odd = st.sampled_from([None, True, 7, MARK, [], [MARK], {}, {"type": MARK}, {MARK: MARK}])
    place: Any = body
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if isinstance(inner, (dict, list)) and inner and draw(st.integers(0, 3)):
            place = inner
            continue
        place[key] = draw(odd)
        return body
