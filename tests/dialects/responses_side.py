"""What an endpoint that speaks Responses says: whole responses that are over."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st


__all__ = ["FULL", "items", "responses", "texts", "usages"]

ids: Final = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
texts: Final = st.text('ab {}[]"\\\n\u00e9\u2028\U0001f600', max_size=12)
statuses: Final = st.sampled_from(["completed", "incomplete"])
LINK: Final = {
    "type": "url_citation",
    "url": "https://a.example",
    "title": "A",
    "start_index": 0,
    "end_index": 1,
}
TOKEN: Final = {"token": "a", "bytes": [97], "logprob": -0.25, "top_logprobs": []}

parts: Final = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("output_text"),
            "text": texts,
            "annotations": st.lists(st.just(LINK), max_size=2),
        },
        optional={"logprobs": st.lists(st.just(TOKEN), max_size=2)},
    ),
    st.fixed_dictionaries({"type": st.just("refusal"), "refusal": texts}),
)
summaries: Final = st.fixed_dictionaries({"type": st.just("summary_text"), "text": texts})
thoughts: Final = st.fixed_dictionaries({"type": st.just("reasoning_text"), "text": texts})

#: One item of an output: a message, a thought, a call of the caller's, one of the host's.
items: Final = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "id": ids.map("msg_{}".format),
            "role": st.just("assistant"),
            "status": statuses,
            "content": st.lists(parts, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("reasoning"),
            "id": ids.map("rs_{}".format),
            "summary": st.lists(summaries, max_size=2),
        },
        optional={
            "content": st.none() | st.lists(thoughts, max_size=2),
            "encrypted_content": st.none() | ids,
            "status": statuses,
        },
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("function_call"),
            "call_id": ids.map("call_{}".format),
            "name": st.sampled_from(["f", "look_up"]),
            "arguments": texts,
        },
        optional={"id": ids.map("fc_{}".format), "status": statuses},
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("custom_tool_call"),
            "id": ids.map("ctc_{}".format),
            "call_id": ids.map("call_{}".format),
            "name": st.just("shell"),
            "input": texts,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("file_search_call"),
            "id": ids.map("fs_{}".format),
            "status": statuses,
            "queries": st.lists(texts, max_size=2),
            "results": st.none(),
        }
    ),
)


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """Counts whose details are a part of the totals."""
    read, wrote = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    cached = {"cached_tokens": draw(st.integers(0, read)), "cache_write_tokens": 0}
    return {
        "input_tokens": read,
        "input_tokens_details": cached,
        "output_tokens": wrote,
        "output_tokens_details": {"reasoning_tokens": draw(st.integers(0, wrote))},
        "total_tokens": read + wrote,
    }


def _named(item: dict[str, Any]) -> str:
    """Who an item is: no two in one output are the same."""
    return str(item.get("id", item.get("call_id")))


@st.composite
def responses(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a response that is over, well or not."""
    status = draw(st.sampled_from(["completed", "completed", "incomplete", "failed"]))
    why = {
        "incomplete": {"incomplete_details": {"reason": "max_output_tokens"}},
        "failed": {"error": {"code": "server_error", "message": "It failed."}},
    }
    usage = {"usage": None if status == "failed" else draw(usages())}
    return {
        "id": "resp_" + draw(ids),
        "object": "response",
        "created_at": draw(st.integers(0, 2_000_000_000)),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-x",
        "output": draw(st.lists(items, max_size=4, unique_by=_named)),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        **draw(st.sampled_from([{}, usage])),
        **why.get(status, {}),
    }


#: A response in which every kind of text is said, and each list has two.
FULL: Final = {
    "id": "resp_full",
    "status": "completed",
    "output": [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": text} for text in ("a", "b")],
            "content": [{"type": "reasoning_text", "text": text} for text in ("c", "d")],
        },
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "e", "annotations": [LINK, {**LINK, "title": "B"}]},
                {"type": "refusal", "refusal": "f"},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "s", "input": "ls"},
    ],
}
