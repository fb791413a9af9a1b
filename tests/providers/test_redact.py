"""What is repeated of foreign texts is short and harmless."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.errors import RateLimited
from llmstack.providers.redact import clean, conceal, identifier, path, request_id, without_key
from llmstack.providers.secret import Secret


#: What came, and what may be shown of it.
SAMPLES: Final = {
    "as it is": ("max_tokens must be at least 1, got -186.", None),
    "short quotes are names": ("Unsupported value: 'temperature' in `body`.", None),
    "apostrophes are no quotes": ("This model's limit is 5. You can't ask for the sixth's.", None),
    "unpaired quote": ("it's 'open", None),
    "numbers and dates": ("gpt-4o-mini-2024-07-18 takes 128000 tokens", None),
    "a long word": ("Donaudampfschifffahrtselektrizitätenhauptbetriebswerk", None),
    "control": ("a\x00b\x1b[31mc\nd\r\n\te", "a b [31mc d e"),
    "other lines": ("a\u2028b\u2029c\u202ed\u200be", "a b c d e"),
    "spaces": ("  a   b  ", "a b"),
    "openai key": ("Incorrect key sk-abcd.", "Incorrect key ***."),
    "project key": ("sk-proj-a_b-c*d is bad", "*** is bad"),
    "groq key": ("gsk_abcd1234", "***"),
    "google key": ("AIzaSyA-1234_567", "***"),
    "token": ("eyJhbGciOi.eyJzdWIi.abc", "***"),
    "bearer": ("got Bearer abc.def/ghi", "got ***"),
    "organization": ("in organization `org-abcd1234`", "in organization `***`"),
    "hex": ("key 0123456789abcdef0123456789abcdef", "key ***"),
    "31 are not enough": ("key 0123456789abcdef0123456789abcde", None),
    "passage": ("Invalid value: 'tell me a secret' here", "Invalid value: '…' here"),
    "passage in double quotes": ('"tell me" and "b"', '"…" and "b"'),
    "passage with the other quote": ("`it's mine, mine`.", "`…`."),
    "page": ("<!DOCTYPE html><p>x", ""),
    "page, in part": ("error <b>bold</b>", ""),
    "end of an element": ("x</html>", ""),
    "less than": ("a < b and 3 <4 <= c", None),
    "no text": (None, ""),
    "bytes": (b"x", ""),
    "300": ("é " * 149 + "ab", None),
    "301": ("é " * 149 + "abc", "é " * 149 + "a…"),
}


@pytest.mark.parametrize(("came", "shown"), SAMPLES.values(), ids=SAMPLES)
def test_shows_what_the_sample_says(came: object, shown: str | None) -> None:
    """None stands for the text as it came."""
    expected = came if shown is None else shown

    assert expected == clean(came)


def test_looks_at_the_beginning_only() -> None:
    """Cleaning a huge text takes no longer than cleaning 4 KiB."""
    assert "x" == clean("x" + " " * 4095 + "late")
    assert "x late" == clean("x" + " " * 4091 + "late" + "<html>")


@given(st.text() | st.text("'\"`sk-<>/ \n\x00\u2028ab09=", max_size=400))
def test_is_one_short_line(text: str) -> None:
    """Without control characters, and nothing is left to clean."""
    shown = clean(text)

    assert len(shown) <= 300
    assert not shown or shown.isprintable()
    assert not re.search(r"(?i)\bsk-[\w*-]{4}", shown)


@pytest.mark.parametrize(
    "name",
    [
        *("rate_limit_exceeded", "DeploymentNotFound", "3505", "a", "model:x/y.z"),
        *("req_0123456789abcdef0123456789abcdef", "2f8e4c1a-0b3d-4e5f-8a9b-0123456789ab"),
        "0123456789abcdef0123456789abcdef",
        "x" * 128,
    ],
)
def test_codes_and_ids_pass(name: str) -> None:
    """Hex is how request ids look."""
    assert name == identifier(name)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 5, "", " a", "a b", "a\n", "-a", "ä", "<b>", "x" * 129),
        *("sk-abcd1234", "0123456789abcdefghijklmnopqrstuv"),
    ],
)
def test_other_things_are_no_codes(value: object) -> None:
    """Nor is what looks like a key."""
    assert identifier(value) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((each, each) for each in ("messages[0].role", "Tools", "a" * 64)),
        *((each, None) for each in (None, 5, "", "tell me", "a-b", "a" * 65, "sk_abcd1234")),
    ],
)
def test_only_a_place_is_a_path(value: object, shown: str | None) -> None:
    """What is no name of a parameter is the prompt perhaps, or a key."""
    assert shown == path(value)


IDS: Final = (
    *("x-request-id", "request-id", "apim-request-id", "x-generation-id"),
    *("x-amzn-requestid", "mistral-correlation-id"),
)


@pytest.mark.parametrize("name", IDS)
def test_an_id_has_many_names(name: str) -> None:
    """And some look like nothing that may be repeated."""
    assert "req_1" == request_id({name: "req_1", "other-id": "2"})
    assert request_id({name: "not an id"}) is None


def test_the_first_id_that_can_be_repeated_counts() -> None:
    """Where there is none, there is none."""
    named = dict(zip(IDS, ("an id", "one", "two"), strict=False))

    assert "one" == request_id(named)
    assert request_id({}) is None


def told(message: str, code: str | None, called: str | None) -> RateLimited:
    error = RateLimited(message)
    error.code, error.request_id = code, called
    return error


def test_conceals_what_has_the_key_in_it() -> None:
    """In small letters or in capitals, in any of the facts, and nothing else."""
    error = told("said Hunter2PASS", "code_hunter2pass", "req_1")
    other = told("said nothing", None, "HUNTER2pass")
    for each in (error, other):
        conceal(each, Secret("hunter2Pass"))

    assert (("",), None, "req_1") == (error.args, error.code, error.request_id)
    assert (("said nothing",), None, None) == (other.args, other.code, other.request_id)


def test_without_a_key_nothing_is_concealed() -> None:
    """An endpoint may have none."""
    error = told("said", "code", None)
    conceal(error, None)

    assert (("said",), "code") == (error.args, error.code)


@pytest.mark.parametrize("key", ["hunter2Pass", "a\\b'c\"d"])
def test_a_header_with_the_key_in_it_is_left_out(key: str) -> None:
    """Wherever in the name or the value, in small letters or in capitals; the others stay."""
    kept = {"content-type": "application/json", "retry-after": "3"}
    echoes = {
        "x-request-id": key,
        "request-id": f"req_{key.upper()}_1",
        f"x-ratelimit-{key.lower()}": "1",
    }

    assert kept == without_key({**echoes, **kept}, Secret(key))
    for name, value in echoes.items():
        assert kept == without_key({**kept, name: value}, Secret(key))


def test_headers_without_the_key_pass_as_they_are() -> None:
    """They are not even copied; nor where there is no key, or only the joint would be one."""
    headers = {"x-request-id": "hunter", "retry-after": "2pass"}

    for key in (Secret("hunter2"), Secret("hunter2pass"), None):
        assert headers is without_key(headers, key)
