"""The short cut through a stream, against the long way: a JSON decoder."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.providers.openai.progress import SHAPE
from llmstack.providers.template import LESSONS, Template


COMPACT: Final = (",", ":")
DELTAS: Final[dict[str, Any]] = {
    "content": lambda text: {"content": text},
    "reasoning": lambda text: {"content": "", "reasoning": text},
    "reasoning_content": lambda text: {"reasoning_content": text, "content": None},
    "refusal": lambda text: {"refusal": text},
    "arguments": lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]},
}


def event(text: str, kind: str = "content", *, padding: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": DELTAS[kind](text), "logprobs": None, "finish_reason": None}
    chunk: dict[str, object] = {"id": "c", "choices": [choice], **more}
    if padding is not None:
        chunk["obfuscation"] = padding
    return json.dumps(chunk, separators=COMPACT, ensure_ascii=False).encode()


def lesson(data: bytes) -> Template:
    template = Template(SHAPE)
    template.learn(data)
    return template


texts = st.text(max_size=20) | st.text('"\\{}[]:,nu\x00\n', max_size=12)


@given(texts.filter(bool), texts, st.sampled_from(sorted(DELTAS)))
@example("a", 'x"},"logprobs":null,"finish_reason":"stop"}],"y":{"z":"', "content")
def test_fits_the_same_event_with_another_text(one: str, other: str, kind: str) -> None:
    """Whatever the text, for in JSON it is one string."""
    assert lesson(event(one, kind)).fits(event(other, kind))


@pytest.mark.parametrize("between", [b"", b'"usage":null,'], ids=["no usage", "usage is null"])
def test_fits_the_padding_of_openai(between: bytes) -> None:
    """Which is another string that differs in each event."""

    def padded(text: str, padding: str) -> bytes:
        return event(text, padding=padding).replace(b'"obfus', between + b'"obfus')

    template = lesson(padded("Hello", "ZGF"))

    assert template.fits(padded(", \n", "lRK2aBv"))
    assert not template.fits(padded("x", "ab")[:-1] + b',"error":1}')
    assert not template.fits(padded("x", 'a"b'))
    assert not template.fits(event("x"))


#: What an event is that must be looked at.
OTHERS: Final[dict[str, bytes]] = {
    "finish": event("a").replace(b'"finish_reason":null', b'"finish_reason":"stop"'),
    "usage": event("a", usage={"prompt_tokens": 1}),
    "error": event("a", error={"code": 1}),
    "error first": b'{"error":{},' + event("a")[1:],
    "another choice": event("a").replace(b'"index":0', b'"index":1'),
    "another delta": event("a", "refusal"),
    "two texts": event("a").replace(b'"a"', b'"a","refusal":"b"'),
    "done": b"[DONE]",
    "nothing": b"",
    "no text": event("a").replace(b'"a"', b"null"),
    "cut": event("a")[:-1],
    "cut in the text": event("a")[: event("a").index(b'"a"') + 2],
    "head and tail overlap": event("")[:-1],
    "bare line end": event("a").replace(b'"a"', b'"\n"'),
    "bad escape": event("a").replace(b'"a"', rb'"\x"'),
    "bad unicode escape": event("a").replace(b'"a"', rb'"\u12g4"'),
    "escaped end": event("a").replace(b'"a"', b'"\\"'),
    "no text in UTF-8": event("a").replace(b'"a"', b'"\xff"'),
    "half a letter": event("a").replace(b'"a"', b'"\xc3"'),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("kind", ["content", "reasoning_content"])
def test_does_not_fit_what_must_be_looked_at(kind: str, other: bytes) -> None:
    """A short cut past a finish would lose the end of the stream."""
    assert not lesson(event("Hello", kind)).fits(other)


bytes_between = st.binary(max_size=30) | st.lists(
    st.sampled_from(
        [
            *(b'"', b"\\", b'"}', b'},"', b":", b",", b"null", b'"finish_reason":"stop"', b"a"),
            *(b'"},"logprobs":null,"finish_reason":null}],"obfuscation":"', b'"}', b'"error":1'),
        ]
    ),
    max_size=6,
).map(b"".join)


@given(bytes_between, st.none() | st.just("pad"))
@example(b'x"},"logprobs":null,"finish_reason":null}],"obfuscation":"pad', None)
@example(b'x","finish_reason":"stop', None)
@example(b"x", "pad")
def test_never_fits_what_is_not_ordinary(between: bytes, padding: str | None) -> None:
    """What fits decodes to the very event that was learned, but for its strings."""
    learned = event("Hello", padding=padding)
    head, tail = (
        learned.index(b"Hello"),
        len(learned) - 2 if padding else learned.index(b"Hello") + 5,
    )
    other = learned[:head] + between + learned[tail:]
    if not lesson(learned).fits(other):
        return
    expected, seen = json.loads(learned), json.loads(other)
    text = seen["choices"][0]["delta"].pop("content")
    del expected["choices"][0]["delta"]["content"]
    expected["obfuscation"] = seen.get("obfuscation")
    seen.setdefault("obfuscation")

    assert isinstance(text, str)
    assert expected == seen


def test_learns_again_and_not_for_ever() -> None:
    """The last lesson counts; after too many it gives up, so as not to cost more than it saves."""
    template = Template(SHAPE)
    assert not template.fits(event("a"))
    for n in range(LESSONS):
        template.learn(event("a", created=n))
        assert template.fits(event("b", created=n))
        assert not template.fits(event("b", created=n - 1))
    template.learn(event("a", created=-5))

    assert not template.fits(event("a", created=-5))


@pytest.mark.parametrize(
    "data",
    [
        event(""),
        event("a", "reasoning").replace(b'"content":""', b'"content":"b"'),
        event("a", padding="p").replace(b'"logprobs":null', b'"logprobs":[]'),
        b"{}",
    ],
    ids=["no text", "two texts", "other padding", "nothing"],
)
def test_learns_nothing_where_it_could_be_wrong(data: bytes) -> None:
    """And forgets what it knew."""
    template = lesson(event("x"))
    template.learn(data)

    assert not template.fits(event("x"))
    assert not template.fits(data)


def test_forgets() -> None:
    """For good: after a finish every event is looked at."""
    template = lesson(event("a"))
    template.forget()
    before = template.fits(event("a"))
    template.learn(event("a"))

    assert (False, False) == (before, template.fits(event("a")))
