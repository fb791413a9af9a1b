"""How a provider speaks in each dialect, and how the gateway tells an error in a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Protocol, final

from attrs import frozen

from llmstack.messages import Reply, Request
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport
from llmstack.service import Service


__all__ = ["CHAT", "OPENAI", "Chat", "Dialect", "Kind", "code_in", "event", "last_event"]


Kind = Literal["limit", "overload", "failure"]
#: What stands for them in the dialects of the OpenAI API.
OPENAI: Final[Mapping[Kind, str]] = {
    "limit": "rate_limit_exceeded",
    "overload": "server_is_overloaded",
    "failure": "server_error",
}


class Dialect(Protocol):
    """What the cases need to know; *who* is named in each event, so that none is mistaken."""

    name: ClassVar[str]
    path: ClassVar[str]
    operation: ClassVar[str]
    ping: ClassVar[bytes]

    @property
    def who(self) -> str:
        """Who speaks."""
        ...

    def by(self, who: str) -> Dialect:
        """The same from the mouth of another."""
        ...

    def leaf(self, base_url: str, transport: Transport) -> Service[Request, Reply]:
        """The service that asks a provider of this dialect."""
        ...

    def asked(self, *, stream: bool) -> bytes:
        """The body of a caller's request."""
        ...

    def opening(self) -> bytes:
        """The events before the first content."""
        ...

    def text(self, words: str) -> bytes:
        """An event with content."""
        ...

    def call(self, arguments: str) -> bytes:
        """The beginning of a tool call, with a piece of its arguments."""
        ...

    def finish(self) -> bytes:
        """The events by which an answer ends well, but for the usage and the last of all."""
        ...

    def usage(self, prompt: int, completion: int) -> bytes:
        """The event that counts the tokens."""
        ...

    def last(self) -> bytes:
        """The very last event."""
        ...

    def error(self, kind: Kind) -> bytes:
        """The event by which a provider says that it failed."""
        ...

    def whole(self, words: str) -> bytes:
        """The body of a reply that is no stream."""
        ...

    def words(self, body: bytes, *, stream: bool) -> str:
        """All the text of a whole reply, or of the events of a stream that must be whole."""
        ...

    def last_word(self, events: bytes) -> tuple[bytes, str]:
        """The events before the error of the gateway, and what that error says."""
        ...

    def in_band(self, status: int, code: str) -> str:
        """What an error of the gateway says in a stream, that has these two elsewhere."""
        ...

    def refusal(self, body: bytes) -> str:
        """What an HTTP error of the gateway says."""
        ...

    def refused(self, status: int, code: str) -> str:
        """What it must say."""
        ...


def event(data: object, name: str = "") -> bytes:
    """One event; what is not text is encoded."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    kind = f"event: {name}\n" if name else ""
    return f"{kind}data: {text}\n\n".encode()


def last_event(events: bytes) -> tuple[bytes, bytes]:
    """All events but the last one, and that."""
    *before, last, after = events.split(b"\n\n")
    assert b"" == after
    return b"".join(each + b"\n\n" for each in before), last


def code_in(body: bytes) -> str:
    """The code of an error in the shape of the OpenAI API."""
    data = json.loads(body)
    assert {"error"} == data.keys()
    assert {"message", "type", "param", "code"} == data["error"].keys()
    return str(data["error"]["code"])


@final
@frozen
class Chat:
    """OpenAI chat completions."""

    who: str = "a"
    name: ClassVar[str] = "chat"
    path: ClassVar[str] = "/v1/chat/completions"
    operation: ClassVar[str] = "chat"
    ping: ClassVar[bytes] = b": ping\n\n"

    def by(self, who: str) -> Chat:
        return Chat(who)

    def leaf(self, base_url: str, transport: Transport) -> Service[Request, Reply]:
        return OpenAI(base_url, api_key="sk-planted", transport=transport)

    def asked(self, *, stream: bool) -> bytes:
        told = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        messages = [{"role": "user", "content": "hello"}]
        return json.dumps({"model": "chat", "messages": messages, **told}).encode()

    def opening(self) -> bytes:
        return self.chunk({"role": "assistant", "content": ""})

    def text(self, words: str) -> bytes:
        return self.chunk({"content": words})

    def call(self, arguments: str) -> bytes:
        named = {"name": "sh", "arguments": arguments}
        one = {"index": 0, "id": "call_1", "type": "function", "function": named}
        return self.chunk({"tool_calls": [one]})

    def finish(self) -> bytes:
        return self.chunk({}, "stop")

    def last(self) -> bytes:
        return event("[DONE]")

    def whole(self, words: str) -> bytes:
        message = {"role": "assistant", "content": words, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        counted = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        of = {"id": f"chatcmpl-{self.who}", "object": "chat.completion", "created": 1, "model": "m"}
        return json.dumps({**of, "choices": [choice], "usage": counted}).encode()

    def words(self, body: bytes, *, stream: bool) -> str:
        if not stream:
            return str(json.loads(body)["choices"][0]["message"]["content"])
        *events, done, rest = body.split(b"\n\n")
        assert (b"data: [DONE]", b"") == (done, rest)
        chunks = [json.loads(each.removeprefix(b"data: ")) for each in events]
        choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
        assert ["stop"] == [c["finish_reason"] for c in choices if c["finish_reason"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    def error(self, kind: Kind) -> bytes:
        code = OPENAI[kind]
        return event({"error": {"message": "canary words", "type": code, "code": code}})

    def last_word(self, events: bytes) -> tuple[bytes, str]:
        before, last = last_event(events)
        error = json.loads(last.removeprefix(b"data: "))["error"]
        assert {"message", "type", "param", "code", "request_id"} == error.keys()
        assert error["request_id"].startswith("req_")
        return before, error["code"]

    def in_band(self, _status: int, code: str) -> str:
        return code

    def refusal(self, body: bytes) -> str:
        return code_in(body)

    def refused(self, _status: int, code: str) -> str:
        return code

    def chunk(self, delta: dict[str, Any], finish: str | None = None, index: object = 0) -> bytes:
        """One chunk of a completion."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(self.frame([choice]))

    def usage(self, prompt: int, completion: int) -> bytes:
        """The chunk that counts the tokens."""
        total = prompt + completion
        counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
        return event({**self.frame([]), "usage": counted})

    def frame(self, choices: list[Any]) -> dict[str, Any]:
        """What all chunks have, with *choices*."""
        of = {"id": f"chatcmpl-{self.who}", "object": "chat.completion.chunk", "created": 1}
        return {**of, "model": "m", "choices": choices}


CHAT: Final = Chat()
