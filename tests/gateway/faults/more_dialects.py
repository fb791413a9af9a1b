"""How a provider speaks in the two dialects that name their events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final, final

from attrs import frozen

from llmstack.messages import Reply, Request
from llmstack.providers.anthropic import Anthropic
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport
from llmstack.service import Service
from tests.gateway.faults.dialects import OPENAI, Kind, code_in, event, last_event


__all__ = ["MESSAGES", "RESPONSES", "Messages", "Responses"]

ANTHROPIC: Final[Mapping[Kind, str]] = {
    "limit": "rate_limit_error",
    "overload": "overloaded_error",
    "failure": "api_error",
}
#: Types of errors by the status that they have elsewhere; all others are the server's.
TYPES: Final[Mapping[int, str]] = {
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def said(kind: str, **more: object) -> bytes:
    """An event that has its name twice."""
    return event({"type": kind, **more}, kind)


def read(events: bytes) -> list[dict[str, Any]]:
    """The data of all events; each has the name that its data say."""
    found = []
    for each in events.removesuffix(b"\n\n").split(b"\n\n"):
        name, _, data = each.partition(b"\ndata: ")
        found.append(json.loads(data))
        assert name.decode() == f"event: {found[-1]['type']}"
    return found


@final
@frozen
class Messages:
    """Anthropic Messages."""

    who: str = "a"
    name: ClassVar[str] = "messages"
    path: ClassVar[str] = "/v1/messages"
    operation: ClassVar[str] = "messages"
    ping: ClassVar[bytes] = b'event: ping\ndata: {"type": "ping"}\n\n'

    def by(self, who: str) -> Messages:
        return Messages(who)

    def leaf(self, base_url: str, transport: Transport) -> Service[Request, Reply]:
        return Anthropic(base_url, api_key="sk-planted", transport=transport)

    def asked(self, *, stream: bool) -> bytes:
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": "chat", "max_tokens": 16, "messages": messages, "stream": stream}
        return json.dumps(body).encode()

    def opening(self) -> bytes:
        message = self.frame([], None, {"input_tokens": 3, "output_tokens": 1})
        block = {"type": "text", "text": ""}
        start = said("message_start", message=message)
        return start + said("content_block_start", index=0, content_block=block)

    def text(self, words: str) -> bytes:
        delta = {"type": "text_delta", "text": words}
        return said("content_block_delta", index=0, delta=delta)

    def call(self, arguments: str) -> bytes:
        block = {"type": "tool_use", "id": "toolu_1", "name": "sh", "input": {}}
        delta = {"type": "input_json_delta", "partial_json": arguments}
        start = said("content_block_start", index=1, content_block=block)
        return start + said("content_block_delta", index=1, delta=delta)

    def finish(self) -> bytes:
        return said("content_block_stop", index=0)

    def usage(self, prompt: int, completion: int) -> bytes:
        counted = {"input_tokens": prompt, "output_tokens": completion}
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        return said("message_delta", delta=delta, usage=counted)

    def last(self) -> bytes:
        return said("message_stop")

    def error(self, kind: Kind) -> bytes:
        return said("error", error={"type": ANTHROPIC[kind], "message": "canary words"})

    def whole(self, words: str) -> bytes:
        block = {"type": "text", "text": words}
        counted = {"input_tokens": 3, "output_tokens": 2}
        return json.dumps(self.frame([block], "end_turn", counted)).encode()

    def words(self, body: bytes, *, stream: bool) -> str:
        if not stream:
            return "".join(block["text"] for block in json.loads(body)["content"])
        events = read(body)
        kinds = [each["type"] for each in events]
        assert ("message_start", "message_stop") == (kinds[0], kinds[-1])
        assert [1, 1] == [kinds.count("message_delta"), kinds.count("message_stop")]
        deltas = [each["delta"] for each in events if each["type"] == "content_block_delta"]
        return "".join(delta["text"] for delta in deltas)

    def last_word(self, events: bytes) -> tuple[bytes, str]:
        before, last = last_event(events)
        name, _, data = last.partition(b"\n")
        assert b"event: error" == name
        return before, self.refusal(data.removeprefix(b"data: "))

    def in_band(self, status: int, _code: str) -> str:
        return TYPES.get(status, "api_error")

    def refusal(self, body: bytes) -> str:
        data = json.loads(body)
        assert {"type", "error", "request_id"} == data.keys()
        assert {"type", "message"} == data["error"].keys()
        assert ("error", "req_") == (data["type"], data["request_id"][:4])
        return str(data["error"]["type"])

    def refused(self, status: int, code: str) -> str:
        return self.in_band(status, code)

    def frame(self, content: list[Any], reason: str | None, usage: Mapping[str, int]) -> Any:  # noqa: ANN401 -- JSON
        """A message with *content*."""
        of = {"id": f"msg_{self.who}", "type": "message", "role": "assistant", "model": "m"}
        end = {"stop_reason": reason, "stop_sequence": None, "usage": usage}
        return {**of, "content": content, **end}


@final
@frozen
class Responses:
    """OpenAI Responses."""

    who: str = "a"
    name: ClassVar[str] = "responses"
    path: ClassVar[str] = "/v1/responses"
    operation: ClassVar[str] = "responses"
    ping: ClassVar[bytes] = b": ping\n\n"

    def by(self, who: str) -> Responses:
        return Responses(who)

    def leaf(self, base_url: str, transport: Transport) -> Service[Request, Reply]:
        return OpenAI(base_url, api_key="sk-planted", transport=transport)

    def asked(self, *, stream: bool) -> bytes:
        return json.dumps({"model": "chat", "input": "hello", "stream": stream}).encode()

    def opening(self) -> bytes:
        response = self.frame("in_progress", [], None)
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        item = self.message("in_progress")
        return (
            said("response.created", sequence_number=0, response=response)
            + said("response.in_progress", sequence_number=1, response=response)
            + said("response.output_item.added", sequence_number=2, output_index=0, item=item)
            + said("response.content_part.added", sequence_number=3, **place, part=part(""))
        )

    def text(self, words: str) -> bytes:
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        return said("response.output_text.delta", sequence_number=4, **place, delta=words)

    def call(self, arguments: str) -> bytes:
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "sh"}
        added = {**item, "arguments": "", "status": "in_progress"}
        start = said("response.output_item.added", sequence_number=4, output_index=1, item=added)
        place = {"item_id": "fc_1", "output_index": 1}
        kind = "response.function_call_arguments.delta"
        return start + said(kind, sequence_number=5, **place, delta=arguments)

    def finish(self) -> bytes:
        item = self.message("completed", part("one two"))
        return said("response.output_item.done", sequence_number=5, output_index=0, item=item)

    def usage(self, prompt: int, completion: int) -> bytes:
        """Nothing: the last event counts."""
        del prompt, completion
        return b""

    def last(self) -> bytes:
        response = json.loads(self.whole("one two"))
        return said("response.completed", sequence_number=6, response=response)

    def error(self, kind: Kind) -> bytes:
        words = {"message": "canary words", "param": None, "sequence_number": 6}
        return said("error", code=OPENAI[kind], **words)

    def whole(self, words: str) -> bytes:
        counted = {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        }
        output = [self.message("completed", part(words))]
        return json.dumps(self.frame("completed", output, counted)).encode()

    def words(self, body: bytes, *, stream: bool) -> str:
        data = json.loads(body) if not stream else read(body)[-1]["response"]
        texts = [part["text"] for item in data["output"] for part in item["content"]]
        if stream:
            assert "response.completed" == read(body)[-1]["type"]
            deltas = [each["delta"] for each in read(body) if each["type"].endswith("text.delta")]
            assert "".join(texts) == "".join(deltas)
        return "".join(texts)

    def last_word(self, events: bytes) -> tuple[bytes, str]:
        before, last = last_event(events)
        name, _, data = last.partition(b"\n")
        said = json.loads(data.removeprefix(b"data: "))
        assert (b"event: response.failed", "response.failed") == (name, said["type"])
        numbers = [each["sequence_number"] for each in read(before.replace(self.ping, b""))]
        assert numbers[-1] + 1 == said["sequence_number"]
        response = said["response"]
        assert (f"resp_{self.who}", "failed") == (response["id"], response["status"])
        return before, str(response["error"]["code"])

    def in_band(self, _status: int, _code: str) -> str:
        return "server_error"

    def refusal(self, body: bytes) -> str:
        return code_in(body)

    def refused(self, _status: int, code: str) -> str:
        return code

    def message(self, status: str, *content: Mapping[str, object]) -> dict[str, Any]:
        """The one item of the output."""
        of = {"type": "message", "id": "msg_1", "role": "assistant"}
        return {**of, "status": status, "content": list(content)}

    def frame(self, status: str, output: list[Any], usage: object) -> dict[str, Any]:
        """A response with *output*."""
        of = {"id": f"resp_{self.who}", "object": "response", "created_at": 1, "model": "m"}
        nothing = dict.fromkeys(("error", "incomplete_details", "instructions", "metadata"))
        usual = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        return {**of, **nothing, **usual, "status": status, "output": output, "usage": usage}


def part(text: str) -> Mapping[str, object]:
    """One part of a message."""
    return {"type": "output_text", "text": text, "annotations": []}


MESSAGES: Final = Messages()
RESPONSES: Final = Responses()
