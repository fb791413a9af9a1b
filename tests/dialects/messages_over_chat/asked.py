"""What callers of Messages ask for: bodies that chat completions can say, and any JSON."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st


__all__ = ["CANARY", "MINIMAL", "anything", "bodies", "body", "user"]

#: Stands in every text that a caller writes; it looks like the name of a tool, not of a field.
CANARY: Final = "canary7"
MINIMAL: Final[dict[str, Any]] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}
MARK: Final = {"type": "ephemeral"}
#: Dots and digits too, as in paths.
WORDS: Final = st.text("az.0 \n\u00e9", max_size=4).map(lambda text: CANARY + text)
SCHEMA: Final = {"type": "object", "properties": {CANARY: {"type": "string"}}}


def body(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 -- any JSON
    """The least body, with *fields*."""
    return {**MINIMAL, **fields}


def user(*blocks: object) -> dict[str, Any]:
    """The least body, with one turn of *blocks*."""
    return body(messages=[{"role": "user", "content": list(blocks)}])


def marked(block: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Blocks, now and then with a mark for the cache."""
    return st.builds(
        lambda one, mark: {**one, "cache_control": MARK} if mark else one,
        block,
        st.integers(0, 3).map(lambda n: n == 0),
    )


TEXTS: Final = marked(
    st.fixed_dictionaries(
        {"type": st.just("text"), "text": WORDS},
        optional={"citations": st.sampled_from([None, [{"cited_text": CANARY}]])},
    ),
)
IMAGES: Final = marked(
    st.fixed_dictionaries(
        {
            "type": st.just("image"),
            "source": st.sampled_from(
                [
                    {"type": "base64", "media_type": "image/png", "data": "aGk="},
                    {"type": "url", "url": f"https://example.org/{CANARY}.png"},
                ],
            ),
        },
        optional={"transformations": st.just({"oversized_image": "error"})},
    ),
)
SOURCES: Final = st.one_of(
    st.just({"type": "base64", "media_type": "application/pdf", "data": "aGk="}),
    st.builds(lambda text: {"type": "text", "media_type": "text/plain", "data": text}, WORDS),
    st.builds(
        lambda inner: {"type": "content", "content": inner},
        WORDS | st.lists(TEXTS | IMAGES, max_size=2),
    ),
)
DOCUMENTS: Final = marked(
    st.fixed_dictionaries(
        {"type": st.just("document"), "source": SOURCES},
        optional={
            "title": st.none() | WORDS,
            "context": st.none() | WORDS,
            "citations": st.just({"enabled": True}),
        },
    ),
)
SEARCHES: Final = marked(
    st.fixed_dictionaries(
        {
            "type": st.just("search_result"),
            "source": WORDS,
            "title": WORDS,
            "content": st.lists(TEXTS, max_size=2),
        },
    ),
)
CONTENT: Final = st.one_of(TEXTS, IMAGES, DOCUMENTS, SEARCHES)
VALUES: Final = st.dictionaries(WORDS, st.integers(-3, 3) | WORDS | st.lists(WORDS), max_size=2)
THOUGHTS: Final = st.sampled_from(
    [
        {"type": "thinking", "thinking": CANARY, "signature": CANARY},
        {"type": "redacted_thinking", "data": CANARY},
    ],
)
SYSTEM: Final = WORDS | st.lists(TEXTS, max_size=2)


@st.composite
def rounds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An assistant's turn, with calls or not, and the user's answer to it."""
    ids = [f"toolu_{n}" for n in range(draw(st.integers(0, 2)))]
    said = draw(WORDS) if not ids and draw(st.booleans()) else draw(st.lists(THOUGHTS | TEXTS))
    calls = [{"type": "tool_use", "id": one, "name": CANARY, "input": draw(VALUES)} for one in ids]
    results = [
        draw(
            marked(
                st.fixed_dictionaries(
                    {"type": st.just("tool_result"), "tool_use_id": st.just(one)},
                    optional={
                        "content": WORDS | st.lists(CONTENT, max_size=2),
                        "is_error": st.booleans(),
                    },
                ),
            ),
        )
        for one in ids
    ]
    assistant = said if isinstance(said, str) else [*said, *calls]
    answer = [*results, *draw(st.lists(CONTENT, max_size=2))]
    turn: list[dict[str, Any]] = [
        {"role": "assistant", "content": assistant},
        {"role": "user", "content": answer},
    ]
    if draw(st.integers(0, 3)) == 0:
        turn.append({"role": "system", "content": draw(SYSTEM)})
    return turn


@st.composite
def tool_fields(draw: st.DrawFn) -> dict[str, Any]:
    """Tools, and which of them to use."""
    tool = st.fixed_dictionaries(
        {"name": st.just(CANARY), "input_schema": st.just(SCHEMA)},
        optional={
            "type": st.sampled_from([None, "custom"]),
            "description": WORDS,
            "strict": st.booleans(),
            "defer_loading": st.booleans(),
            "allowed_callers": st.just(["direct", "code_execution_20260120"]),
            "input_examples": st.just([{CANARY: CANARY}]),
            "eager_input_streaming": st.none() | st.booleans(),
        },
    )
    said: dict[str, Any] = {"tools": draw(st.lists(marked(tool), max_size=2))}
    kinds = ["auto", "none", "any", "tool"] if said["tools"] else ["auto", "none"]
    kind = draw(st.sampled_from(kinds))
    if draw(st.booleans()):
        name = {"name": CANARY} if kind == "tool" else {}
        parallel = draw(st.sampled_from([{}, {"disable_parallel_tool_use": True}]))
        said["tool_choice"] = {"type": kind, **name, **parallel}
    return said


OPTIONAL: Final[dict[str, st.SearchStrategy[Any]]] = {
    "system": SYSTEM,
    "temperature": st.none() | st.floats(0, 1),
    "top_p": st.floats(0, 1),
    "top_k": st.integers(1, 9),
    "stop_sequences": st.lists(WORDS, max_size=4),
    "stream": st.booleans(),
    "metadata": st.fixed_dictionaries({}, optional={"user_id": st.none() | WORDS}),
    "service_tier": st.sampled_from(["auto", "standard_only"]),
    "speed": st.sampled_from(["fast", None]),
    "cache_control": st.just(MARK),
    "container": st.none(),
    "mcp_servers": st.just([]),
    "context_management": st.just({"edits": [CANARY]}),
    "thinking": st.sampled_from(
        [
            None,
            {"type": "adaptive", "display": "omitted"},
            {"type": "disabled"},
            {"type": "enabled", "budget_tokens": 5000},
        ],
    ),
    "output_config": st.fixed_dictionaries(
        {},
        optional={
            "effort": st.sampled_from([None, "low", "max"]),
            "format": st.sampled_from([None, {"type": "json_schema", "schema": SCHEMA}]),
        },
    ),
}


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Bodies that can be said; every text in them has the canary."""
    first = {"role": "user", "content": draw(WORDS | st.lists(CONTENT, max_size=3))}
    said: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {"model": WORDS, "max_tokens": st.integers(1, 9), "messages": st.just([first])},
            optional=OPTIONAL,
        ),
    )
    for _ in range(draw(st.integers(0, 2))):
        said["messages"] += draw(rounds())
    return {**said, **draw(tool_fields())} if draw(st.booleans()) else said


def anything() -> st.SearchStrategy[Any]:
    """Any JSON; of names, often those that mean something."""
    names = st.sampled_from(
        ["type", "text", "content", "role", "source", "name", "input", "id", "data", "effort"],
    )
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 2),
        st.floats(),
        st.sampled_from(["user", "assistant", "text", "image", "tool_use", "tool_result", "auto"]),
        WORDS,
    )
    return st.recursive(
        leaves,
        lambda some: st.lists(some, max_size=3) | st.dictionaries(names | WORDS, some, max_size=4),
        max_leaves=12,
    )
