"""A Messages request as one for chat completions.

The tables say what becomes of each field at the top; a field that is in none of them is
left out and told, as those of one host only are. A null says nothing anywhere.

Errors: `Untranslatable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmstack.dialects.messages_over_chat.tools import tools
from llmstack.dialects.messages_over_chat.turns import conversation
from llmstack.dialects.place import Place, top
from llmstack.dialects.translator import JSON, Translated


__all__ = ["BUDGETS", "DROPPED", "EFFORTS", "REFUSED", "TIERS", "TRANSLATED", "request"]

TRANSLATED: Final = frozenset(
    {
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_p",
    },
)
DROPPED: Final = frozenset(
    {
        "betas",
        "billing_policy",
        "cache_control",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "speed",
        "top_k",
        "user_profile_id",
        "workspace_id",
    },
)
REFUSED: Final = frozenset({"compaction", "container", "inference_geo", "mcp_servers", "thread"})

#: A budget below the number is that effort; any other is "high".
BUDGETS: Final = ((4096, "low"), (16384, "medium"))
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
TIERS: Final[Mapping[str, str]] = {"auto": "auto", "standard_only": "default"}
#: More are refused there.
STOPS: Final = 4
#: A longer identifier is refused there.
IDENTIFIER: Final = 64
#: Structured output wants a name, and nobody reads it.
FORMAT: Final = "output"


def request(body: JSON, limit: str) -> Translated:
    """Return *body* in the other dialect; the field *limit* says how long the reply may be."""
    asked = top(body, "chat completions")
    for name, value in body.items():
        if name in REFUSED and value not in (None, []):
            raise asked[name].refusal()
    asked.rest(*TRANSLATED, *REFUSED)
    chat: dict[str, Any] = {"model": asked["model"].text()}
    chat["messages"] = conversation(asked["system"], asked["messages"])
    if asked["max_tokens"].given:
        chat[limit] = asked["max_tokens"].count()
    chat |= _sampling(asked) | tools(asked) | _output(asked) | _service(asked)
    if asked["stream"].given:
        chat["stream"] = asked["stream"].value is True
    if chat.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    return Translated(chat, asked.dropped)


def _sampling(asked: Place) -> dict[str, Any]:
    names = ("temperature", "top_p")
    said: dict[str, Any] = {n: asked[n].number() for n in names if asked[n].given}
    stops = asked["stop_sequences"]
    if not stops.value:
        return said
    said["stop"] = [each.text() for each in stops.each()]
    if len(said["stop"]) > STOPS:
        raise stops.refusal(f"chat completions have {STOPS} of them at the most")
    return said


def _output(asked: Place) -> dict[str, Any]:
    """Return how much the model is to think, and what its answer is to look like."""
    config = asked["output_config"].otherwise({})
    config.rest("effort", "format")
    effort = config["effort"].one_of(EFFORTS) if config["effort"].given else None
    effort = _thought(asked["thinking"], effort)
    said: dict[str, Any] = {} if effort is None else {"reasoning_effort": effort}
    for form in (asked["output_format"], config["format"]):
        said |= {"response_format": _format(form)} if form.given else {}
    return said


def _thought(thinking: Place, effort: str | None) -> str | None:
    """Return the effort that is asked for, in words or by a budget; words come first."""
    if not thinking.given:
        return effort
    thinking.rest("type", "budget_tokens")
    if thinking["type"].value != "enabled" or effort is not None:
        thinking.drop()
        return effort
    budget = thinking["budget_tokens"].count()
    return next((name for below, name in BUDGETS if budget < below), "high")


def _format(given: Place) -> JSON:
    given["type"].one_of(("json_schema",))
    given.rest("type", "schema")
    # The other dialect's promise is that the answer fits.
    schema = {"name": FORMAT, "schema": given["schema"].fields(), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _service(asked: Place) -> dict[str, Any]:
    said: dict[str, Any] = {}
    metadata, tier = asked["metadata"].otherwise({}), asked["service_tier"]
    metadata.rest("user_id")
    user = metadata["user_id"]
    if user.given and len(user.text()) > IDENTIFIER:
        user.drop()
    elif user.given:
        said["safety_identifier"] = user.text()
    if tier.given:
        said["service_tier"] = TIERS[tier.one_of(TIERS)]
    return said
