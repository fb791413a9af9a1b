"""Numbers, spans and dates, in all the ways that providers write them."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.providers.times import (
    date,
    dates,
    duration,
    first,
    largest,
    moment,
    number,
    quantity,
    smallest,
    stamp,
)


DATE: Final = "Sun, 06 Nov 1994 08:49:37 GMT"
NOW: Final = 784111777.0


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "5s5m", "1.5m", "-1s", "5 s", "5S", "1m1m"])
def test_knows_what_is_no_duration(text: str) -> None:
    """Units come in order, once each, and only the seconds have fractions."""
    assert duration(text) is None


@given(st.tuples(*[st.integers(0, 99)] * 5), st.sets(st.integers(0, 4), min_size=1))
@example((0, 0, 0, 0, 250), {4})
@example((1, 10, 17, 5, 7), {0, 1, 2, 3, 4})
def test_adds_a_duration_up(numbers: tuple[int, ...], units: set[int]) -> None:
    """Any of the units, from days to milliseconds."""
    names, worth = ("d", "h", "m", "s", "ms"), (86400, 3600, 60, 1, 0.001)
    text = "".join(f"{numbers[n]}{names[n]}" for n in sorted(units))

    assert pytest.approx(sum(numbers[n] * worth[n] for n in units)) == duration(text)


@pytest.mark.parametrize(
    ("text", "short", "long"),
    [
        *(("0", 0.0, 0.0), (" 7\t", 7.0, 7.0), ("1.5", 1.5, 1.5), ("007", 7.0, 7.0)),
        *(("999999999", 999999999.0, 999999999.0), ("1.123456", 1.123456, 1.123456)),
        *(("1000000000", None, 1e9), ("1.1234567", None, 1.1234567)),
        *(("999999999999999", None, 999999999999999.0), ("1" * 16, None, None)),
        *((f"1.{'1' * 20}", None, 1.1111111111111112), (f"1.{'1' * 21}", None, None)),
        *((text, None, None) for text in ("", " ", "-1", "+1", ".5", "5.", "1e3", "1_0", "nan")),
        *(
            (text, None, None)
            for text in ("inf", "0x1", "٣", "1 0", "1,0", "5s", "\n5", "5\n", "X5")
        ),
    ],
)
def test_takes_no_number_that_is_not_plain(
    text: str, short: float | None, long: float | None
) -> None:
    """Though ``float`` would take many of them; a count may be longer than a wait."""
    assert (short, long) == (number(text), quantity(text))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (DATE, NOW),
        (f" {DATE}\t", NOW),
        ("Sunday, 06-Nov-94 08:49:37 GMT", NOW),
        *((text, None) for text in ("", "today", DATE.replace("GMT", "UTC"), DATE + "x")),
        (f"{DATE}\n", None),
        *(("Sun, 31 Nov 1994 08:49:37 GMT", None), ("Sun, 06 Foo 1994 08:49:37 GMT", None)),
    ],
)
def test_reads_a_date_in_gmt(text: str, at: float | None) -> None:
    """As HTTP has it, and as it had it."""
    assert at == date(text)


def test_finds_each_date_in_a_list() -> None:
    """They have commas of their own."""
    assert [NOW, NOW + 1, None] == dates(f"{DATE}, {DATE[:23]}38 GMT,Sun, 31 Nov 1994 08:49:37 GMT")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1994-11-06T08:49:37Z", NOW),
        ("1994-11-06T08:49:37.5Z", NOW + 0.5),
        ("1994-11-06T10:49:37+02:00", NOW),
        ("1994-11-06T06:49:37-02:00", NOW),
        *(
            (text, None)
            for text in ("", "1994-11-06", "1994-11-06T08:49:37", "1994-13-06T08:49:37Z")
        ),
        *((text, None) for text in ("1994-11-06 08:49:37Z", "1994-11-06T08:49:37ZZ")),
    ],
)
def test_reads_a_stamp(text: str, at: float | None) -> None:
    """Of RFC 3339, with its zone."""
    assert at == stamp(text)


@pytest.mark.parametrize(
    ("text", "now", "wait"),
    [
        *(("12", NOW, 12.0), ("12", None, 12.0), (" 6m0s ", NOW, 360.0), ("250ms", None, 0.25)),
        ("11726.2840924263", None, 11726.2840924263),
        *((f"1.{'1' * 20}", None, 1.1111111111111112), (f"1.{'1' * 21}", NOW, None)),
        ("1994-11-06T08:49:41Z", NOW, 4.0),
        *(("0784111787", NOW, 10.0), ("0784111787.5", NOW, 10.5), ("784111790000", NOW, 13.0)),
        *(
            ("0784111700", NOW, 0.0),
            ("0784111787", None, None),
            ("1994-11-06T08:49:41Z", None, None),
        ),
        # Where seconds become milliseconds: in the year 5138, and in 1973.
        *(("99999999999", 0.0, 99999999999.0), ("100000000001", 0.0, 100000000.001)),
        ("100000000000", 0.0, 100000000000.0),
        *(("", NOW, None), ("soon", NOW, None), ("-5", NOW, None), ("1" * 14, NOW, None)),
        ("5\n", NOW, None),
    ],
)
def test_reads_a_reset_in_each_of_its_forms(
    text: str, now: float | None, wait: float | None
) -> None:
    """A date without a clock says nothing."""
    assert pytest.approx(wait) == moment(text, now)


@given(st.lists(st.none() | st.integers(0, 9)))
def test_takes_what_is_there(values: list[int | None]) -> None:
    """The first, the largest or the smallest of it, and nothing of nothing."""
    there = sorted(value for value in values if value is not None)

    assert (there[-1] if there else None) == largest(values)
    assert (there[0] if there else None) == smallest(values)
    assert next((value for value in values if value is not None), None) == first(*values)


@given(st.text(max_size=40))
def test_never_raises(text: str) -> None:
    """Whatever the text, there is a number from zero up or none."""
    for read in (number, quantity, duration, date, stamp, lambda text: moment(text, 0.0)):
        value = read(text)

        assert value is None or value < float("inf")
