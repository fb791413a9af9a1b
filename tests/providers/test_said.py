"""What error bodies say in each of their shapes; and how replies are decoded."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.providers.said import Said, decoded


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=9,
)
texts = st.builds(
    lambda value, before, after, code: (before + json.dumps(value) + after).encode(code),
    values,
    st.sampled_from(["", " ", "\n"]),
    st.sampled_from(["", " ", "}", "{}", "\x00"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
)


def model(raw: bytes) -> object:
    """The long way alone."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


@given(texts | st.binary() | st.binary().map(lambda some: b"{" + some + b"}"))
@example(b'{"a": 1}')
@example(b'{"a": 1}}')
@example(b'{"a": "\xff"}')
@example(b' {"a": 1}')
@example('{"a": 1}'.encode("utf-16-le"))
@example('{"a": 1}'.encode("utf-16-be"))
@example(b"{" * 99 + b"}")
@example(b'{"a":' * 100_000 + b"}")
def test_whatever_comes_is_decoded_as_ever(raw: bytes) -> None:
    """Bytes of any kind: JSON in any of its encodings, or something else."""
    expected = model(raw)

    assert expected == decoded(raw)


DETAILS: Final = [
    {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
    {"reason": "QUOTA", "violations": [{"quotaId": "PerDayA"}, {"quotaId": 7}, "x", {}]},
    {"retryDelay": "7s", "violations": [{"quotaId": "PerMinuteB"}]},
    {"retryDelay": "9s", "violations": {}},
    "x",
]
SHAPES: Final[dict[str, tuple[object, dict[str, str], Said]]] = {
    "OpenAI": (
        {"error": {"message": "m", "type": "T", "param": "p", "code": "C"}},
        {},
        Said(("c", "t"), None, "m", code="C", param="p", read=True),
    ),
    "without a frame": (
        {"object": "error", "message": "m", "type": "T", "param": "p", "code": 400},
        {},
        Said(("t",), 400, "m", code="T", param="p", read=True),
    ),
    "Azure": (
        {"error": {"message": "m", "code": "429", "innererror": {"code": "I"}}},
        {},
        Said(("429", "i"), 429, "m", code="I", read=True),
    ),
    "Azure, as it was written before": (
        {"error": {"code": "O", "inner_error": {"code": "I"}, "type": "T"}},
        {},
        Said(("o", "i", "t"), code="O", read=True),
    ),
    "Ollama": ({"error": "m"}, {}, Said(message="m", read=True)),
    "TGI": ({"error": "m", "error_type": "E"}, {}, Said(("e",), message="m", code="E", read=True)),
    "xAI": ({"error": "m", "code": "C c"}, {}, Said(("c c",), message="m", code="C c", read=True)),
    "FastAPI": ({"detail": "m"}, {}, Said(message="m", read=True)),
    "FastAPI, with fields": ({"detail": [{"msg": "m"}]}, {}, Said(read=True)),
    "OpenRouter": (
        {"error": {"code": 402, "message": "m", "metadata": {"a": 1}}},
        {},
        Said((), 402, "m", {"a": 1}, read=True),
    ),
    "Anthropic": (
        {"type": "error", "error": {"type": "T", "message": "m", "details": {"error_code": "D"}}},
        {},
        Said(("d", "t"), message="m", code="D", read=True),
    ),
    "Amazon": (
        {"message": "m"},
        {"x-amzn-errortype": "XException:http://a/"},
        Said(("xexception",), message="m", code="XException", read=True),
    ),
    "Amazon, in capitals": ({"Message": "m"}, {}, Said(message="m", read=True)),
    "Amazon, in the body": (
        {"__type": "com.amazon#XException"},
        {},
        Said(("xexception",), code="XException", read=True),
    ),
    "Google": (
        [
            {
                "error": {
                    "code": 429,
                    "message": "m",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": DETAILS,
                }
            }
        ],
        {},
        Said(
            ("quota", "resource_exhausted"),
            429,
            "m",
            code="QUOTA",
            quotas=("perdaya", "perminuteb"),
            delay="7s",
            read=True,
        ),
    ),
    "a status in small letters": ({"error": {"status": "failed"}}, {}, Said(read=True)),
    "a status of 40 letters": (
        {"error": {"status": "A" * 40}},
        {},
        Said(("a" * 40,), code="A" * 40, read=True),
    ),
    "a longer status": ({"error": {"status": "A" * 41}}, {}, Said(read=True)),
    "a list of several": ([{"message": "m"}, {"message": "n"}], {}, Said(message="m", read=True)),
    "the last status": ({"code": 599}, {}, Said((), 599, read=True)),
    "the first status": ({"code": 400}, {}, Said((), 400, read=True)),
    "no status any more": ({"code": 600}, {}, Said(read=True)),
    "Amazon, with spaces": (
        {},
        {"x-amzn-errortype": " XException :http://a/"},
        Said(("xexception",), code="XException"),
    ),
    "a short status": ({"error": {"status": "BAD"}}, {}, Said(read=True)),
    "the order of all": (
        {
            "error": {
                "details": [{"reason": "R"}],
                "code": "C",
                "innererror": {"code": "I"},
                "type": "T",
                "status": "SOME",
            },
            "error_type": "E",
            "__type": "A",
        },
        {"x-amzn-errortype": "H"},
        Said(("h", "c", "i", "r", "t", "some", "e", "a"), code="H", read=True),
    ),
    "numbers that are no status": (
        {"error": {"code": 399, "type": "600", "innererror": {"code": True}}},
        {},
        Said(("600",), code="600", read=True),
    ),
    "the first number counts": (
        {"error": {"code": "401", "innererror": {"code": 402}}},
        {},
        Said(("401",), 401, read=True),
    ),
    "an empty list": ([], {}, Said()),
    "an empty object": ({}, {}, Said()),
    "no object": ("x", {}, Said()),
}


@pytest.mark.parametrize(("body", "headers", "said"), SHAPES.values(), ids=SHAPES)
def test_reads_each_of_the_shapes(body: object, headers: dict[str, str], said: Said) -> None:
    """The codes in small letters, the most exact one first; what is missing is empty."""
    assert said == Said.of(json.dumps(body).encode(), headers)


def test_what_is_no_json_says_nothing() -> None:
    """But the header of Amazon does, which needs no body."""
    assert Said() == Said.of(b"<html>")
    assert Said(("x",), code="X") == Said.of(b"<html>", {"x-amzn-errortype": "X"})
