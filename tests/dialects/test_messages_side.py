"""What the tests of translators draw is what a Messages endpoint may say."""

from __future__ import annotations

from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.dialects.messages_side import assembled, cuts, replies


EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


@given(reply=replies())
def test_a_reply_is_one_that_the_sdk_knows(reply: dict[str, Any]) -> None:
    """Each validates in strict mode, and nothing of it is unknown to the types."""
    message = Message.model_validate(reply, strict=True)

    assert reply == message.model_dump(mode="json", exclude_unset=True)


@given(data=st.data(), reply=replies())
def test_a_cut_reply_is_assembled_to_itself(data: st.DataObject, reply: dict[str, Any]) -> None:
    """Every event is one that the SDK knows, and together they say the reply."""
    events = data.draw(cuts(reply))

    assert reply == assembled(events)
    for name, event in events:
        assert name == event["type"]
        assert name == "ping" or EVENT.validate_python(event, strict=True).type == name
