"""What is left of a limit, in the headers that providers send."""

from __future__ import annotations

from itertools import product
from typing import Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmstack.providers.rate_headers import RateFacts, Unit, rate_facts


DATE: Final = "Sun, 06 Nov 1994 08:49:37 GMT"
NOW: Final = 784111777.0


def said(*names: str) -> dict[str, str]:
    """``name: value`` of each."""
    return {name: value for name, _, value in (each.partition(": ") for each in names)}


SAMPLES: Final[dict[str, tuple[dict[str, str], list[RateFacts]]]] = {
    "OpenAI": (
        said(
            "x-ratelimit-limit-requests: 10000",
            "x-ratelimit-limit-tokens: 30000000",
            "x-ratelimit-remaining-requests: 9999",
            "x-ratelimit-remaining-tokens: 29999985",
            "x-ratelimit-reset-requests: 6ms",
            "x-ratelimit-reset-tokens: 6m0s",
            "x-request-id: req_1",
            "openai-processing-ms: 300",
        ),
        [
            RateFacts("requests", None, 10000, 9999, 0.006),
            RateFacts("tokens", None, 30000000, 29999985, 360),
        ],
    ),
    "Azure": (
        said(
            "x-ratelimit-remaining-requests: 9",
            "x-ratelimit-remaining-tokens: 0",
            "x-ratelimit-limit-tokens: 10000",
            "x-ratelimit-reset-tokens: 59",
        ),
        [RateFacts("requests", None, None, 9), RateFacts("tokens", None, 10000, 0, 59)],
    ),
    "Groq": (
        said(
            "retry-after: 2",
            "x-ratelimit-limit-requests: 14400",
            "x-ratelimit-limit-tokens: 18000",
            "x-ratelimit-remaining-requests: 14370",
            "x-ratelimit-remaining-tokens: 17997",
            "x-ratelimit-reset-requests: 2m59.56s",
            "x-ratelimit-reset-tokens: 7.66s",
        ),
        [
            RateFacts("requests", None, 14400, 14370, 179.56),
            RateFacts("tokens", None, 18000, 17997, 7.66),
        ],
    ),
    "Cerebras": (
        said(
            "x-ratelimit-limit-requests-day: 14400",
            "x-ratelimit-limit-tokens-minute: 60000",
            "x-ratelimit-remaining-requests-day: 13693",
            "x-ratelimit-remaining-tokens-minute: 60000",
            "x-ratelimit-reset-requests-day: 11726.2840924263",
            "x-ratelimit-reset-tokens-minute: 26.28409242630005",
        ),
        [
            RateFacts("requests", 86400, 14400, 13693, 11726.2840924263),
            RateFacts("tokens", 60, 60000, 60000, 26.28409242630005),
        ],
    ),
    "Mistral": (
        said(
            "x-ratelimit-limit-req-minute: 60",
            "x-ratelimit-limit-tokens-minute: 50000",
            "x-ratelimit-limit-tokens-month: 10000000000",
            "x-ratelimit-remaining-req-minute: 59",
            "x-ratelimit-remaining-tokens-minute: 47196",
            "x-ratelimit-remaining-tokens-month: 9999997196",
            "x-ratelimit-tokens-query-cost: 2804",
        ),
        [
            RateFacts("requests", 60, 60, 59),
            RateFacts("tokens", 60, 50000, 47196),
            RateFacts("tokens", 2592000, 10000000000, 9999997196),
        ],
    ),
    "Mistral, before": (
        said(
            "ratelimitbysize-limit: 500000",
            "ratelimitbysize-query-cost: 32016",
            "ratelimitbysize-remaining: 467984",
            "ratelimitbysize-reset: 11",
            "x-ratelimitbysize-limit-minute: 500000",
            "x-ratelimitbysize-limit-month: 1000000000",
            "x-ratelimitbysize-remaining-minute: 467984",
            "x-ratelimitbysize-remaining-month: 999967984",
        ),
        [
            RateFacts("tokens", None, 500000, 467984, 11),
            RateFacts("tokens", 60, 500000, 467984),
            RateFacts("tokens", 2592000, 1000000000, 999967984),
        ],
    ),
    "OpenRouter": (
        said(
            f"date: {DATE}",
            "X-RateLimit-Limit: 20",
            "X-RateLimit-Remaining: 0",
            "X-RateLimit-Reset: 784111807000",
        ),
        [RateFacts("requests", None, 20, 0, 30)],
    ),
    "Together": (
        said(
            "x-ratelimit-limit: 60",
            "x-ratelimit-remaining: 59",
            "x-ratelimit-reset: 1",
            "x-tokenlimit-limit: 180000",
            "x-tokenlimit-remaining: 179000",
        ),
        [RateFacts("requests", None, 60, 59, 1), RateFacts("tokens", None, 180000, 179000)],
    ),
    "Fireworks": (
        said(
            "x-ratelimit-limit-tokens-generated: 100",
            "x-ratelimit-remaining-tokens-generated: 90",
            "x-ratelimit-limit-tokens-prompt: 1000",
            "x-ratelimit-over-limit: no",
        ),
        [
            RateFacts("output_tokens", None, 100, 90),
            RateFacts("input_tokens", None, 1000),
        ],
    ),
    "Nous": (
        said("x-ratelimit-limit-requests-1h: 800", "x-ratelimit-remaining-requests-1h: 796"),
        [RateFacts("requests", 3600, 800, 796)],
    ),
    "the draft of a standard": (
        said("ratelimit-limit: 100, 100;w=60", "ratelimit-remaining: 50", "ratelimit-reset: 20,30"),
        [RateFacts("requests", None, 100, 50, 30)],
    ),
    "Anthropic": (
        said(
            f"date: {DATE}",
            "anthropic-ratelimit-requests-limit: 50",
            "anthropic-ratelimit-requests-remaining: 49",
            "anthropic-ratelimit-requests-reset: 1994-11-06T08:49:38Z",
            "anthropic-ratelimit-input-tokens-limit: 30000",
            "anthropic-ratelimit-input-tokens-remaining: 0",
            "anthropic-ratelimit-input-tokens-reset: 1994-11-06T08:50:37Z",
            "anthropic-ratelimit-output-tokens-limit: 8000",
            "anthropic-ratelimit-output-tokens-remaining: 8000",
            "anthropic-ratelimit-output-tokens-reset: 1994-11-06T08:49:37Z",
            "anthropic-ratelimit-tokens-remaining: 8000",
            "anthropic-priority-input-tokens-limit: 10000",
        ),
        [
            RateFacts("input_tokens", None, 10000),
            RateFacts("input_tokens", None, 30000, 0, 60),
            RateFacts("output_tokens", None, 8000, 8000, 0),
            RateFacts("requests", None, 50, 49, 1),
            RateFacts("tokens", None, None, 8000),
        ],
    ),
    "Anthropic, a plan": (
        said(
            "anthropic-ratelimit-unified-status: rejected",
            "anthropic-ratelimit-unified-reset: 0784111877",
            "anthropic-ratelimit-unified-representative-claim: five_hour",
            "anthropic-ratelimit-unified-5h-status: rejected",
            "anthropic-ratelimit-unified-5h-utilization: 1.02",
            "anthropic-ratelimit-unified-7d-status: allowed",
            "anthropic-ratelimit-unified-7d-utilization: 0.25",
            "anthropic-ratelimit-unified-7d-reset: 0784112777",
            "anthropic-ratelimit-unified-7d_sonnet-utilization: 1.25",
            "anthropic-ratelimit-unified-30d-status: allowed",
            "anthropic-ratelimit-unified-1m-reset: 9",
            "anthropic-ratelimit-unified-10s-limit: 9",
            "anthropic-ratelimit-unified-overage-status: rejected",
        ),
        [
            RateFacts("share", None, 1, 0, 97),
            RateFacts("share", 60, None, None, 9),
            RateFacts("share", 18000, 1, 0),
            RateFacts("share", 604800, 1, 0.75, 997),
            RateFacts("share", 604800, 1, 0),
        ],
    ),
    "a plan is nothing to others": (
        said(
            "x-ratelimit-status: rejected", "x-ratelimit-utilization: 0.5", "x-ratelimit-limit: 7"
        ),
        [RateFacts("requests", None, 7)],
    ),
    "an hour, and a second": (
        said("x-ratelimit-limit-hour: 7", "x-ratelimit-limit-second: 1"),
        [RateFacts("requests", 3600, 7), RateFacts("requests", 1, 1)],
    ),
    "several values of a plan": (
        said("anthropic-ratelimit-unified-utilization: 0.25, 0.5, x"),
        [RateFacts("share", None, 1, 0.5)],
    ),
    "what is counted where nothing says so": (
        said("anthropic-ratelimit-limit: 7", "anthropic-priority-limit: 8"),
        [RateFacts("tokens", None, 8), RateFacts("requests", None, 7)],
    ),
    "windows of other lengths": (
        said(
            "x-ratelimit-limit-9999s: 7",
            "x-ratelimit-limit-10000s: 7",
            "x-ratelimit-limit-2m_a: 7",
            f"x-ratelimit-limit-3m_{'a' * 32}: 7",
            f"x-ratelimit-limit-4m_{'a' * 33}: 7",
        ),
        [
            RateFacts("requests", 120, 7),
            RateFacts("requests", 180, 7),
            RateFacts("requests", 9999, 7),
        ],
    ),
    "several values": (
        said("x-ratelimit-remaining: 7, 3", "x-ratelimit-reset: 1s, 2s", "x-ratelimit-limit: 9,x"),
        [RateFacts("requests", None, 9, 3, 2)],
    ),
    "no word that nobody knows": (
        said("x-ratelimit-limit-cats: 7", "x-ratelimit-limit-tokens-fortnight: 7"),
        [],
    ),
    "nothing said, or two things": (
        said("x-ratelimit-tokens: 7", "x-ratelimit-limit-reset: 7", "x-ratelimit: 7"),
        [],
    ),
    "no number": (
        said("x-ratelimit-limit: -1", "x-ratelimit-remaining: nan", "x-ratelimit-reset: soon"),
        [],
    ),
    "other families": (
        said(
            "limit: 7", "x-limit: 7", "x-rate-limit: 7", "anthropic-limit: 7", "x-tokens-limit: 7"
        ),
        [],
    ),
}


@pytest.mark.parametrize(("headers", "facts"), SAMPLES.values(), ids=SAMPLES)
def test_says_what_the_headers_say(headers: dict[str, str], facts: list[RateFacts]) -> None:
    """Our own clock is three seconds ahead of the provider's."""
    assert facts == [*rate_facts(headers, wall=NOW + 3)]


def test_a_date_says_nothing_without_a_clock() -> None:
    """The rest does."""
    headers = said("x-ratelimit-reset: 0784111787", "x-ratelimit-limit: 7")

    assert (RateFacts("requests", None, 7),) == rate_facts(headers)


def test_knows_what_is_used_up() -> None:
    """That it is, and not that it may be."""
    assert [True, False, False] == [
        RateFacts("tokens", remaining=left).used_up for left in (0.0, 0.5, None)
    ]


def test_a_header_that_comes_twice_is_one() -> None:
    """aiohttp keeps both, in whichever letters: the least favourable counts."""
    headers = CIMultiDict(
        [("X-RateLimit-Remaining", "7"), ("x-ratelimit-remaining", "3"), ("X-RATELIMIT-RESET", "1")]
    )
    turned = CIMultiDict([*headers.items()][::-1])

    assert (RateFacts("requests", None, None, 3, 1),) == rate_facts(headers)
    assert rate_facts(headers) == rate_facts(turned)


def test_what_is_not_said_is_not_known() -> None:
    """Nothing but the unit has to be."""
    assert RateFacts("requests", None, None, None, None) == RateFacts("requests")


def test_looks_at_so_much_and_no_more() -> None:
    """A hundred headers of the families, 80 signs of a name and 200 of a value."""
    many = {f"x-ratelimit-limit-{n}h": "1" for n in range(101)}
    padded = {"x-ratelimit-limit": "," * 199 + "7", "x-ratelimit-remaining": "," * 200 + "7"}
    named = {f"x-ratelimit-limit{'-minute' * 9}": "80", f"x-ratelimit-limit{'-day' * 16}": "81"}

    assert 100 == len(rate_facts({f"other-{n}": "1" for n in range(200)} | many))
    assert (RateFacts("requests", None, 7),) == rate_facts(padded)
    assert (RateFacts("requests", 60, 80),) == rate_facts(named)


words = ("tokens", "requests", "input", "output", "minute", "day", "5h", "unified", "cats", "")
names = st.builds(
    "-".join,
    st.tuples(
        st.sampled_from(("x-ratelimit", "anthropic-ratelimit", "ratelimitbysize", "x", "")),
        *[st.sampled_from((*words, "limit", "remaining", "reset", "status", "utilization"))] * 3,
    ),
)
values = st.text(max_size=30) | st.from_regex(r"[0-9.,msh TZ:-]{0,30}", fullmatch=True)


@given(
    st.dictionaries(names | st.text(max_size=30), values, max_size=9),
    st.none() | st.floats(0, 1e12),
)
def test_is_total(headers: dict[str, str], wall: float | None) -> None:
    """Whatever comes there are numbers from zero up, or nothing; and nothing is without a fact."""
    for facts in rate_facts(headers, wall=wall):
        numbers = [facts.limit, facts.remaining, facts.reset]

        assert [n for n in numbers if n is not None]
        assert all(n is None or 0 <= n for n in (*numbers, facts.window))


UNITS: Final = {
    "requests": "requests",
    "req": "requests",
    "tokens": "tokens",
    "input-tokens": "input_tokens",
    "tokens-prompt": "input_tokens",
    "output-tokens": "output_tokens",
    "tokens-generated": "output_tokens",
}


@pytest.mark.parametrize(("unit", "meant"), UNITS.items())
def test_words_come_in_any_order(unit: str, meant: Unit) -> None:
    """What is said, of what, and for how long."""
    for said_of, window in product(("limit", "remaining", "reset"), ("", "minute")):
        parts = [part for part in (said_of, unit, window) if part]
        for name in ("-".join(parts), "-".join(reversed(parts))):
            (facts,) = rate_facts({f"x-ratelimit-{name}": "7"})
            numbers = dict.fromkeys(("limit", "remaining", "reset")) | {said_of: 7.0}
            expected = RateFacts(
                meant, 60.0 if window else None, **cast("dict[str, float]", numbers)
            )

            assert expected == facts
