"""The rows of the table of errors: what OpenAI and the hosts of its format say.

`CODES` say all, whatever the status. `MEANT` are the vaguer ones, with the status that they
stand for where none came; all others stand for a 500. `WORDS` is the last resort: what a status
means if the words of the error say so, each row for a host that has no code for it. They are
hosts' own words, but in a 400 or 422 they may repeat the request: there a row that does not
blame the caller counts only before the first sign behind which a host quotes, so that no
caller can write it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from llmstack.errors import (
    AuthFailed,
    BadRequest,
    ContentFiltered,
    ContextLengthExceeded,
    Cool,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
)
from llmstack.providers.verdict import ELSEWHERE, LONG, Verdict


__all__ = [
    "ACCOUNT_DAY",
    "ACCOUNT_RATE",
    "CODES",
    "DAY",
    "KEY_SPENT",
    "MEANT",
    "NEVER",
    "SPENT",
    "WORDS",
    "Row",
]

Row = tuple[tuple[int, ...], re.Pattern[str], Verdict]

#: Mistral counts by organization; OpenRouter the money that is on its way.
ACCOUNT_RATE: Final = Verdict(RateLimited, Cool("account", 1.0))
#: A quota of a day is one of a model; which other keys share it, nobody says.
DAY: Final = Verdict(QuotaExhausted, Cool("key_model", 3600.0))
#: Google names a wait of seconds even for what is used up for the day, or was never given.
NEVER: Final = Verdict(QuotaExhausted, Cool("key_model", 3600.0), beyond=LONG)
ACCOUNT_DAY: Final = Verdict(QuotaExhausted, beyond=LONG)
#: A cap that somebody set for this key; the account may have more.
KEY_SPENT: Final = Verdict(QuotaExhausted, Cool("key", 3600.0))
#: Larger than what a minute allows: no wait helps, smaller requests pass, and so may this one
#: under another account.
_TOO_LARGE: Final = Verdict(RateLimited, None, again=False)

CODES: Final[Mapping[str, Verdict]] = {
    **dict.fromkeys(
        ("context_length_exceeded", "exceed_context_size_error"), Verdict(ContextLengthExceeded)
    ),
    **dict.fromkeys(
        (
            "content_filter",
            "content_policy_violation",
            "invalid_prompt",
            "responsibleaipolicyviolation",
            "moderation_blocked",
            "data_inspection_failed",  # Alibaba
            # Of a response that failed.
            *("image_content_policy_violation", "bio_policy", "misalignment_policy_violation"),
        ),
        Verdict(ContentFiltered),
    ),
    "not_supported_error": Verdict(BadRequest),  # llama.cpp: a 501
    **dict.fromkeys(
        ("invalid_api_key", "incorrect_api_key_error", "invalid_authentication_error"),
        Verdict(AuthFailed),
    ),
    "account_deactivated": Verdict(AuthFailed, Cool("account", 3600.0)),
    **dict.fromkeys(("unsupported_country_region_territory", "data_residency_mismatch"), ELSEWHERE),
    **dict.fromkeys(
        ("model_not_found", "deploymentnotfound", "resource_not_found_error"),
        Verdict(ModelNotFound),
    ),
    "exceeded_current_quota_error": Verdict(QuotaExhausted),  # Moonshot
    # Mistral: of the organization, and of a model that has no room.
    "1300": ACCOUNT_RATE,
    "service_tier_capacity_exceeded": Verdict(RateLimited),
    **dict.fromkeys(
        (
            "slow_down",
            "server_is_overloaded",
            "overloaded_error",
            "engine_overloaded_error",
            "overloaded",  # TGI
            "queue_exceeded",  # Cerebras
            "capacity_exceeded",
            "nocapacity",
            "insufficient_system_resource",
        ),
        Verdict(Overloaded),
    ),
}
#: Money, in the many codes for it. ``insufficient_quota`` stays as the type under all of them.
SPENT: Final = re.compile(
    r"insufficient_(?:quota|balance|credits?|funds)|credit_balance|billing_|"
    r"(?:spend|spending|usage|budget)_(?:hard_)?limit|quota_exhausted"
)

#: What the vaguer codes stand for, where no status says it. The capitals of Google's are gone.
MEANT: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            *("invalid_request_error", "badrequesterror", "bad_request"),
            *("validationexception", "validation_error", "invalid_argument", "out_of_range"),
        ),
        400,
    ),
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
    **dict.fromkeys(
        ("authentication_error", "authenticationerror", "unauthorized", "unauthenticated"), 401
    ),
    **dict.fromkeys(
        ("permission_error", "permissiondeniederror", "permission_denied", "forbidden"), 403
    ),
    **dict.fromkeys(("not_found_error", "notfounderror", "not_found"), 404),
    **dict.fromkeys(("timeout", "timeout_error", "request_timeout"), 408),
    **dict.fromkeys(("conflict_error", "conflictexception", "aborted"), 409),
    **dict.fromkeys(("request_too_large", "payload_too_large"), 413),
    **dict.fromkeys(
        (
            *("rate_limit_exceeded", "rate_limit_error", "rate_limit_reached_error"),
            *("ratelimiterror", "ratelimitreached", "rate_limited", "too_many_requests"),
            *("too_many_requests_error", "too_many_tokens_error", "resource_exhausted"),
            *("requests", "tokens"),
        ),
        429,
    ),
    **dict.fromkeys(("request_cancelled", "cancelled"), 499),
    **dict.fromkeys(
        ("service_unavailable", "service_unavailable_error", "unavailable_error", "unavailable"),
        503,
    ),
}


def _row(statuses: tuple[int, ...], words: str, verdict: Verdict) -> Row:
    return statuses, re.compile(words, re.IGNORECASE), verdict


#: Before the first sign behind which a host quotes what it was sent.
_FIRST: Final = r"\A[^:'\"`{\[]*"

#: The first row that fits counts.
WORDS: Final[Sequence[Row]] = (
    # OpenAI before 2023, vLLM, SGLang, Mistral, DeepSeek | vLLM from 0.16 | vLLM | llama.cpp |
    # LM Studio and others | Bedrock | Gemini | xAI | Moonshot | Together, TGI | SGLang.
    # A 500 is what an event means that says nothing else.
    _row(
        (400, 422, 500),
        r"maximum context length"
        r"|context length is only"
        r"|longer than the maximum model length"
        r"|exceeds? the available context size"
        r"|exceeds? (?:the |this |model'?s? |maximum )*context (?:length|limit|window|size)"
        r"|prompt is too long|input is too long for"
        r"|input token count .{0,40}exceeds the maximum number of tokens"
        r"|maximum prompt length is"
        r"|exceeded model token limit"
        r"|`inputs` tokens \+ `max_new_tokens` must be"
        r"|longer than the model's context length",
        Verdict(ContextLengthExceeded),
    ),
    _row(
        (400,),
        # Gemini, xAI.
        _FIRST + r"\b(?:API key not valid|valid API key\b|API key expired"
        r"|Incorrect API key provided|missing or invalid Authorization header)",
        Verdict(AuthFailed),
    ),
    _row(
        (400,), _FIRST + r"\b(?:location is not supported|not available in your country)", ELSEWHERE
    ),
    _row((400,), _FIRST + r"\bContent Exists Risk", Verdict(ContentFiltered)),  # DeepSeek
    # Azure.
    _row((403,), r"\btemporarily blocked\b", Verdict(PermissionDenied, Cool("key", 3600.0))),
    _row((403,), r"\bVirtual Network\b|\bFirewall rules\b", ELSEWHERE),
    _row((403,), r"\bContent violates usage guidelines", Verdict(ContentFiltered)),  # xAI
    _row((403,), r"\breported as leaked\b", Verdict(AuthFailed)),  # Gemini
    # xAI, Fireworks.
    _row(
        (403, 412, 429),
        r"\bavailable credits\b|\bmonthly spending limit\b|\bdoesn't have any credits\b",
        Verdict(QuotaExhausted),
    ),
    _row((429,), r"\blimit: 0(?![.0-9])", NEVER),  # Gemini: what is not in the plan
    # Groq, OpenRouter, Cerebras, Bedrock, Cloudflare.
    _row((429,), r"\bper[ -]day\b|\bdaily\b", DAY),
    _row((429,), r"\bhigh (?:demand|traffic)\b", Verdict(Overloaded)),  # Azure, Cerebras
    _row((429,), r"\ARequest too large for\b", _TOO_LARGE),  # OpenAI
    _row((429,), r"\ARequests rate limit exceeded\b", ACCOUNT_RATE),  # Mistral
)
