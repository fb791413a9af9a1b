"""The short cut through a stream, against the long way: a JSON decoder."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.providers.anthropic.progress import SHAPE as MESSAGES
from llmstack.providers.openai.progress import SHAPE
from llmstack.providers.sse import SSEParser
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


def on_wire(data: bytes, name: str = "") -> bytes:
    named = b"event: " + name.encode() + b"\n" if name else b""
    return named + b"data: " + data + b"\n\n"


#: What has nothing of an ordinary event in it, or is the beginning of one.
harmless: Final = st.sampled_from(
    [b"", on_wire(b"[DONE]"), on_wire(event("")), on_wire(event("a"))[:-1], on_wire(event("a"))[:9]]
)
odd: Final = st.sampled_from(
    [
        on_wire(event("a", "refusal")),
        on_wire(event("a", created=1)),
        on_wire(event("a")).replace(b'"id":"c"', b'"id":"d"'),
        on_wire(event("a" * 200))[:-70],
        on_wire(event("a"), "name"),
        on_wire(event("a")).replace(b"data: ", b"data:"),
        on_wire(event("a")).replace(b"\n", b"\r\n"),
        on_wire(event("a")).replace(b'"a"', b'"\xff"'),
        on_wire(event("a")).replace(b'"a"', b'"\n\n"'),
        on_wire(event("a")).replace(b'"a"', b'"a\nb"'),
        b": comment\n" + on_wire(event("a")),
        on_wire(event("a"))[:-1],
        on_wire(event("a"))[:-9],
        on_wire(event("a")) + b"\n",
    ]
)
ordinary: Final = texts.filter(bool).map(lambda text: on_wire(event(text)))


@given(st.lists(ordinary | odd | harmless, max_size=5).map(b"".join))
@example(on_wire(event("a")) * 2 + on_wire(event("a")).replace(b'"a"', b'"\xff"'))
@example(on_wire(event("a")).replace(b'"a"', b'"\xff"'))
@example(
    on_wire(event("a")) + on_wire(event("b")).replace(b'"b"', b'"b\nc"') + on_wire(event("d")) * 2
)
@example(on_wire(event("")) + on_wire(event("a")))
@example(on_wire(event("")))
@example(on_wire(event("a" * 200))[:-70])
@example(on_wire(event("a")) + on_wire(event("a")).replace(b'"id":"c"', b'"id":"d"'))
def test_a_run_has_nothing_in_it_that_does_not_fit(chunk: bytes) -> None:
    """It is whole events, of which each would fit alone, and as much text."""
    one_by_one, together = lesson(event("x")), lesson(event("x"))
    count, size = together.run(chunk)
    parser = SSEParser()
    events = parser.feed(chunk[:size])

    assert not parser.close()
    assert count == len(events)
    assert all(one_by_one.fits(event.data) for event in events)
    assert count <= one_by_one.text == together.text


@given(
    pieces=st.lists(st.tuples(texts.filter(bool), st.text("aZ09", max_size=5)), max_size=6),
    padded=st.booleans(),
    name=st.sampled_from(["", "delta"]),
    after=st.sampled_from(["nothing", "done", "empty", "cut", "begun"]),
)
@example(pieces=[("a", ""), ("b", "")], padded=False, name="", after="nothing")
@example(pieces=[("a", "x")], padded=True, name="delta", after="cut")
@example(pieces=[('"}', "x"), ("é", "yz")], padded=True, name="", after="done")
def test_a_run_is_as_long_as_it_can_be(
    pieces: list[tuple[str, str]], *, padded: bool, name: str, after: str
) -> None:
    """All that fit, up to the first that does not, or that is not whole."""
    datas = [event(text, padding=pad if padded else None) for text, pad in pieces]
    raws = [on_wire(data, name) for data in datas]
    template = Template(SHAPE)
    template.learn(event("Hello", padding="p" if padded else None), name)
    empty, cut = (event(text, padding="p" if padded else None) for text in ("", "a"))
    rest = {
        "nothing": b"",
        "done": on_wire(b"[DONE]"),
        "empty": on_wire(empty, name),
        "cut": on_wire(cut, name)[:-1],
        "begun": on_wire(cut, name)[:9],
    }
    expected = sum(len(json.dumps(text, ensure_ascii=False).encode()) - 2 for text, _ in pieces)

    assert (len(raws), len(b"".join(raws))) == template.run(b"".join([*raws, rest[after]]))
    assert expected == template.text


def test_the_text_of_padded_messages_is_counted_to_its_end() -> None:
    """It may have in it, escaped, what stands between text and padding."""
    whole = b'{"delta":{"text":"%b"}   }'
    template = Template(MESSAGES)
    template.learn(whole % b"Hello", "delta")
    raws = [on_wire(whole % text, "delta") for text in (b'a\\"}b', b"c")]

    assert (2, len(b"".join(raws))) == template.run(b"".join(raws))
    assert 6 == template.text


def test_there_is_no_run_before_a_lesson_nor_of_what_was_written_in_lines() -> None:
    """Where an event has several data lines, each fits alone and is not looked for in bytes."""
    data = event("a").replace(b',"choices"', b',\n"choices"')
    template = lesson(data)

    assert (0, 0) == Template(SHAPE).run(on_wire(event("a")))
    assert template.fits(data)
    assert (0, 0) == template.run(on_wire(data))


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
    assert (0, 0) == template.run(on_wire(event("a")))
    template.learn(event("a"))

    assert (False, False) == (before, template.fits(event("a")))
    assert (0, 0) == template.run(on_wire(event("a")))
