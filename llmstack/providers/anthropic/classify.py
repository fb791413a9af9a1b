"""The table: what an error in the Anthropic format means; pure, and it never raises.

Most exact first: ``error.details.error_code``, then ``error.type``, where they mean the same
under every status; the status, or in a body or an event that came with a 200 the status that
the vaguer types stand for; then what the provider puts under one type, told apart by the
length of the wait, and by its words only where there is nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CallerFault,
    ConnectionFailed,
    ConnectionLost,
    ContentFiltered,
    ContextLengthExceeded,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers.redact import identifier, path, request_id
from llmstack.providers.retry_after import retry_after
from llmstack.providers.said import Said, as_object, decoded


__all__ = ["Phase", "classify"]

#: Where the error stood: under an HTTP status of its own, in the body of a 200, in an event.
Phase = Literal["status", "body", "event"]
Kind = type[UpstreamError]

#: These say all, whatever the status. The second group is Bedrock's.
_EXACT: Final[Mapping[str, Kind]] = {
    "authentication_error": AuthFailed,
    "billing_error": QuotaExhausted,
    "permission_error": PermissionDenied,
    "request_too_large": PayloadTooLarge,
    "rate_limit_error": RateLimited,
    "timeout_error": UpstreamTimeout,
    "overloaded_error": Overloaded,
    # A 400 by its status, and no fault of the caller.
    **dict.fromkeys(
        (
            "organization_on_hold",
            "claude_code_key_creator_not_member",
            "cmek_key_disabled",
            "cmek_key_network_blocked",
        ),
        PermissionDenied,
    ),
    "servicequotaexceededexception": QuotaExhausted,
    "accessdeniedexception": PermissionDenied,
    "resourcenotfoundexception": ModelNotFound,
    "throttlingexception": RateLimited,
    "modelnotreadyexception": Overloaded,
    "modeltimeoutexception": UpstreamTimeout,
    **dict.fromkeys(
        ("modelerrorexception", "modelstreamerrorexception", "internalserverexception"), ServerError
    ),
    "serviceunavailableexception": Overloaded,
}
#: Money, in the codes for it.
_SPENT: Final = re.compile(r"spend_limit_reached|_billing_unavailable|_not_billable")

#: What the vaguer types stand for, where no status says it; all others are a 500.
_AS_STATUS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("invalid_request_error", "conflict_error", "validationexception"), 400),
    "not_found_error": 404,
}

_BY_STATUS: Final[Mapping[int, Kind]] = {
    401: AuthFailed,
    402: QuotaExhausted,
    403: PermissionDenied,
    404: ModelNotFound,
    408: UpstreamTimeout,
    413: PayloadTooLarge,
    424: ServerError,  # Bedrock: the model failed
    429: RateLimited,
    503: Overloaded,
    # Of the edge. After 520 and 524 the origin had the request.
    520: ConnectionLost,
    **dict.fromkeys((521, 522, 523, 525, 526), ConnectionFailed),
    524: ConnectionLost,
    529: Overloaded,
}

#: What a 400 may be, where its words alone say so: each up to the first sign behind which
#: the provider repeats what it was sent, so that no caller can write it.
_WORDS: Final = tuple(
    (re.compile(rf"[^:'\"{{\[]*\b(?:{words})", re.IGNORECASE), kind)
    for words, kind in (
        (r"prompt is too long|exceed context limit|input is too long", ContextLengthExceeded),
        (r"blocked by content filtering", ContentFiltered),
        (r"credits?\b|spend(?:ing)?\b|usage limits?\b", QuotaExhausted),
        (r"organization has been disabled", PermissionDenied),
    )
)

#: Signs of the words that are looked at: what they say, they say first, and to look takes time.
LOOK: Final = 1024

#: Seconds. A limit of a minute passes; one that lasts longer than this is a spent plan.
LONG: Final = 900.0
#: The windows of a plan, and its own summary of them.
_RESET: Final = re.compile(r"(anthropic-ratelimit-unified-(?:[0-9]+[a-z]\w*-)?)reset")

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
    said = Said.of(body)
    message = said.message[:LOOK]
    code = _code(headers, body) or said.code
    words = (code.lower(), *said.words) if isinstance(code, str) else said.words
    kind = _kind(_meant(status, phase, said), words)
    wait = retry_after(headers, hint=message, wall=wall)
    if kind is RateLimited and wait is None:
        wait = _plan(headers, wall)
    error = _refined(kind, message, wait)()
    error.status = status
    error.code = identifier(code)
    error.request_id = request_id(headers)
    if isinstance(error, CallerFault):
        place = _PLACE.match(message)
        if place is not None and path(place[1]) is not None:
            error.args = (f"{error.message} (param {place[1]})",)
    else:
        error.retry_after = wait
    # Only downwards: what the class calls final stays final.
    if headers.get("x-should-retry", "").strip().lower() == "false":
        error.again = False
    return error


def _code(headers: Mapping[str, str], body: bytes) -> str | None:
    """Return the most exact code: of the details, or the one that Bedrock has in a header."""
    details = as_object(as_object(as_object(decoded(body)).get("error")).get("details"))
    code = details.get("error_code")
    if isinstance(code, str) and code:
        return code
    return headers.get("x-amzn-errortype", "").partition(":")[0].strip() or None


def _meant(status: int, phase: Phase, said: Said) -> int:
    """Return the status that counts; 500 if an error that came with a 200 does not say."""
    if phase == "status":
        return status
    by_words = (_AS_STATUS[word] for word in said.words if word in _AS_STATUS)
    return said.number or next(by_words, 500)


def _kind(status: int, words: tuple[str, ...]) -> Kind:
    if not 400 <= status <= 599:
        return ProtocolError
    for word in words:
        if _SPENT.search(word):
            return QuotaExhausted
        if word in _EXACT:
            return _EXACT[word]
    return _BY_STATUS.get(status, BadRequest if status < 500 else ServerError)


def _refined(kind: Kind, message: str, wait: float | None) -> Kind:
    """Tell apart what stands under one status."""
    if kind is RateLimited and wait is not None and wait > LONG:
        return QuotaExhausted
    if kind is BadRequest:
        return next((meant for words, meant in _WORDS if words.match(message)), kind)
    return kind


def _plan(headers: Mapping[str, str], wall: float | None) -> float | None:
    """Return the seconds until all windows of a plan that are used up begin anew."""
    found = (_RESET.fullmatch(name) for name in headers)
    used_up = (
        headers[name[0]]
        for name in found
        if name is not None and headers.get(f"{name[1]}status", "rejected").strip() == "rejected"
    )
    dimension = {"date": headers.get("date", ""), "x-ratelimit-remaining": "0"}
    waits = (retry_after({**dimension, "x-ratelimit-reset": at}, wall=wall) for at in used_up)
    return max((wait for wait in waits if wait is not None), default=None)
