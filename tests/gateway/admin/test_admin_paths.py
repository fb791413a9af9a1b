"""The paths of the admin API: as they were sent, with the name of a route in one segment."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmstack.gateway.admin.edge import OF_ROUTE, PATHS
from llmstack.gateway.server import PATHS as PUBLIC
from tests.gateway.admin.stage import administered, answers, read, send
from tests.gateway.stage import Answer, connected, get, over, run, serving, talk


NAMES: Final = ["chat", "*", "a/b", "a b", "%2F", "..", "ü/é", "chat/plan", "{route}", "a?b", ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_route_is_one_segment_decoded_once(name: str) -> None:
    """Any name can be reached, and no other is reached by it."""

    async def main() -> list[str]:
        async with administered({each: over(answers) for each in NAMES}) as both:
            encoded = quote(name, safe="")
            every = "".join(f"%{byte:02x}" for byte in name.encode())
            return [
                (await both.reads(f"/routes/{each}?x=%zz"))["name"] for each in {encoded, every}
            ]

    assert {name} == set(run(main()))


@settings(max_examples=20, deadline=None)
@given(names=st.lists(st.text(max_size=6), min_size=1, max_size=5, unique=True))
def test_every_route_has_a_path_of_its_own(names: list[str]) -> None:
    """Whatever the names are, the path leads to the one that it was made of."""
    names = [name for name in names if name.isprintable()] or ["chat"]

    async def main() -> list[str]:
        async with administered({name: over(answers) for name in names}) as both:
            paths = [f"/routes/{quote(name, safe='')}" for name in names]
            return [(await both.reads(path))["name"] for path in paths]

    assert names == run(main())


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/livez/", "//livez", "/%6civez", "/v1/../livez", "/LIVEZ", "/plan", "/breaker"),
        *("/routes/a/b", "/routes/a/plan/", "/routes/a//plan", "/routes/%zz", "/routes/a%2"),
        *("/routes/%ff", "/routes/%61%", "/v1/models", "/routesa", "/a", "http://127.0.0.1/livez"),
    ],
)
def test_any_other_path_leads_nowhere(path: str) -> None:
    """What it could be is told."""
    there = "/livez, /readyz, /metrics, /routes, /routes/NAME, /routes/NAME/plan, /routes/NAME/"

    answer = run(asked(path))

    assert (404, "unknown_url") == (answer.status, answer.error["code"])
    assert f"there is no such path; there are: {there}" in answer.error["message"]


@pytest.mark.parametrize(
    "path",
    [
        *("/routes/", "/routes/{route}", "/routes/a%2Fplan", "/routes/a;b", "/routes/A"),
        *("/routes/%2561", "/routes/chat", "/routes//plan", "/routes/a+", "/routes/%2A%2A"),
    ],
)
def test_any_other_route_is_none(path: str) -> None:
    """Also where there is one that takes every other model: its name is ``*``."""
    answer = run(asked(path))

    assert (404, "unknown_route") == (answer.status, answer.error["code"])
    assert answer.error["message"].endswith("; there are: a, *")


async def asked(path: str) -> Answer:
    """What is answered at *path* where the routes are a and ``*``."""
    async with administered({"a": over(answers), "*": over(answers)}) as both:
        return await both.asks(read(path))


@pytest.mark.parametrize("path", [*PATHS, *(f"/routes/chat{rest}" for rest in OF_ROUTE)])
def test_a_method_that_a_path_does_not_know_is_told(path: str) -> None:
    """Nothing that changes anything is done by a GET; HEAD is GET without the body."""
    way = PATHS.get(path) or OF_ROUTE[path.removeprefix("/routes/chat")]

    async def main() -> list[Answer]:
        async with administered({"chat": over(answers)}) as both:
            found = [await both.asks(read(path, method=each)) for each in ("GET", "PUT", "DELETE")]
            return [*found, await both.asks(send(path, {})), await both.asks(old)]

    old = read(path, method=way.methods[0]).replace(b"HTTP/1.1", b"HTTP/2.0")
    found = run(main())

    known = ["GET" in way.methods, False, False, "POST" in way.methods]
    assert known == [answer.status != 405 for answer in found[:4]]
    assert {", ".join(way.methods)} == {
        each.headers["allow"] for each in found if each.status == 405
    }
    assert (400, True) == (found[-1].status, found[-1].closed)
    assert set(way.methods) in ({"GET", "HEAD"}, {"POST"}, {"GET", "HEAD", "POST"})


def test_a_head_is_a_get_without_its_body() -> None:
    """Of all that can be read."""
    rests = [rest for rest, way in OF_ROUTE.items() if "HEAD" in way.methods and rest != "/plan"]
    paths = [*(path for path in PATHS if path != "/metrics"), *(f"/routes/a{r}" for r in rests)]

    async def main() -> list[bytes]:
        async with administered({"a": over(answers)}) as both:
            found = []
            for path in paths:
                reader, writer = await connected(both.admin)
                writer.write(read(path, "Connection: close", method="HEAD"))
                found.append(await reader.read())
                writer.close()
            return found

    for said in run(main()):
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.endswith(b"\r\n\r\n")


def test_the_public_listener_has_none_of_it() -> None:
    """With an admin API and without: its paths are what they were."""
    paths = ["/routes", "/routes/chat", "/routes/chat/plan", "/routes/chat/breaker"]

    async def main() -> list[tuple[int, bytes]]:
        async with administered(over(answers)) as both, serving(over(answers)) as url:
            found = [await talk(at, get(path)) for at in (both.url, url) for path in paths]
            found += [await talk(at, get("/readyz")) for at in (both.url, url)]
            return [(each.status, each.body) for each in found]

    *nowhere, one, other = run(main())

    assert {404} == {status for status, _ in nowhere}
    assert (200, b'{"status": "ok"}') == one == other
    assert {"/livez", "/readyz", "/metrics"} == set(PATHS) & set(PUBLIC)
