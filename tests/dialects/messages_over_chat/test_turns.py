"""The conversation: turns of Messages as the messages of chat completions."""

from __future__ import annotations

import typing
from typing import Any, Final

import pytest
from anthropic.types import content_block_param
from anthropic.types import tool_result_block_param as result

from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.messages_over_chat.parts import PARTS
from llmstack.dialects.messages_over_chat.turns import OPAQUE, ROLES
from llmstack.errors import Untranslatable
from tests.dialects.messages_over_chat.asked import body, user


TRANSLATOR: Final = MessagesOverChat()
HI: Final = {"type": "text", "text": "hi"}
YOU: Final = {"type": "text", "text": "you"}
PNG: Final = {"type": "base64", "media_type": "image/png", "data": "aGk="}
IMAGE: Final = {"type": "image", "source": PNG}
IMAGE_PART: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
WEB: Final = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
WEB_PART: Final = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
PDF: Final = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
FILE: Final = {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="}
PLAIN: Final = {"type": "text", "media_type": "text/plain", "data": "you"}


def document(source: object, **fields: object) -> dict[str, Any]:
    """A document of *source*."""
    return {"type": "document", "source": source, **fields}


def tool_result(identity: str, content: object = None, **fields: object) -> dict[str, Any]:
    """What the call *identity* came to."""
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **fields}


def call(identity: str, **fields: object) -> dict[str, Any]:
    """A call of the tool ``f``."""
    return {"type": "tool_use", "id": identity, "name": "f", "input": {}, **fields}


def said(*turns: tuple[str, object], **fields: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401
    """The messages that these turns become, and what is dropped."""
    messages = [{"role": role, "content": content} for role, content in turns]
    translated = TRANSLATOR.request(body(messages=messages, **fields))
    return translated.body["messages"], translated.dropped


#: Content of a user's turn, the content it becomes, and what is dropped.
CONTENT: Final[list[tuple[object, object, tuple[str, ...]]]] = [
    ("hi", "hi", ()),
    ("", "", ()),
    ([], "", ()),
    ([HI], "hi", ()),
    ([HI, YOU], [HI, YOU], ()),
    (
        [{**HI, "cache_control": {"type": "ephemeral"}}, YOU],
        [HI, YOU],
        ("messages[*].content[*].cache_control",),
    ),
    ([{**HI, "citations": [{}]}], "hi", ("messages[*].content[*].citations",)),
    ([{**HI, "citations": None, "cache_control": None}], "hi", ()),
    (
        [{**HI, "parsed_output": 1, "Odd": 2}],
        "hi",
        ("messages[*].content[*].parsed_output", "messages[*].content[*].?"),
    ),
    ([IMAGE], [IMAGE_PART], ()),
    ([WEB, HI], [WEB_PART, HI], ()),
    (
        [{**IMAGE, "transformations": {"oversized_image": "error"}}],
        [IMAGE_PART],
        ("messages[*].content[*].transformations",),
    ),
    ([document(PLAIN)], "you", ()),
    ([document(PLAIN, title="T", context="C")], [{"type": "text", "text": "T\nC"}, YOU], ()),
    ([document(PLAIN, context="C")], [{"type": "text", "text": "C"}, YOU], ()),
    (
        [document(PLAIN, citations={"enabled": True})],
        "you",
        ("messages[*].content[*].citations",),
    ),
    ([document(PDF)], [{"type": "file", "file": FILE}], ()),
    ([document({"type": "content", "content": "you"})], "you", ()),
    ([document({"type": "content", "content": [YOU, IMAGE]})], [YOU, IMAGE_PART], ()),
    (
        [{"type": "search_result", "title": "T", "source": "S", "content": [HI, YOU]}],
        [{"type": "text", "text": "T\nS"}, HI, YOU],
        (),
    ),
]


@pytest.mark.parametrize(("content", "becomes", "dropped"), CONTENT)
def test_what_a_user_says(content: object, becomes: object, dropped: tuple[str, ...]) -> None:
    """Texts, images, documents and search results are parts; a lone text is a string."""
    assert ([{"role": "user", "content": becomes}], dropped) == said(("user", content))


SERVER: Final = (
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "container_upload",
)
CANNOT: Final = "chat completions cannot say it"
BAD: Final[list[tuple[object, str]]] = [
    *(({"type": kind}, f".type: {CANNOT}") for kind in SERVER),
    *(({"type": kind}, f".type: {CANNOT}") for kind in OPAQUE),
    (call("a"), f".type: {CANNOT}"),
    ({"type": ["text"]}, f".type: {CANNOT}"),
    ({}, f".type: {CANNOT}"),
    ("hi", ": must be an object"),
    ({"type": "text"}, ".text: must be a string"),
    ({"type": "image"}, ".source: must be an object"),
    ({"type": "image", "source": {"type": "file"}}, f".source.type: {CANNOT}"),
    ({"type": "image", "source": {"type": "url"}}, ".source.url: must be a string"),
    (
        {"type": "image", "source": {"type": "base64", "data": "aGk="}},
        ".source.media_type: must be a string",
    ),
    (
        {"type": "image", "source": {**PNG, "data": 1}},
        ".source.data: must be a string",
    ),
    (document({"type": "url", "url": "u"}), f".source.type: {CANNOT}"),
    (document({"type": "file"}), f".source.type: {CANNOT}"),
    (document({**PDF, "media_type": "text/html"}), f".source.media_type: {CANNOT}"),
    (document(PLAIN, title=1), ".title: must be a string"),
    (
        document({"type": "content", "content": [document(PLAIN)]}),
        f".source.content[0].type: {CANNOT}",
    ),
    (tool_result("a", toolset_name="x"), f".toolset_name: {CANNOT}"),
    (tool_result("a", 5), ".content: must be an array"),
    (
        tool_result("a", [{"type": "tool_reference", "tool_name": "f"}]),
        f".content[0].type: {CANNOT}",
    ),
    (tool_result("a", [{"type": "browser_state"}]), f".content[0].type: {CANNOT}"),
    ({"type": "tool_result"}, ".tool_use_id: must be a string"),
]


@pytest.mark.parametrize(("block", "says"), BAD)
def test_what_a_user_cannot_say(block: object, says: str) -> None:
    """It is refused by its path."""
    with pytest.raises(Untranslatable) as caught:
        TRANSLATOR.request(user(HI, block))

    assert f"messages[0].content[1]{says}" == caught.value.message


def test_the_results_of_tools_come_before_the_rest_of_the_turn() -> None:
    """Each answers its call; what the user says beside them follows."""
    calls = [call("a", input={"x": "\u00e9"}), call("b", caller={"type": "direct"})]
    results = [HI, tool_result("b", "2"), tool_result("a", [HI, YOU])]
    messages, dropped = said(("user", "go"), ("assistant", calls), ("user", results))

    function = {"name": "f", "arguments": '{"x":"\u00e9"}'}
    assert [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": function},
                {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "tool", "tool_call_id": "a", "content": [HI, YOU]},
        {"role": "user", "content": "hi"},
    ] == messages
    assert () == dropped


#: A result, the content of its message, and what the user's message has of it.
RESULTS: Final[list[tuple[dict[str, Any], object, list[object]]]] = [
    (tool_result("a"), "", []),
    (tool_result("a", ""), "", []),
    (tool_result("a", [HI]), "hi", []),
    (tool_result("a", "hi", is_error=False), "hi", []),
    (tool_result("a", "hi", is_error=True), "Error: hi", []),
    (tool_result("a", is_error=True), "Error: ", []),
    (
        tool_result("a", [HI, YOU], is_error=True),
        [{"type": "text", "text": "Error: hi"}, YOU],
        [],
    ),
    (
        tool_result("a", [IMAGE, HI, document(PDF)]),
        [
            {"type": "text", "text": "[image 1: in the user's message below]"},
            HI,
            {"type": "text", "text": "[file 2: in the user's message below]"},
        ],
        [
            {"type": "text", "text": "[image 1, of the tool result a]"},
            IMAGE_PART,
            {"type": "text", "text": "[file 2, of the tool result a]"},
            {"type": "file", "file": FILE},
        ],
    ),
]


@pytest.mark.parametrize(("block", "tool", "beside"), RESULTS)
def test_the_result_of_a_tool_is_text(
    block: dict[str, Any],
    tool: object,
    beside: list[object],
) -> None:
    """An error is told in it; images and files follow in the user's message."""
    messages, dropped = said(("user", [block, YOU]))

    assert [
        {"role": "tool", "tool_call_id": "a", "content": tool},
        {"role": "user", "content": [*beside, YOU] if beside else "you"},
    ] == messages
    assert () == dropped


def test_messages_of_one_role_are_one_turn() -> None:
    """So that results stand right behind the calls, wherever the caller put them."""
    messages, _ = said(
        *(("user", "hi"), ("user", "you")),
        *(("assistant", [call("a")]), ("assistant", [HI, call("b"), YOU])),
        *(("user", "hi"), ("user", [tool_result("a", "1")]), ("user", [tool_result("b", "2")])),
    )

    assert ["user", "assistant", "tool", "tool", "user"] == [each["role"] for each in messages]
    assert [HI, YOU] == messages[0]["content"] == messages[1]["content"]
    assert ["a", "b"] == [each["id"] for each in messages[1]["tool_calls"]]


def test_thinking_is_left_to_the_provider_that_signed_it() -> None:
    """Both kinds are dropped and told, however often; the turn stays."""
    thought = {"type": "thinking", "thinking": "x", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    messages, dropped = said(
        ("user", "hi"),
        ("assistant", [thought, hidden, thought, YOU]),
        ("user", "hi"),
        ("assistant", [thought]),
        ("user", "hi"),
    )

    kinds = ("messages[*].content[*].thinking", "messages[*].content[*].redacted_thinking")
    assert kinds == dropped
    assert ["hi", "you", "hi", "", "hi"] == [each["content"] for each in messages]


BAD_TURNS: Final[list[tuple[list[object], str]]] = [
    ([IMAGE], f".type: {CANNOT}"),
    ([tool_result("a")], f".type: {CANNOT}"),
    ([{"type": "server_tool_use"}], f".type: {CANNOT}"),
    ([{"type": {}}], f".type: {CANNOT}"),
    ([call("a", toolset_name="x")], f".toolset_name: {CANNOT}"),
    ([call("a", caller={"type": "code_execution_20260120"})], f".caller.type: {CANNOT}"),
    ([call("a", caller="direct")], ".caller: must be an object"),
    ([call("a", input="{}")], ".input: must be an object"),
    ([call("a", input={"x": float("nan")})], f".input: {CANNOT}"),
    ([call("a", name=None)], ".name: must be a string"),
    ([{**call("a"), "id": 5}], ".id: must be a string"),
]


@pytest.mark.parametrize(("blocks", "says"), BAD_TURNS)
def test_what_an_assistant_cannot_have_said(blocks: list[object], says: str) -> None:
    """It is refused by its path."""
    with pytest.raises(Untranslatable) as caught:
        said(("user", "hi"), ("assistant", blocks), ("user", "hi"))

    assert f"messages[1].content[0]{says}" == caught.value.message


def test_a_turn_that_is_to_be_continued_is_refused() -> None:
    """Chat begins a new one, and what comes would not fit to what is there."""
    with pytest.raises(Untranslatable, match="messages: they end with the assistant"):
        said(("user", "hi"), ("assistant", "The answer is ("))


@pytest.mark.parametrize(
    ("system", "becomes"),
    [("hi", "hi"), ([HI], "hi"), ([HI, YOU], [HI, YOU])],
)
def test_the_system_prompt_comes_first(system: object, becomes: object) -> None:
    """It may also stand between the turns."""
    messages, _ = said(("user", "go"), ("system", system), system=system)

    assert [
        {"role": "system", "content": becomes},
        {"role": "user", "content": "go"},
        {"role": "system", "content": becomes},
    ] == messages


@pytest.mark.parametrize("system", [None, "", []])
def test_an_empty_system_prompt_says_nothing(system: object) -> None:
    """As any empty field; nor does one between the turns."""
    messages, _ = said(("user", "go"), ("system", []), system=system)

    assert ["user"] == [message["role"] for message in messages]


def test_a_system_prompt_is_text() -> None:
    """Nothing else is said there."""
    with pytest.raises(Untranslatable, match=r"^system\[1\]\.type: chat"):
        said(("user", "hi"), system=[HI, IMAGE])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (5, "messages[0]: must be an object"),
        ({"role": "tool", "content": "x"}, f"messages[0].role: {CANNOT}"),
        ({"role": ["user"], "content": "x"}, f"messages[0].role: {CANNOT}"),
        ({"role": "user"}, "messages[0].content: must be an array"),
    ],
)
def test_a_message_is_of_a_known_role(message: object, words: str) -> None:
    """And has content."""
    with pytest.raises(Untranslatable) as caught:
        TRANSLATOR.request(body(messages=[message]))

    assert words == caught.value.message


def test_a_field_beside_the_content_is_told() -> None:
    """A message has a role and content."""
    message = {"role": "user", "content": "hi", "id": "m"}

    assert ("messages[*].id",) == TRANSLATOR.request(body(messages=[message])).dropped


def test_every_block_of_the_sdk_has_its_row() -> None:
    """Those that a user or an assistant may say, and those that are refused."""
    kinds = {
        typing.get_args(typing.get_type_hints(kind)["type"])[0]
        for union in (content_block_param.ContentBlockParam, result.Content)
        for kind in typing.get_args(union)
    }
    inner = {"tool_reference", "browser_state"}

    assert kinds == {*PARTS, *OPAQUE, *SERVER, *inner, "tool_use", "tool_result"}
    assert ("user", "assistant", "system") == ROLES
