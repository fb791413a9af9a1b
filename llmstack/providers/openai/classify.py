"""What an error in the OpenAI format means, by the rows of `hosts`; pure, and it never raises.

Most exact first: a code that means the same under every status; what some hosts hide under
one status, told apart by fields, and by their words only where there is no field; then the
status, or in a body or an event that came with a 200 the status that its codes stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmstack.errors import ContentFiltered, QuotaExhausted, RateLimited, UpstreamError
from llmstack.providers import verdict
from llmstack.providers.openai import hosts
from llmstack.providers.rate_headers import rate_facts
from llmstack.providers.retry_after import retry_after
from llmstack.providers.said import Said, as_object
from llmstack.providers.verdict import ELSEWHERE, LONG, Phase, Verdict, by_status


__all__ = ["classify"]

#: Signs of the words that are looked at.
LOOK: Final = 4096
#: A header that Mistral alone sends.
_MISTRAL: Final = (
    "mistral-correlation-id",
    "ratelimitbysize-limit",
    "x-ratelimitbysize-limit-minute",
)


def classify(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    phase: Phase = "status",
    *,
    wall: float | None = None,
) -> UpstreamError:
    """Return the error that a reply means; never raises.

    Names in *headers* are lower case. *wall* is the time of day, for waits that are dates.
    The provider's words are read and never kept: they may repeat the prompt, or the key. Its
    code is, and for a fault of the caller its param, both only if they look like what they
    are called. What could be the very key is for `conceal`.
    """
    said = Said.of(body, headers)
    words = said.message[:LOOK]
    headers = {**_inside(said), **headers}
    wait = retry_after(headers, hint=words, delay=said.delay, wall=wall)
    meant = status if phase == "status" else _meant(said)
    found = _verdict(meant, headers, said, words, wait)
    if found.kind is RateLimited and wait is not None and wait > LONG:
        found = hosts.DAY
    return found.error(status, headers, said, wait, said.param)


def _inside(said: Said) -> Mapping[str, str]:
    """Return the headers about limits that OpenRouter puts into the body."""
    return {
        name.lower(): value
        for name, value in as_object(said.metadata.get("headers")).items()
        if isinstance(value, str) and name.lower().startswith(("retry-after", "x-ratelimit-"))
    }


def _meant(said: Said) -> int:
    """Return the status that the codes of an error stand for; 500 if they do not say."""
    by_words = (hosts.MEANT[word] for word in said.words if word in hosts.MEANT)
    return said.number or next(by_words, 500)


def _verdict(
    status: int, headers: Mapping[str, str], said: Said, words: str, wait: float | None
) -> Verdict:
    if not 400 <= status <= 599:
        return by_status(status)
    for table in (hosts.CODES, verdict.CODES):
        exact = next((table[word] for word in said.words if word in table), None)
        if exact is not None:
            return exact
    if any(hosts.SPENT.search(word) for word in said.words):
        return Verdict(QuotaExhausted)
    found = _by_fields(status, headers, said, wait)
    rows = (row for on, pattern, row in hosts.WORDS if status in on and pattern.search(words))
    return found or next(rows, None) or by_status(status)


def _by_fields(
    status: int, headers: Mapping[str, str], said: Said, wait: float | None
) -> Verdict | None:
    """Tell apart what some hosts put under one status."""
    match status:
        case 402:
            return _out_of_money(said, wait)
        case 403 if "reasons" in said.metadata or "flagged_input" in said.metadata:
            return Verdict(ContentFiltered)  # OpenRouter's moderation
        case 403 if not said.read:
            return ELSEWHERE  # the page of an edge, to which no key matters
        case 429:
            return _too_many(headers, said)
        case _:
            return None


def _out_of_money(said: Said, wait: float | None) -> Verdict | None:
    """Tell the limits of OpenRouter apart."""
    source = said.metadata.get("limit_source")
    # The one 402 that passes by itself, and only if it says when.
    if source == "openrouter_in_flight_budget" and wait is not None:
        return hosts.ACCOUNT_RATE
    return hosts.KEY_SPENT if source == "openrouter_key_limit" else None


def _too_many(headers: Mapping[str, str], said: Said) -> Verdict | None:
    days = [name for name in said.quotas if "perday" in name]
    if days:
        return hosts.NEVER if any("permodel" in name for name in days) else hosts.ACCOUNT_DAY
    if any(facts.unit == "requests" and facts.limit == 0 for facts in rate_facts(headers)):
        return Verdict(QuotaExhausted)  # Mistral: a plan that allows nothing
    return hosts.ACCOUNT_RATE if any(name in headers for name in _MISTRAL) else None
