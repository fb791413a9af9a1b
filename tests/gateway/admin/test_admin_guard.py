"""Who may speak to the admin API: with a token whoever has it, without one this machine alone."""

from __future__ import annotations

import re
from typing import Final

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.gateway.admin.settings import Admin
from llmstack.gateway.routes import Gateway
from llmstack.providers.loopback import is_loopback
from tests.gateway.admin.stage import administered, answers, read, send, two
from tests.gateway.stage import Answer, over, run


TOKEN: Final = "t0ken-of-the-admin"
RIGHT: Final = f"Authorization: Bearer {TOKEN}"
CHANGE: Final = {"do": "disable", "endpoint": "eu"}


async def asked(requests: list[bytes], token: str | None = TOKEN) -> list[Answer]:
    """What is answered to each of *requests*."""
    async with administered(two(), token) as both:
        return [await both.asks(each) for each in requests]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (RIGHT, 200),
        (f"authorization: bearer  {TOKEN}  ", 200),
        ("X-Other: 1", 401),
        ("Authorization: Bearer", 401),
        ("Authorization: Bearer ", 401),
        (f"Authorization: {TOKEN}", 401),
        (f"Authorization: Basic {TOKEN}", 401),
        (f"Authorization: Bearer{TOKEN}", 401),
        (f"Authorization: Bearer {TOKEN[:-1]}", 401),
        (f"Authorization: Bearer {TOKEN}x", 401),
        (f"Authorization: Bearer {TOKEN.upper()}", 401),
        (f"Authorization: Bearer {TOKEN} {TOKEN}", 401),
        (f"Authorization: Bearer \u00fc{TOKEN}", 401),
        (f"X-Api-Key: {TOKEN}", 401),
        (f"{RIGHT}\r\nAuthorization: Basic x", 400),
        (f"Authorization: Basic x\r\n{RIGHT}", 400),
        (f"{RIGHT}\r\nX_A: b", 400),
    ],
)
def test_a_token_lets_in_whoever_has_it(line: str, status: int) -> None:
    """Whatever the host and the origin, to read and to change; nobody else does either."""
    requests = [
        read("/livez", line),
        read("/readyz", line, "Origin: https://anywhere.test", host="anywhere.test"),
        send("/routes/chat/endpoint", CHANGE, *line.split("\r\n")),
    ]

    with capture_logs() as logs:
        found = run(asked(requests))

    assert [status] * 3 == [answer.status for answer in found]
    assert (status == 200) == bool(logs)
    for answer in found if status == 401 else ():
        assert ("unauthorized", True) == (answer.error["code"], answer.closed)
        assert 'Bearer realm="llmstack admin"' == answer.headers["www-authenticate"]


def test_who_may_not_speak_does_not_learn_what_there_is() -> None:
    """A path that is not there, a method, a route: all alike, and no body is read for it."""
    paths = ["/livez", "/nowhere", "/routes/chat", "/routes/other", "/routes/chat/plan?model=x"]
    requests = [read(path) for path in paths]
    requests += [read("/livez", method="DELETE"), send("/routes/x/endpoint", CHANGE)[:-9]]

    found = run(asked(requests))

    bodies = {re.sub(r"req_\w+", "", answer.body.decode()) for answer in found}
    assert 1 == len(bodies)
    assert {401} == {answer.status for answer in found}


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        *(((f"Host: {host}",), "") for host in ("127.0.0.1", "127.0.0.1:8081", "[::1]:8081")),
        *(
            ((f"Host: {host}",), "")
            for host in ("localhost", "LocalHost:1", "127.9.9.9:0", "[::1]")
        ),
        *(
            ((f"Host: {host}",), "forbidden_host")
            for host in (
                *("gateway", "evil.test", "127.0.0.1.evil.test", "localhost.evil.test:8081", ""),
                *("0.0.0.0", "[::]", "::1", "127.0.0.1:1:1", "127.0.0.1:x", ":8081", "127.1"),
                *("x@127.0.0.1", "127.0.0.1@evil.test", "[127.0.0.1", "evil.test[::1]", "10.0.0.1"),
            )
        ),
        *(
            (("Host: 127.0.0.1:8081", f"Origin: {origin}"), "forbidden_origin")
            for origin in ("http://127.0.0.1:8081", "null", "https://evil.test", "")
        ),
        (("Host: 127.0.0.1", "Host: evil.test"), "bad_http"),
    ],
    ids=str,
)
def test_without_a_token_only_this_machine_is_let_in(lines: tuple[str, ...], code: str) -> None:
    """A browser says which page asks, or which name was bent; whoever is no browser need not."""
    requests = [
        each.replace(b"Host: 127.0.0.1", "\r\n".join(lines).encode())
        for each in (read("/livez"), send("/routes/chat/endpoint", CHANGE))
    ]

    with capture_logs() as logs:
        found = run(asked(requests, None))

    assert [code] * 2 == ["" if each.status == 200 else each.error["code"] for each in found]
    assert (code == "") == bool(logs)
    status = {"": 200, "bad_http": 400}.get(code, 403)
    assert [(status, bool(code))] * 2 == [(answer.status, answer.closed) for answer in found]


def test_a_request_without_a_host_is_from_nowhere() -> None:
    """The oldest version of HTTP lets it out."""
    (answer,) = run(asked([b"GET /livez HTTP/1.0\r\n\r\n"], None))

    assert (403, "forbidden_host", "Host") == (
        answer.status,
        answer.error["code"],
        answer.error["param"],
    )


def test_a_token_may_change_and_may_fail() -> None:
    """The one that is good now counts; without one nobody is let in."""
    tokens = [TOKEN]

    async def main() -> list[Answer]:
        found = []
        async with administered(two(), lambda: tokens[0]) as both:
            for now in (TOKEN, "another", ""):
                tokens[0] = now
                found.append(await both.asks(read("/livez", RIGHT)))
        return found

    found = run(main())

    assert [(200, False), (401, True), (503, True)] == [(a.status, a.closed) for a in found]
    assert ["unauthorized", "no_token"] == [answer.error["code"] for answer in found[1:]]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "gateway.test", "", "127.1"])
def test_others_can_reach_it_only_with_a_token(host: str) -> None:
    """What can be reached from elsewhere is told when it is set, and what to do."""
    with pytest.raises(ls.ConfigError) as raised:
        Admin(listen=(host, 8081))

    told = "can be reached from elsewhere; set a token, or listen at 127.0.0.1"
    assert f"listen: {host} {told}" == raised.value.message
    assert not is_loopback(host)
    assert host == Admin(listen=(host, 8081), token=TOKEN).listen[0]


def test_a_token_is_what_a_header_can_carry_and_is_never_shown() -> None:
    """An empty one would let everybody in; of blanks alone nobody could send it."""
    for token in ("", "   ", "a\nb", "ü"):
        with pytest.raises(ls.ConfigError, match="token is empty or has signs that a header"):
            Admin(token=token)

    assert TOKEN not in repr(Admin(token=TOKEN))


def test_the_gateway_and_the_admin_api_do_not_share_a_port() -> None:
    """Unless each takes a free one."""
    routes = {"chat": over(answers)}
    anywhere = Admin(listen=("127.0.0.1", 0))
    for port in (0, 8080):
        assert anywhere is Gateway(routes=routes, listen=("127.0.0.1", port), admin=anywhere).admin

    with pytest.raises(ls.ConfigError, match="it listens where the gateway does; give it another"):
        Gateway(routes=routes, listen=("127.0.0.1", 8081), admin=Admin())
