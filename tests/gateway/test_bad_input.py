"""Bad input, on a real socket: a 4xx that says what and where, and nothing goes upstream."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import pytest

import llmstack as ls
from llmstack.gateway.fields import FORBIDDEN
from llmstack.gateway.server import LINGER
from llmstack.messages import Request
from llmstack.testing.scripted import ScriptedService, echo
from tests.gateway.stage import (
    HELLO,
    Answer,
    chat,
    chunked,
    connected,
    over,
    post,
    run,
    serving,
    talk,
)


#: Its answer is a 500: to a stack that echoes, no reply is right.
NEVER: Final = echo
GET: Final = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n"
LIMIT: Final = 2000

#: What is sent, the status, the code, the param, and words of the message.
TABLE: Final[dict[str, tuple[bytes, int, str, str | None, str]]] = {
    "no JSON": (post(b'{"model": tru}'), 400, "invalid_json", None, "line 1, column 11"),
    "cut JSON": (post(b'{\n "model":'), 400, "invalid_json", None, "line 2, column 10"),
    "no body": (post(b""), 400, "invalid_json", None, "empty"),
    "no object": (post(b"[]"), 400, "invalid_json", None, "must be an object, and it is an array"),
    "NaN": (post(chat(top_p=float("nan"))), 400, "invalid_json", None, "top_p is not a finite"),
    "overflow": (post(b'{"top_p": 1e999}'), 400, "invalid_json", None, "top_p is not a finite"),
    "a key twice": (
        post(b'{"messages": [{"role": "a", "role": "b"}]}'),
        400,
        "invalid_json",
        None,
        "messages[0].role is there twice",
    ),
    "no UTF-8": (post(b'{"model": "\xff"}'), 400, "invalid_json", None, "byte 11"),
    "too deep": (post(b"[" * 900 + b"]" * 900), 400, "invalid_json", None, "deeper than 64"),
    "wrong type": (
        post(chat(temperature="hot")),
        400,
        "invalid_value",
        "temperature",
        "temperature must be a number, and it is a string",
    ),
    "no model": (post(b'{"messages": []}'), 400, "invalid_value", "model", "must be a string"),
    "no messages": (post(b'{"model": "chat"}'), 400, "invalid_value", "messages", "at least one"),
    "no role": (
        post(chat(messages=[*HELLO, {"content": "x"}])),
        400,
        "invalid_value",
        "messages[1].role",
        "not empty",
    ),
    "no input": (
        post(b'{"model": "chat"}', path="/v1/embeddings"),
        400,
        "invalid_value",
        "input",
        "texts",
    ),
    "unknown model": (
        post(chat(model="gpt")),
        404,
        "model_not_found",
        "model",
        "no such model here; GET",
    ),
    "a place for keys": (
        post(chat(**{"Base-URL": "http://127.0.0.1:1"})),
        400,
        "forbidden_field",
        "Base-URL",
        "not for callers",
    ),
    "too long": (post(b" " * (LIMIT + 1)), 413, "payload_too_large", None, "than 2000 bytes"),
    "said to be too long": (
        post(b"", "X: y").replace(b"Length: 0", b"Length: 2001"),
        413,
        "payload_too_large",
        None,
        "than 2000 bytes",
    ),
    "an absurd length": (
        post(b"").replace(b"Length: 0", b"Length: 18446744073709551615"),
        413,
        "payload_too_large",
        None,
        "than 2000 bytes",
    ),
    "too long in chunks": (
        chunked(b" " * 2000, b" "),
        413,
        "payload_too_large",
        None,
        "than 2000 bytes",
    ),
    "bad chunks": (
        chunked(b"abc").replace(b"0\r\n\r\n", b"xyz\r\n"),
        400,
        "bad_http",
        None,
        "invalid character in chunk size",
    ),
    "no path": (GET.replace(b"/livez", b"/v1/completions"), 404, "unknown_url", None, "no such"),
    "dots": (GET.replace(b"/livez", b"/v1/../livez"), 404, "unknown_url", None, "no such"),
    "two slashes": (GET.replace(b"/livez", b"//livez"), 404, "unknown_url", None, "no such"),
    "escaped": (GET.replace(b"/livez", b"/%6civez"), 404, "unknown_url", None, "no such"),
    "a whole URL": (GET.replace(b"/livez", b"http://x/livez"), 404, "unknown_url", None, "no such"),
    "method": (GET.replace(b"GET", b"DELETE"), 405, "method_not_allowed", None, "GET or HEAD"),
    "trace": (GET.replace(b"GET", b"TRACE"), 405, "method_not_allowed", None, "GET or HEAD"),
    "get of a post": (
        GET.replace(b"/livez", b"/v1/chat/completions"),
        405,
        "method_not_allowed",
        None,
        "must be POST",
    ),
    "no method": (GET.replace(b"GET", b"FETCH"), 400, "bad_http", None, "method"),
    "version": (GET.replace(b"HTTP/1.1", b"HTTP/2.0"), 400, "bad_version", None, "1.0 or 1.1"),
    "gzip": (
        post(chat(), "Content-Encoding: gzip"),
        415,
        "unsupported_media_type",
        "Content-Encoding",
        "must be identity",
    ),
    "coded twice": (
        chunked(chat()).replace(b"chunked", b"gzip, chunked"),
        415,
        "unsupported_media_type",
        "Transfer-Encoding",
        "must be chunked",
    ),
    "form": (
        post(chat(), kind="application/x-www-form-urlencoded"),
        415,
        "unsupported_media_type",
        "Content-Type",
        "must be application/json",
    ),
    "no type": (
        post(chat(), kind=""),
        415,
        "unsupported_media_type",
        "Content-Type",
        "must be application/json",
    ),
    "charset": (
        post(chat(), kind="application/json; charset=latin-1"),
        415,
        "unsupported_media_type",
        "Content-Type",
        "must be application/json",
    ),
    "underscore": (GET + b"X_Tenant: a\r\n", 400, "bad_header", None, "underscore"),
    "two keys": (
        GET + b"Authorization: a\r\nauthorization: b\r\n",
        400,
        "bad_header",
        None,
        "authorization is there twice",
    ),
    "two hosts": (GET + b"Host: b\r\n", 400, "bad_http", None, "duplicate 'Host' header"),
    "two types": (
        post(chat(), "Content-Type: text/plain"),
        400,
        "bad_http",
        None,
        "duplicate 'Content-Type' header",
    ),
    "two lengths": (post(chat(), "Content-Length: 3"), 400, "bad_http", None, "not valid HTTP"),
    "length and chunks": (
        post(b"0\r\n\r\n", "Transfer-Encoding: chunked"),
        400,
        "bad_http",
        None,
        "not valid HTTP",
    ),
    "bad length": (
        post(b"").replace(b"Length: 0", b"Length: +0"),
        400,
        "bad_http",
        None,
        "not valid HTTP",
    ),
    "no header": (GET + b"nonsense\r\n", 400, "bad_http", None, "not valid HTTP"),
    "long header": (GET + b"X: " + b"y" * 9000 + b"\r\n", 400, "bad_http", None, "too long"),
    "control": (GET + b"X: a\x00b\r\n", 400, "bad_http", None, "not valid HTTP"),
    "no HTTP": (b"\x16\x03\x01\x02\x00\r\n", 400, "bad_http", None, "not valid HTTP"),
}


def complete(sent: bytes) -> bytes:
    """*sent* with the end of its head, where it has none."""
    return sent if b"\r\n\r\n" in sent else sent + b"\r\n"


@pytest.mark.parametrize(("sent", "status", "code", "param", "words"), TABLE.values(), ids=TABLE)
def test_bad_input_is_told_what_and_where(
    sent: bytes,
    status: int,
    code: str,
    param: str | None,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the OpenAI shape, with an id, without a traceback, and nothing is sent upstream."""
    upstream: ScriptedService[Request, ls.Response] = ScriptedService([])

    async def main() -> Answer:
        async with serving(over(upstream), max_body=LIMIT) as url:
            return await talk(url, complete(sent))

    answer = run(main())

    assert (status, param) == (answer.status, answer.error["param"])
    assert code == answer.error["code"]
    assert words in answer.error["message"]
    assert "invalid_request_error" == answer.error["type"]
    assert "application/json" == answer.headers["content-type"]
    assert answer.headers["x-request-id"].startswith("req_")
    assert [] == upstream.calls
    assert [] == caplog.records


@pytest.mark.parametrize(("path", "allow"), [("/livez", "GET, HEAD"), ("/v1/embeddings", "POST")])
def test_a_wrong_method_is_told_which_are_right(path: str, allow: str) -> None:
    """In the header that is made for it."""

    async def main() -> Answer:
        async with serving(over(NEVER)) as url:
            return await talk(url, f"PUT {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    assert allow == run(main()).headers["allow"]


def test_no_spelling_of_a_forbidden_field_passes() -> None:
    """Each of ninety names, in capitals, with dashes, with underscores."""

    async def main() -> list[tuple[int, bool]]:
        found = []
        async with serving(over(NEVER)) as url:
            for name in sorted(FORBIDDEN):
                for spelled in (name, name.upper(), f"_{name[:3]}-{name[3:]}"):
                    answer = await talk(url, post(chat(**{spelled: "http://127.0.0.1:1"})))
                    found.append((answer.status, answer.error["param"] == spelled))
        return found

    assert {(400, True)} == set(run(main()))


@pytest.mark.parametrize(
    "name", ["base_url", "api_key", "extra_headers", "api_base", "organization"]
)
def test_what_the_sdk_could_add_is_forbidden(name: str) -> None:
    """The usual names, as they are usually spelled."""

    async def main() -> Answer:
        async with serving(over(NEVER)) as url:
            return await talk(url, post(chat(**{name: None})))

    assert name == run(main()).error["param"]


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    """The answer comes while the body is still being announced, and ends the connection."""

    async def main() -> Answer:
        async with serving(over(NEVER), max_body=10) as url:
            return await talk(url, post(b"").replace(b"Length: 0", b"Length: 11"))

    answer = run(main())

    assert (413, True) == (answer.status, answer.closed)


@pytest.mark.parametrize(
    ("length", "status"), [(0, 200), (1, 413)], ids=["the limit", "a byte more"]
)
def test_the_limit_itself_is_allowed(length: int, status: int) -> None:
    """At once, in pieces, and in chunks."""
    body = chat()

    async def upstream(_request: Request) -> ls.Response:
        return ls.Response(b"{}")

    async def main() -> list[int]:
        async with serving(over(upstream), max_body=len(body) - length) as url:
            whole = post(body)
            pieces = chunked(body[:20], body[20:])
            answers = [
                await talk(url, whole),
                await talk(url, whole[:-20], 0.1, whole[-20:]),
                await talk(url, pieces[:-40], 0.1, pieces[-40:]),
                await talk(url, pieces),
            ]
            return [answer.status for answer in answers]

    assert [status] * 4 == run(main())


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """Not for longer than the setting says, however slowly it drips; the connection ends."""

    async def main() -> tuple[Answer, float]:
        loop = asyncio.get_running_loop()
        async with serving(over(NEVER), body_timeout=7) as url:
            started = loop.time()
            body = chat()
            sent = post(body)
            return await talk(url, sent[:-50], 3.0, sent[-50:-40]), loop.time() - started

    answer, elapsed = run(main())

    assert (408, "request_timeout", True) == (answer.status, answer.error["code"], answer.closed)
    assert "within 7 seconds" in answer.error["message"]
    assert 7 + LINGER == pytest.approx(elapsed, abs=0.1)  # for a while what comes is thrown away


def test_a_client_that_leaves_in_its_body_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is asked, nothing is logged."""

    async def main() -> None:
        async with serving(over(NEVER)) as url:
            _, writer = await connected(url)
            writer.write(post(chat())[:-5])
            await asyncio.sleep(1)
            writer.close()
            await asyncio.sleep(1)

    run(main())

    assert [] == caplog.records


def test_the_body_is_invited_only_if_it_is_welcome() -> None:
    """A client that asks first gets 100, or at once what is wrong."""

    async def upstream(_request: Request) -> ls.Response:
        return ls.Response(b"{}")

    async def main() -> tuple[bytes, int]:
        async with serving(over(upstream), max_body=1000) as url:
            reader, writer = await connected(url)
            head, body = post(chat(), "Expect: 100-continue").split(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n")
            invited = await reader.readuntil(b"\r\n\r\n")
            writer.write(body)
            first = await reader.readline()
            writer.close()
            await writer.wait_closed()
            long = post(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 1001")
            refused = await talk(url, long)
            return invited + first, refused.status

    assert (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 413) == run(main())


def test_requests_on_one_connection_are_answered_in_turn() -> None:
    """A bad one does not spoil the next, and two at once are two."""
    body = post(b"nonsense") + post(chat())

    async def upstream(_request: Request) -> ls.Response:
        return ls.Response(json.dumps({"n": 1}).encode())

    async def main() -> list[bytes]:
        async with serving(over(upstream)) as url:
            reader, writer = await connected(url)
            writer.write(body)
            first = await reader.readuntil(b"}}")
            second = await reader.readuntil(b"}")
            writer.close()
            await writer.wait_closed()
            return [first.split(b"\r\n")[0], second.split(b"\r\n")[0]]

    assert [b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 200 OK"] == run(main())
