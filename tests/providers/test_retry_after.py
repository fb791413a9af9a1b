"""Waits that providers name, in all the ways they do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.providers.retry_after import retry_after


DATE: Final = "Sun, 06 Nov 1994 08:49:37 GMT"
NOW: Final = 784111777.0
LATER: Final = "Sun, 06 Nov 1994 08:50:37 GMT"
SLOW: Final = {"retry-after": "7"}


def used_up(reset: str, what: str = "-tokens") -> dict[str, str]:
    return {f"x-ratelimit-remaining{what}": "0", f"x-ratelimit-reset{what}": reset}


SAMPLES: Final = {
    "nothing": ({}, "", None),
    "seconds": (SLOW, "", 7.0),
    "fraction": ({"retry-after": "0.25"}, "", 0.25),
    "zero is said": ({"retry-after": "0"}, "try again in 5s", 0.0),
    "spaces": ({"retry-after": " 7\t"}, "", 7.0),
    "ms": ({"retry-after-ms": "1500"}, "", 1.5),
    "ms of Azure": ({"x-ms-retry-after-ms": "20"}, "", 0.02),
    "ms of Amazon": ({"x-amz-retry-after": "20"}, "", 0.02),
    "ms first": ({**SLOW, "retry-after-ms": "1500"}, "", 1.5),
    "bad ms, good seconds": ({**SLOW, "retry-after-ms": "soon"}, "", 7.0),
    "the order of ms": ({"x-amz-retry-after": "1", "retry-after-ms": "3000"}, "", 3.0),
    "the order of the first two": (
        {"x-ms-retry-after-ms": "1", "retry-after-ms": "3000"},
        "",
        3.0,
    ),
    "the order of the last two": (
        {"x-amz-retry-after": "1", "x-ms-retry-after-ms": "3000"},
        "",
        3.0,
    ),
    "two values of ms": ({"retry-after-ms": "1500, 2500"}, "", 2.5),
    "two values of ms, no space": ({"retry-after-ms": "2500,1500"}, "", 2.5),
    "a number before a date": ({"retry-after": f"5, {LATER}", "date": DATE}, "", 5.0),
    "hint of another word": ({}, "xretry in 5s", None),
    "hint of a date in another word": ({}, "xregain access on 1994-11-06 at 08:50 UTC", None),
    "hint of nine digits": ({}, "wait 123456789.123456 seconds", 123456789.123456),
    "hint of ten digits": ({}, "wait 1234567890 seconds", None),
    "hint of a long fraction": ({}, "wait 1.1234567 seconds", None),
    "two values": ({"retry-after": "7, 9"}, "", 9.0),
    "two values, one bad": ({"retry-after": "x,5"}, "", 5.0),
    "two dates": ({"retry-after": f"{DATE}, {LATER}", "date": DATE}, "", 60.0),
    "date": ({"retry-after": LATER, "date": DATE}, "", 60.0),
    "date that has passed": ({"retry-after": DATE, "date": LATER}, "", 0.0),
    "date by our clock": ({"retry-after": LATER}, "", 57.0),
    "date of the reply is bad": ({"retry-after": LATER, "date": "today"}, "", 57.0),
    "date of RFC 850": (
        {"retry-after": "Sunday, 06-Nov-94 08:50:37 GMT", "date": DATE},
        "",
        60.0,
    ),
    "date in another zone": ({"retry-after": LATER.replace("GMT", "CET")}, "", None),
    "date that is none": ({"retry-after": "Sun, 06 Foo 1994 08:49:37 GMT"}, "", None),
    "hour that is none": ({"retry-after": "Sun, 06 Nov 2094 24:49:37 GMT"}, "", None),
    "hint": ({}, "Please try again in 4m50.304s. Need more?", 290.304),
    "hint of retry": ({}, "retry in 10h17m5.7s", 37025.7),
    "hints": ({}, "try again in 2s or retry in 3s", 3.0),
    "hint without unit": ({}, "try again in 20", None),
    "hint that goes on": ({}, "try again in 20seconds", None),
    "hint in words": ({}, "try again in a while", None),
    "hint with a unit in words": ({}, "Please retry after 59 seconds. Or visit", 59.0),
    "hint of one second": ({}, "Try again in 1 second.", 1.0),
    "hint in fractions": ({}, "try again in 1.5 minutes", 90.0),
    "hint of hours": ({}, "TRY AGAIN IN 2 HOURS", 7200.0),
    "hint of days": ({}, "retry after 2 days", 172800.0),
    "hint of milliseconds": ({}, "retry in 250 milliseconds", 0.25),
    "hint to wait": ({}, "Please wait 31200 seconds before retrying.", 31200.0),
    "hint to wait for": ({}, "wait for 3 seconds", 3.0),
    "hint after": ({}, "retry after 7s", 7.0),
    "hint with a unit that goes on": ({}, "try again in 20 secondsx", None),
    "hint of an unknown unit": ({}, "try again in 20 fortnights", None),
    "hint inside a word": ({}, "await 3 seconds", None),
    "hints, in both ways": ({}, "retry in 2s or wait 3 seconds", 3.0),
    "hint of a date": ({}, "regain access on 1994-11-06 at 08:50 UTC.", 20.0),
    "hint of a date by their clock": (
        {"date": DATE},
        "You will regain access on 1994-11-06 at 08:50 UTC.",
        23.0,
    ),
    "hint of a date that has passed": ({}, "regain access on 1994-11-05 at 08:50 UTC", 0.0),
    "hint of a date that is none": ({}, "regain access on 1994-11-32 at 08:50 UTC", None),
    "only the first of a header is looked at": (
        {"retry-after": "7," + " " * 510 + "99", "retry-after-ms": "," * 512 + "9"},
        "",
        7.0,
    ),
    "the last sign that is looked at": ({"retry-after": "7," + " " * 509 + "9"}, "", 9.0),
    "hint after header": (SLOW, "try again in 2s", 7.0),
    "hint before reset": (used_up("9s"), "try again in 2s", 2.0),
    "reset": (used_up("6m0s"), "", 360.0),
    "reset of both": ({**used_up("1s"), **used_up("2m", "-requests")}, "", 120.0),
    "reset of what is left": (
        {
            **used_up("1s"),
            "x-ratelimit-remaining-requests": "1",
            "x-ratelimit-reset-requests": "9h",
        },
        "",
        1.0,
    ),
    "reset without a dimension": (used_up("12", ""), "", 12.0),
    "reset in seconds since 1970": (used_up("0784111787"), "", 7.0),
    "reset in seconds since 1970 by their clock": (
        {**used_up("0784111787"), "date": DATE},
        "",
        10.0,
    ),
    "reset in milliseconds since 1970": (used_up("784111790000"), "", 10.0),
    "reset that has passed": (used_up("0784111700"), "", 0.0),
    "reset of Anthropic": (
        {
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-input-tokens-reset": "1994-11-06T08:49:41Z",
        },
        "",
        1.0,
    ),
    "reset with an offset": (used_up("1994-11-06T10:49:41+02:00"), "", 1.0),
    "reset that is no date": (used_up("1994-13-06T08:49:41Z"), "", None),
    "reset of a window": (used_up("26.28409242630005", "-tokens-minute"), "", 26.28409242630005),
    "reset of a plan is none of ours": (
        {
            "anthropic-ratelimit-unified-status": "rejected",
            "anthropic-ratelimit-unified-reset": "0784111900",
        },
        "",
        None,
    ),
    "reset that is nothing": (used_up("soon"), "", None),
    "reset that is missing": ({"x-ratelimit-remaining-tokens": "0"}, "", None),
}


@pytest.mark.parametrize(("headers", "hint", "wait"), SAMPLES.values(), ids=SAMPLES)
def test_says_what_the_sample_says(headers: dict[str, str], hint: str, wait: float | None) -> None:
    """Our own clock is three seconds ahead of the provider's."""
    assert pytest.approx(wait) == retry_after(headers, hint=hint, wall=NOW + 3)


@pytest.mark.parametrize(
    ("headers", "delay", "hint", "wait"),
    [
        ({}, "46s", "retry in 9s", 46.0),
        ({}, "", "retry in 9s", 9.0),
        ({}, "soon", "retry in 9s", 9.0),
        (SLOW, "46s", "", 7.0),
        ({"retry-after": LATER, "date": DATE}, "46s", "", 60.0),
        (used_up("9s"), "0.5s", "", 0.5),
    ],
)
def test_a_delay_comes_before_the_words(
    headers: dict[str, str], delay: str, hint: str, wait: float
) -> None:
    """It is in the body too, and it is no language; what the headers say comes first."""
    assert wait == retry_after(headers, hint=hint, delay=delay)


@pytest.mark.parametrize("text", ["Sun, 06 Nov 1994 08:50:37 GMT", "", "1994-11-06T08:49:41Z"])
def test_a_date_says_nothing_without_a_clock(text: str) -> None:
    """Rather than a wait of fifty years."""
    assert retry_after({"retry-after": text, **used_up("0784111787")}) is None


@pytest.mark.parametrize(
    "text",
    [
        *("nan", "inf", "-5", "+5", "1e3", "1_0", "0x1", "٣", ".5", "5.", "1.0000000"),
        *("1234567890", "5s", "", " ", "5 5", "1 000"),
    ],
)
def test_takes_no_number_that_is_not_plain(text: str) -> None:
    """Though ``float`` would take many of them."""
    assert retry_after({"retry-after": text}) is None


@given(st.integers(0, 10**9), st.integers(-(10**6), 10**6))
def test_measures_a_date_against_the_reply(at: int, ahead: int) -> None:
    """The clocks of both sides may differ as they like."""
    sent = datetime(1999, 12, 31, tzinfo=UTC) + timedelta(seconds=at)
    until = sent + timedelta(seconds=ahead)
    headers = {
        "date": format_datetime(sent, usegmt=True),
        "retry-after": format_datetime(until, usegmt=True),
    }

    assert max(0, ahead) == retry_after(headers, wall=0.0)


NAMES: Final = (
    *("retry-after", "retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after", "date"),
    *used_up("", ""),
    *used_up(""),
)
texts = st.text(max_size=40) | st.from_regex(r"[0-9:.,TZGMTa-z +-]{0,40}", fullmatch=True)
dates = st.from_regex(
    r"[A-Z][a-z]{2,8}, [0-9]{2}[ -][A-Z][a-z]{2}[ -][0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
    fullmatch=True,
)
stamps = st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", fullmatch=True)


hints = texts | st.from_regex(
    r"(retry|try again|wait) (in|after|for) [0-9.]{1,9} ?(ms|s|hours|days|)"
    r"|regain access on [0-9]{4}-[0-9]{2}-[0-9]{2} at [0-9]{2}:[0-9]{2} UTC",
    fullmatch=True,
)


@given(st.dictionaries(st.sampled_from(NAMES), texts | dates | stamps | st.just("0")), hints, texts)
def test_never_raises(headers: dict[str, str], hint: str, delay: str) -> None:
    """Whatever a provider sends, a wait is a number from zero up, or none."""
    wait = retry_after(headers, hint=hint, delay=delay, wall=NOW)

    assert wait is None or 0 <= wait < float("inf")
