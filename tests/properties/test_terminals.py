"""What ends a stream for its caller is said at the end alone, whoever translates."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.dialects.translator import Translator
from llmstack.layers.translate import TRANSLATORS
from tests.dialects import chat_side, messages_side


#: The last events of a stream; a chat has none, for its ``[DONE]`` belongs to the encoding.
TERMINALS: Final = {"message_stop", "response.completed", "response.incomplete"}
ASKED: Final[dict[str, Any]] = {"model": "m", "stream": True}


def streams(speaks: str) -> st.SearchStrategy[Any]:
    """What an endpoint says that speaks one dialect."""
    if speaks == "messages":
        return messages_side.replies().flatmap(messages_side.cuts)
    return chat_side.streams().map(lambda stream: [("", chunk) for chunk in stream.chunks])


@pytest.mark.parametrize("translator", TRANSLATORS, ids=lambda each: f"{each.asks}-{each.speaks}")
@given(data=st.data())
def test_a_terminal_is_said_at_the_end_alone(translator: Translator, data: st.DataObject) -> None:
    """Behind every event, also the last one, the endpoint may still break."""
    turn = {"messages": [{"role": "user", "content": "Hi"}], "input": "Hi", "max_tokens": 9}
    stream = translator.stream({**ASKED, **turn}, 0.0)
    said = data.draw(streams(translator.speaks))
    early = [name for piece in said for name, _ in stream.take(*piece)]
    late = [name for name, _ in stream.end()]

    assert not TERMINALS & set(early)
    expected = [] if translator.asks == "chat" else late[-1:]
    assert expected == [name for name in late if name in TERMINALS]
    assert bool(expected) == (translator.asks != "chat")
