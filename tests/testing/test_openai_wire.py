import base64
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmstack.testing.openai_wire import (
    WORDS,
    Answer,
    complaint,
    embedding,
    embeddings,
    error_body,
    models_body,
    words_in,
)


def answer(tokens: int, seed: int = 0, **limits: int) -> Answer:
    body = {"model": "m", "messages": [{"role": "user", "content": "one two"}], **limits}
    return Answer.to(body, tokens, Random(seed), at=12.9)


@given(
    tokens=st.integers(0, 9),
    limits=st.dictionaries(
        st.sampled_from(["max_tokens", "max_completion_tokens"]), st.integers(1, 9), max_size=1
    ),
    usage=st.booleans(),
)
def test_chunks_and_completion_say_the_same(
    tokens: int, limits: dict[str, int], *, usage: bool
) -> None:
    """Words, finish and usage; and both are what the types of the SDK take."""
    given_answer = answer(tokens, **limits)
    whole = ChatCompletion.model_validate(given_answer.complete(), strict=True)
    chunks = [
        ChatCompletionChunk.model_validate(chunk, strict=True)
        for chunk in given_answer.chunks(usage=usage)
    ]

    said = min([tokens, *limits.values()])
    finish = "stop" if said == tokens else "length"
    assert said == len((whole.choices[0].message.content or "").split())
    assert finish == whole.choices[0].finish_reason
    assert whole.usage is not None
    assert (2, said) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    assert 2 + said == whole.usage.total_tokens
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert whole.choices[0].message.content == "".join(c.delta.content or "" for c in deltas)
    assert ["assistant"] + [None] * (said + 1) == [choice.delta.role for choice in deltas]
    assert [None] * (said + 1) + [finish] == [choice.finish_reason for choice in deltas]
    assert [None] * (said + 2) + [whole.usage] * usage == [chunk.usage for chunk in chunks]
    assert (given_answer.id, 12, "m") == (whole.id, whole.created, whole.model)
    assert {(given_answer.id, 12, "m")} == {
        (chunk.id, chunk.created, chunk.model) for chunk in chunks
    }


def test_the_same_dice_give_the_same_words() -> None:
    """And other dice give others, of the list."""
    assert answer(20) == answer(20)
    assert answer(20).id != answer(20, seed=1).id
    assert answer(20).words != answer(20, seed=1).words
    assert set(WORDS) >= set(answer(20).words)


texts = st.text(max_size=5)


@given(st.lists(texts, min_size=1, max_size=4), st.none() | st.integers(1, 20), st.integers(0, 3))
def test_base64_and_floats_are_the_same_vectors(
    inputs: list[str], dimensions: int | None, seed: int
) -> None:
    """Exactly, for every number fits 32 bits; and each text has its own vector."""
    body = {"model": "m", "input": inputs, "dimensions": dimensions}
    floats = embeddings(body, seed)
    packed = embeddings({**body, "encoding_format": "base64"}, seed)

    size = dimensions or 8
    CreateEmbeddingResponse.model_validate(floats, strict=True)
    assert [embedding(text, size, seed) for text in inputs] == [
        entry["embedding"] for entry in floats["data"]
    ]
    assert [entry["embedding"] for entry in floats["data"]] == [
        list(struct.unpack(f"<{size}f", base64.b64decode(entry["embedding"])))
        for entry in packed["data"]
    ]
    assert floats["usage"] == packed["usage"]


@pytest.mark.parametrize(
    ("given_input", "vectors", "tokens"),
    [("a b", 1, 2), (["a b", "c"], 2, 3), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3), ([], 0, 0)],
)
def test_an_input_is_text_or_tokens_one_or_many(
    given_input: object, vectors: int, tokens: int
) -> None:
    """As the format has it."""
    body = embeddings({"model": "m", "input": given_input}, 0)

    assert vectors == len(body["data"])
    assert [*range(vectors)] == [entry["index"] for entry in body["data"]]
    assert {"prompt_tokens": tokens, "total_tokens": tokens} == body["usage"]


def test_vectors_differ_by_text_and_by_seed() -> None:
    """The same for the same, and bounded by one."""
    assert embedding("a", 8, 0) == embedding("a", 8, 0)
    assert embedding("a", 8, 0) != embedding("b", 8, 0)
    assert embedding("a", 8, 0) != embedding("a", 8, 1)
    assert 1 >= max(map(abs, embedding("a", 500, 0))) > 0.9


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("one two", 2),
        ([{"role": "user", "content": "one"}, {"role": "user", "content": "a b"}], 3),
        ([{"role": "user", "content": [{"type": "text", "text": "a b c"}]}], 4),
        ({"n": 3, "x": None}, 0),
    ],
)
def test_prompt_tokens_are_words(value: object, words: int) -> None:
    """In all strings but the roles."""
    assert words == words_in(value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (429, "rate_limit_error"),
        (499, "invalid_request_error"),
        (500, "server_error"),
        (529, "server_error"),
    ],
)
def test_an_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    """In the shape of the format."""
    expected = {"error": {"message": "no", "type": kind, "param": None, "code": "c"}}

    assert expected == error_body(status, "no", "c")


def test_models_are_listed_by_name() -> None:
    """In the order given."""
    body = models_body(["b", "a"], 5)

    assert ("list", ["b", "a"]) == (body["object"], [entry["id"] for entry in body["data"]])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"model": "m", "input": "x"}', None),
        (b'{"model": "n", "input": "x"}', (404, "the model does not exist", "model_not_found")),
        (b'{"model": "m"}', (400, "missing: input", None)),
        (b"[]", (400, "missing: model, input", None)),
        (b"{", (400, "the body is not JSON", None)),
        (b"\xff", (400, "the body is not JSON", None)),
    ],
)
def test_a_complaint_says_what_is_missing(
    raw: bytes, expected: tuple[int, str, str | None] | None
) -> None:
    """Or which model is not there; nothing needed, nothing to say."""
    assert expected == complaint(raw, ["model", "input"], ["m"])
    assert complaint(b'{"model": "other", "input": 1}', ["model", "input"], []) is None
    assert complaint(raw, [], ["m"]) is None
