"""The table: what an error in the Anthropic format means; pure, and it never raises.

Most exact first: ``error.details.error_code``, then ``error.type``, where they mean the same
under every status; the status, or in a body or an event that came with a 200 the status that
the vaguer types stand for; then what the provider puts under one type, told apart by the
length of the wait, and by its words only where there is nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from llmstack.errors import (
    AuthFailed,
    BadRequest,
    ContentFiltered,
    ContextLengthExceeded,
    Cool,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers import verdict
from llmstack.providers.retry_after import retry_after
from llmstack.providers.said import Said
from llmstack.providers.times import Parsed, date, first, largest, moment
from llmstack.providers.verdict import ACCOUNT, ELSEWHERE, LONG, Phase, Verdict, by_status


__all__ = ["EXACT", "MEANT", "WORDS", "classify"]

#: These say all, whatever the status. Those of Amazon and Google are in `verdict`.
EXACT: Final[Mapping[str, Verdict]] = {
    "authentication_error": Verdict(AuthFailed),
    "billing_error": Verdict(QuotaExhausted),
    "permission_error": Verdict(PermissionDenied),
    "forbidden": ELSEWHERE,  # of the edge, to a country
    "request_too_large": Verdict(PayloadTooLarge),
    "rate_limit_error": Verdict(RateLimited),
    "timeout_error": Verdict(UpstreamTimeout),
    "overloaded_error": Verdict(Overloaded),
    # A 400 by its status, and no fault of the caller.
    **dict.fromkeys(
        ("organization_on_hold", "cmek_key_disabled", "cmek_key_network_blocked"), ACCOUNT
    ),
    "claude_code_key_creator_not_member": Verdict(PermissionDenied, Cool("key", 3600.0)),
}
#: Money, in the codes for it.
_SPENT: Final = re.compile(r"spend_limit_reached|_billing_unavailable|_not_billable")

#: What the vaguer types stand for, where no status says it; all others are a 500.
MEANT: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            *("invalid_request_error", "validationexception", "invalid_argument"),
            *("conflict_error", "conflictexception"),
        ),
        400,
    ),
    **dict.fromkeys(("not_found_error", "not_found"), 404),
    "unauthenticated": 401,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "unavailable": 503,
}

#: What a class may be besides, where the words alone say so: each up to the first sign behind
#: which the provider repeats what it was sent, so that no caller can write it.
WORDS: Final = tuple(
    (kind, re.compile(rf"[^:'\"{{\[]*\b(?:{words})", re.IGNORECASE), found)
    for kind, words, found in (
        (
            BadRequest,
            r"prompt is too long|exceed context limit|input is too long",
            Verdict(ContextLengthExceeded),
        ),
        (BadRequest, r"blocked by content filtering", Verdict(ContentFiltered)),
        (BadRequest, r"credits?\b|spend(?:ing)?\b|usage limits?\b", Verdict(QuotaExhausted)),
        (BadRequest, r"organization has been disabled", ACCOUNT),
        # A plan without long prompts: others pass, and so may this one under another account.
        (RateLimited, r"required for long context", Verdict(RateLimited, None, again=False)),
        # Bedrock.
        (RateLimited, r"per day\b", Verdict(QuotaExhausted, Cool("key_model", 3600.0))),
    )
)

#: Signs of the words that are looked at: what they say, they say first, and to look takes time.
LOOK: Final = 1024

#: The windows of a plan, and its own summary of them.
_RESET: Final = re.compile(r"(anthropic-ratelimit-unified-(?:[0-9]{1,4}[a-z]\w{0,32}-)?)reset")

#: The place of what is wrong stands first in the words: ``messages.0.content: …``.
_PLACE: Final = re.compile(
    r"((?:messages|system|tools|tool_choice|max_tokens|stop_sequences|temperature|top_[pk]"
    r"|thinking|metadata|output_config)(?:\.\w+)*): "
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
    code is, and for a fault of the caller the place, both only if they look like what they
    are called. What could be the very key is for `conceal`.
    """
    said = Said.of(body, headers)
    words = said.message[:LOOK]
    found = _verdict(status if phase == "status" else _meant(said), said)
    wait = retry_after(headers, hint=words, delay=said.delay, wall=wall)
    if found.kind is RateLimited and wait is None:
        wait = _plan(headers, wall)
    rows = (row for kind, pattern, row in WORDS if found.kind is kind and pattern.match(words))
    found = next(rows, found)
    if found.kind is RateLimited and wait is not None and wait > LONG:
        found = Verdict(QuotaExhausted)
    place = _PLACE.match(words)
    return found.error(status, headers, said, wait, place and place[1])


def _meant(said: Said) -> int:
    """Return the status that counts; 500 if an error that came with a 200 does not say."""
    by_words = (MEANT[word] for word in said.words if word in MEANT)
    return said.number or next(by_words, 500)


def _verdict(status: int, said: Said) -> Verdict:
    if not 400 <= status <= 599:
        return by_status(status)
    for word in said.words:
        if _SPENT.search(word):
            return Verdict(QuotaExhausted)
        exact = EXACT.get(word) or verdict.CODES.get(word)
        if exact is not None:
            return exact
    # The page of an edge, to which no key matters.
    return ELSEWHERE if status == 403 and not said.read else by_status(status)


def _plan(headers: Mapping[str, str], wall: float | None) -> Parsed:
    """Return the seconds until all windows of a plan that are used up begin anew."""
    now = first(date(headers.get("date", "")), wall)
    return largest(
        moment(headers[name[0]], now)
        for name in map(_RESET.fullmatch, headers)
        if name is not None and headers.get(f"{name[1]}status", "rejected").strip() == "rejected"
    )
