"""What is wrong with a change: told with what it is, where it is, and what there is instead."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from tests.gateway.admin.stage import administered, send, two
from tests.gateway.stage import Answer, run


CORPUS: Final = Path(__file__).parents[2] / "corpus" / "admin" / "mistakes.txt"
LINES: Final = CORPUS.read_text().partition("\n\n")[2].splitlines()
LONG: Final = "9" * 400


def test_what_is_wrong_is_told_with_its_place_and_changes_nothing() -> None:
    """One line for each mistake; and nobody is logged to have changed anything."""

    async def main() -> list[str]:
        async with administered(two()) as both:
            before = await both.reads("/routes/chat")
            found = []
            for line in LINES[::2]:
                what, _, body = line.partition(" ")
                answer = await both.asks(send(f"/routes/chat/{what}", body.encode()))
                error = answer.error
                found.append(f"    {answer.status} {error['param'] or '-'} {error['message']}")
            assert before == await both.reads("/routes/chat")
            return found

    with capture_logs() as logs:
        found = run(main())

    assert LINES[1::2] == found
    assert [] == logs


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (f'{{"do": "reweight", "endpoint": "eu", "weight": {LONG}}}', (), 400, "invalid_value"),
        (" " * 65_537, (), 413, "payload_too_large"),
        (" " * 65_536, (), 400, "invalid_json"),
        ("{}", ("Content-Encoding: gzip",), 415, "unsupported_media_type"),
    ],
    ids=["long number", "too long", "long", "compressed"],
)
def test_a_body_has_the_limits_of_any_body(
    body: str, headers: tuple[str, ...], status: int, code: str
) -> None:
    """Those of the gateway, but for its length: 64 KiB."""

    async def main() -> Answer:
        async with administered(two()) as both:
            return await both.asks(send("/routes/chat/endpoint", body.encode(), *headers))

    answer = run(main())

    assert (status, code) == (answer.status, answer.error["code"])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_change_is_json_as_no_form_of_a_web_page_is(kind: str) -> None:
    """What a page can send without asking first is not taken."""
    change = send("/routes/chat/endpoint", {"do": "disable", "endpoint": "eu"})
    line = b"Content-Type: application/json"

    async def main() -> tuple[Answer, str]:
        async with administered(two()) as both:
            instead = f"Content-Type: {kind}".encode() if kind else b"X-Kind: none"
            return await both.asks(change.replace(line, instead)), await both.who()

    answer, who = run(main())

    assert (415, "unsupported_media_type", "eu") == (answer.status, answer.error["code"], who)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """As long as for any body, and then its connection is closed."""

    async def main() -> Answer:
        async with administered(two(), body_timeout=3) as both:
            return await both.asks(send("/routes/chat/endpoint", b"{}")[:-1])

    answer = run(main())

    assert (408, "request_timeout", True) == (answer.status, answer.error["code"], answer.closed)
