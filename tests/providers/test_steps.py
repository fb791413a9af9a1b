"""No text makes a pattern take more than its length: counted, and not timed."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.providers import rate_headers, redact, retry_after, said, times
from llmstack.providers.anthropic import classify as anthropic
from llmstack.providers.openai import hosts
from tests.providers.steps import steps


PATTERNS: Final = {
    **{
        f"{module.__name__.rpartition('.')[2]}{name}": value
        for module in (rate_headers, redact, retry_after, said, times, hosts, anthropic)
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern)
    },
    **{f"hosts {n}": row[1] for n, row in enumerate(hosts.WORDS)},
    **{f"anthropic {n}": row[1] for n, row in enumerate(anthropic.WORDS)},
}
#: Looks at 4,096 signs of its text, and only once nothing can be done about an error.
BOUNDED: Final = {"redact_QUOTED"}

#: These are asked for at the beginning alone.
FIRST: Final = ("anthropic ", "classify_PLACE")

#: What each pattern could choke on: parts of what it looks for, over and over.
PARTS: Final = (
    *("a", "0", " ", "'", "0s", "0.", "a ", "' a'b", "a1-", "A_", "Sun, 06 Nov ", "messages.0"),
    *("retry in 0", "wait for 1 ", "bearer ", "exceed the ", "input token count ", "spend_"),
)


@pytest.mark.parametrize("name", sorted({*PATTERNS} - BOUNDED))
def test_twice_the_text_takes_twice_the_steps(name: str) -> None:
    """Whatever it is made of, and however it ends."""
    first = name.startswith(FIRST)
    for part in PARTS:
        size = 24 // len(part) + 1
        _, once = steps(PATTERNS[name], part * size + "!", first=first)
        _, twice = steps(PATTERNS[name], part * size * 2 + "!", first=first)

        assert twice <= 2.3 * once + 100, (part, once, twice)


signs = st.text(alphabet="abcx0159 .:-_'\"[]<\n\tTZsmhdké", max_size=24)


@given(st.sampled_from(sorted(PATTERNS)), signs, st.sampled_from(PARTS), st.sampled_from(PARTS))
def test_the_model_finds_what_the_pattern_finds(
    name: str, text: str, before: str, behind: str
) -> None:
    """Else its steps would be those of something else."""
    whole = before + text + behind

    assert (PATTERNS[name].search(whole) is not None) is steps(PATTERNS[name], whole)[0]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        *((r"(a|b)[^c]\1", "xadax", True), (r"(a|b)[^c]\1", "adb", False)),
        *((r"(a|b)[^c]\1", "aca", False), (r"(ab)\1", "aab", False), (r"a.", "a\n", False)),
        *((r"a\S", "a ", False), (r"a\S", "ab", True), (r"a\s", "a ", True)),
        *((r"\Aa", "ba", False), (r"a{2,3}\b", "aaaa", True), (r"\b", "", False)),
    ],
)
def test_the_model_knows_what_patterns_are_made_of(pattern: str, text: str, *, found: bool) -> None:
    """More than ours have in them."""
    assert found is (re.search(pattern, text) is not None)
    assert found is steps(re.compile(pattern), text)[0]


@pytest.mark.parametrize("bad", [r"(?:a+)+!", r"a*a*a*!", r"(?:a|aa)*!", r"\s*x?\s*!"])
def test_would_notice_one_that_chokes(bad: str) -> None:
    """The rule is one that such patterns break."""
    part = " " if "s" in bad else "a"
    _, once = steps(re.compile(bad), part * 6)
    _, twice = steps(re.compile(bad), part * 12)

    assert twice > 2.3 * once + 100
