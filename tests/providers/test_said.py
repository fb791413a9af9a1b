"""The decoding of replies: the short way gives what the long one gives."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.providers.said import decoded


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
@example(b"{" * 99 + b"}")
@example(b'{"a":' * 100_000 + b"}")
def test_whatever_comes_is_decoded_as_ever(raw: bytes) -> None:
    """Bytes of any kind: JSON in any of its encodings, or something else."""
    expected = model(raw)

    assert expected == decoded(raw)
