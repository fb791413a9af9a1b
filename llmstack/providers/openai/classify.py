"""The table: what an error in the OpenAI format means; pure, and it never raises.

Most exact first: a code that means the same under every status; the status, or in a body or
an event that came with a 200 the status that its codes stand for; then what some hosts hide
under one status, told apart by fields, and by their words only where there is no field.
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
from llmstack.providers.said import Said


__all__ = ["Phase", "classify"]

#: Where the error stood: under an HTTP status of its own, in the body of a 200, in an event.
Phase = Literal["status", "body", "event"]
Kind = type[UpstreamError]

#: These say all, whatever the status.
_EXACT: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(
        ("context_length_exceeded", "exceed_context_size_error"), ContextLengthExceeded
    ),
    **dict.fromkeys(
        (
            "content_filter",
            "content_policy_violation",
            "invalid_prompt",
            "responsibleaipolicyviolation",
            # Of a response that failed.
            *("image_content_policy_violation", "bio_policy", "misalignment_policy_violation"),
        ),
        ContentFiltered,
    ),
    "invalid_api_key": AuthFailed,
    **dict.fromkeys(
        ("unsupported_country_region_territory", "data_residency_mismatch"), PermissionDenied
    ),
    **dict.fromkeys(("model_not_found", "deploymentnotfound"), ModelNotFound),
    **dict.fromkeys(
        (
            "slow_down",
            "server_is_overloaded",
            "overloaded_error",
            "capacity_exceeded",
            "nocapacity",
            "insufficient_system_resource",
        ),
        Overloaded,
    ),
}
#: Money, in the many codes for it. ``insufficient_quota`` stays as the type under all of them.
_SPENT: Final = re.compile(
    r"insufficient_(?:quota|balance|credits?|funds)|credit_balance|billing_|"
    r"(?:spend|spending|usage|budget)_(?:hard_)?limit|quota_exhausted"
)

#: What the vaguer codes stand for, where no status says it.
_AS_STATUS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("invalid_request_error", "badrequesterror", "bad_request"), 400),
    # Of a response that failed: an image that cannot be used.
    **dict.fromkeys(
        (
            *("invalid_image", "invalid_image_format", "invalid_base64_image"),
            *("invalid_image_url", "invalid_image_mode", "unsupported_image_media_type"),
            *("image_too_large", "image_too_small", "image_file_too_large", "image_parse_error"),
            *("empty_image_file", "failed_to_download_image", "image_file_not_found"),
        ),
        400,
    ),
    **dict.fromkeys(("authentication_error", "authenticationerror", "unauthorized"), 401),
    **dict.fromkeys(("permission_error", "permissiondeniederror", "forbidden"), 403),
    **dict.fromkeys(("not_found_error", "notfounderror", "not_found"), 404),
    **dict.fromkeys(("timeout", "timeout_error", "request_timeout"), 408),
    **dict.fromkeys(("request_too_large", "payload_too_large"), 413),
    **dict.fromkeys(
        (
            "rate_limit_exceeded",
            "rate_limit_error",
            "ratelimiterror",
            "ratelimitreached",
            "too_many_requests",
            "requests",
            "tokens",
        ),
        429,
    ),
    **dict.fromkeys(("bad_gateway", "upstream_error"), 502),
    "vector_store_timeout": 504,
    **dict.fromkeys(("service_unavailable", "service_unavailable_error", "unavailable_error"), 503),
}

_BY_STATUS: Final[Mapping[int, Kind]] = {
    401: AuthFailed,
    402: QuotaExhausted,
    403: PermissionDenied,
    404: ModelNotFound,
    408: UpstreamTimeout,
    413: PayloadTooLarge,
    424: ServerError,  # Groq: a dependency of theirs failed
    429: RateLimited,
    498: Overloaded,  # Groq: the flex tier is full
    503: Overloaded,
    # Of the edge. After 520 and 524 the origin had the request.
    520: ConnectionLost,
    **dict.fromkeys((521, 522, 523, 525, 526), ConnectionFailed),
    524: ConnectionLost,
    529: Overloaded,
}

#: Hosts that have no code for a prompt that is too long: OpenAI before 2023, vLLM, SGLang,
#: Mistral, DeepSeek | vLLM from 0.16 | vLLM | llama.cpp | LM Studio and others.
_TOO_LONG: Final = re.compile(
    r"maximum context length"
    r"|context length is only"
    r"|longer than the maximum model length"
    r"|exceeds? the available context size"
    r"|exceeds? (?:the |this |model'?s? |maximum )*context (?:length|limit|window|size)"
    r"|prompt is too long",
    re.IGNORECASE,
)
_PER_DAY: Final = re.compile(r"\bper day\b", re.IGNORECASE)
_HIGH_DEMAND: Final = re.compile(r"\bhigh demand\b", re.IGNORECASE)


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
    said = Said.of(body)
    wait = retry_after(headers, hint=said.message, wall=wall)
    meant = status if phase == "status" else _meant(said)
    kind = _kind(meant, said, wait)
    error = kind()
    param = path(said.param)
    if param is not None and isinstance(error, CallerFault):
        error.args = (f"{error.message} (param {param})",)
    error.status = status
    error.code = identifier(said.code)
    error.request_id = request_id(headers)
    if not isinstance(error, CallerFault):
        error.retry_after = wait
    # Only downwards: what the class calls final stays final.
    if headers.get("x-should-retry", "").strip().lower() == "false":
        error.again = False
    return error


def _meant(said: Said) -> int:
    """Return the status that the codes of an error stand for; 500 if they do not say."""
    by_words = (_AS_STATUS[word] for word in said.words if word in _AS_STATUS)
    return said.number or next(by_words, 500)


def _kind(status: int, said: Said, wait: float | None) -> Kind:
    if not 400 <= status <= 599:
        return ProtocolError
    for word in said.words:
        if word in _EXACT:
            return _EXACT[word]
    if any(_SPENT.search(word) for word in said.words):
        return QuotaExhausted
    kind = _BY_STATUS.get(status, BadRequest if status < 500 else ServerError)
    return _refined(kind, status, said, wait)


def _refined(kind: Kind, status: int, said: Said, wait: float | None) -> Kind:
    """Tell apart what some hosts put under one status."""
    match status:
        case 400 | 422 if _TOO_LONG.search(said.message):
            return ContextLengthExceeded
        case 402 if said.metadata.get("limit_source") == "openrouter_in_flight_budget":
            # The one 402 that passes by itself, and only if it says when.
            return QuotaExhausted if wait is None else RateLimited
        case 403 if "reasons" in said.metadata or "flagged_input" in said.metadata:
            return ContentFiltered  # OpenRouter's moderation
        case 429 if _PER_DAY.search(said.message):
            return QuotaExhausted
        case 429 if _HIGH_DEMAND.search(said.message):
            return Overloaded
        case _:
            return kind
