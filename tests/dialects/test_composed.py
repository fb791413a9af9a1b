"""Two translators in a row are a translator: laws with tiny ones, then with the real ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from llmstack.dialects.chat_over_messages import ChatOverMessages
from llmstack.dialects.composed import Composed
from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.translator import JSON, Piece, StreamTranslator, Translated, Translator
from llmstack.errors import ConfigError, ProtocolError, Untranslatable
from tests.dialects import messages_side
from tests.dialects.responses_over_chat.asked import MARK, requests
from tests.dialects.responses_over_chat.reader import read
from tests.openapi import wrong


@define(eq=False)
class Wrapping:
    """A stream translator that wraps each event, and says one more at the end."""

    word: str
    seen: int = field(default=0, init=False)

    def take(self, name: str, data: JSON, /) -> Sequence[Piece]:
        if "broken" in data:
            raise ProtocolError(f"{self.word} is broken")
        self.seen += 1
        return [(f"{self.word}-{name}", {self.word: data})] * data.get("times", 1)

    def end(self) -> Sequence[Piece]:
        return [(f"{self.word}-end", {"seen": self.seen})]


@define(eq=False)
class Tiny:
    """From *asks* to *speaks*, writing down what it was given."""

    asks: str
    speaks: str

    def request(self, body: JSON, /) -> Translated:
        if body.get("refuse") == self.asks:
            raise Untranslatable(f"{self.asks}.field: no")
        kept = {name: body[name] for name in ("refuse",) if name in body}
        return Translated({self.speaks: body, **kept}, (f"{self.asks}.lost",))

    def reply(self, body: JSON, /, asked: JSON, at: float) -> JSON:
        return {self.asks: body, "asked": asked, "at": at}

    def stream(self, asked: JSON, /, at: float) -> StreamTranslator:
        return Wrapping(f"{self.asks}{at}{'+'.join(asked)}")


TWO: Final = Composed(Tiny("a", "b"), Tiny("b", "c"))
ASKED: Final = {"x": 1}


def test_it_asks_for_the_one_and_speaks_for_the_other() -> None:
    """As one translator."""
    translator: Translator = TWO

    assert ("a", "c") == (translator.asks, translator.speaks)


def test_two_that_do_not_fit_are_a_mistake() -> None:
    """One must speak what the other expects."""
    with pytest.raises(ConfigError, match="b is spoken, and c expected"):
        Composed(Tiny("a", "b"), Tiny("c", "d"))


def test_a_request_goes_through_both() -> None:
    """What the inner one dropped is told by the name of the dialect in between."""
    assert Translated({"c": {"b": ASKED}}, ("a.lost", "b.b.lost")) == TWO.request(ASKED)


@pytest.mark.parametrize(("who", "says"), [("a", "a.field: no"), ("b", "b.b.field: no")])
def test_either_may_refuse(who: str, says: str) -> None:
    """The refusal says in whose words it speaks."""
    with pytest.raises(Untranslatable) as caught:
        TWO.request({"refuse": who})

    assert says == caught.value.message


def test_a_reply_comes_back_through_both() -> None:
    """Each is given the request as it was asked in its own dialect."""
    inner = {"b": {"reply": 1}, "asked": {"b": ASKED}, "at": 2.5}

    assert {"a": inner, "asked": ASKED, "at": 2.5} == TWO.reply({"reply": 1}, asked=ASKED, at=2.5)


def test_a_stream_comes_back_through_both() -> None:
    """Every piece of the inner one is an event for the outer one, those of its end as well."""
    stream = TWO.stream(ASKED, at=2.5)
    first = list(stream.take("n", {"times": 2}))
    last = list(stream.end())

    assert 2 * [("a2.5x-b2.5b-n", {"a2.5x": {"b2.5b": {"times": 2}}})] == first
    assert [
        ("a2.5x-b2.5b-end", {"a2.5x": {"seen": 1}}),
        ("a2.5x-end", {"seen": 3}),
    ] == last


def test_an_error_of_the_stream_passes() -> None:
    """As it is."""
    with pytest.raises(ProtocolError, match=r"b2\.5b is broken"):
        TWO.stream(ASKED, at=2.5).take("n", {"broken": True})


def test_it_makes_no_difference_which_two_are_taken_first() -> None:
    """Three in a row are the same either way, but for whose words are told."""
    a, b, c = Tiny("a", "b"), Tiny("b", "c"), Tiny("c", "d")
    left, right = Composed(Composed(a, b), c), Composed(a, Composed(b, c))
    streams = [each.stream(ASKED, at=1.0) for each in (left, right)]

    assert left.request(ASKED).body == right.request(ASKED).body
    assert left.reply({}, asked=ASKED, at=1.0) == right.reply({}, asked=ASKED, at=1.0)
    assert streams[0].take("n", {}) == streams[1].take("n", {})
    assert streams[0].end() == streams[1].end()


REAL: Final = Composed(ResponsesOverChat(), ChatOverMessages())


def alike(response: JSON) -> dict[str, Any]:
    """A response in which neither spaces in JSON nor the order of items count.

    A whole chat has no order between its text and its calls; a stream of Messages has.
    """
    output = [
        {**item, "arguments": json.loads(item["arguments"])} if "arguments" in item else item
        for item in response["output"]
    ]
    return {**response, "output": sorted(output, key=lambda item: str(item["id"]))}


@given(requests())
def test_a_request_goes_to_messages_or_is_refused(body: dict[str, Any]) -> None:
    """And no word of the caller's is told."""
    try:
        said = REAL.request(body)
    except Untranslatable as error:
        told = error.message
    else:
        told = repr(said.dropped)
        assert said.body["messages"]
        assert said.body["model"] == "m"

    assert MARK not in told


def test_a_conversation_with_tools_goes_to_messages() -> None:
    """Instructions, a call and its answer stand where Messages has them."""
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'}
    answer = {"type": "function_call_output", "call_id": "call_1", "output": "2"}
    body = {
        "model": "m",
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "input": [{"role": "user", "content": "Why?"}, call, answer],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    }
    said = REAL.request(body).body
    blocks = [
        (message["role"], block["type"])
        for message in said["messages"]
        for block in message["content"]
        if isinstance(block, dict)
    ]

    assert 99 == said["max_tokens"]
    assert "Be brief." in repr(said["system"])
    assert ("assistant", "tool_use") in blocks
    assert ("user", "tool_result") in blocks


@given(messages_side.replies(), st.data())
def test_a_message_is_a_response(message: dict[str, Any], data: st.DataObject) -> None:
    """Whole or event by event, and by the published schema."""
    asked = {"model": "m", "input": "Why?", "stream": True}
    stream = REAL.stream(asked, at=5.5)
    pieces = [
        piece
        for name, event in data.draw(messages_side.cuts(message))
        for piece in stream.take(name, event)
    ]
    pieces += stream.end()
    whole = REAL.reply(message, asked=asked, at=5.5)
    streamed = pieces[-1][1]["response"]

    assert [] == wrong("Response", {n: v for n, v in whole.items() if n != "store"})
    assert streamed == read(pieces)
    assert alike(whole) == alike(streamed)
