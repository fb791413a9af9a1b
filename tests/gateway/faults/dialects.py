"""How a provider speaks in each dialect, and how the gateway tells an error in a stream."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final, Protocol, final

from attrs import frozen

from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport


__all__ = ["CHAT", "Chat", "Dialect", "event"]


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

    def leaf(self, base_url: str, transport: Transport, settings: dict[str, Any]) -> Any:  # noqa: ANN401 -- any leaf
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
        """An event with a piece of the arguments of a tool call."""
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

    def whole(self, words: str) -> bytes:
        """The body of a reply that is no stream."""
        ...

    def words(self, body: bytes, *, stream: bool) -> str:
        """All the text of a whole reply, or of the events of a stream that must be whole."""
        ...

    def error(self, code: str) -> bytes:
        """The event by which a provider says that it failed."""
        ...

    def last_word(self, events: bytes) -> tuple[bytes, dict[str, Any]]:
        """The events before the error of the gateway, and what that error says."""
        ...

    def refusal(self, body: bytes) -> str:
        """The code of an HTTP error of the gateway."""
        ...


def event(data: object, name: str = "") -> bytes:
    """One event; what is not text is encoded."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    kind = f"event: {name}\n" if name else ""
    return f"{kind}data: {text}\n\n".encode()


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

    def leaf(self, base_url: str, transport: Transport, settings: dict[str, Any]) -> OpenAI:
        return OpenAI(base_url, api_key="sk-planted", transport=transport, **settings)

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

    def error(self, code: str) -> bytes:
        return event({"error": {"message": "canary words", "type": code, "code": code}})

    def last_word(self, events: bytes) -> tuple[bytes, dict[str, Any]]:
        *before, last, after = events.split(b"\n\n")
        assert b"" == after
        data = json.loads(last.removeprefix(b"data: "))
        assert {"error"} == data.keys()
        assert {"message", "type", "param", "code", "request_id"} == data["error"].keys()
        return b"".join(each + b"\n\n" for each in before), data["error"]

    def refusal(self, body: bytes) -> str:
        data = json.loads(body)
        assert {"error"} == data.keys()
        assert {"message", "type", "param", "code"} == data["error"].keys()
        return str(data["error"]["code"])

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
