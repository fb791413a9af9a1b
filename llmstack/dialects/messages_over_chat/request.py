"""A Messages request as one for chat completions.

The tables say what becomes of each field at the top; a field that is in none of them is
left out and told, as those of one host only are. A null says nothing anywhere.

Errors: `Untranslatable`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llmstack.dialects.messages_over_chat.fields import (
    Dropped,
    as_list,
    as_object,
    as_text,
    cannot,
    whole,
)
from llmstack.dialects.messages_over_chat.tools import tools
from llmstack.dialects.messages_over_chat.turns import conversation
from llmstack.dialects.translator import JSON, Translated
from llmstack.errors import Untranslatable


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
_FIELD: Final = re.compile(r"[a-z_]{1,40}")


def request(body: JSON, limit: str) -> Translated:
    """Return *body* in the other dialect; the field *limit* says how long the reply may be."""
    dropped = Dropped()
    _survey(body, dropped)
    chat: dict[str, Any] = {"model": as_text(body.get("model"), "model")}
    chat["messages"] = conversation(body.get("system"), body.get("messages"), dropped)
    if body.get("max_tokens") is not None:
        chat[limit] = whole(body["max_tokens"], "max_tokens")
    chat |= _sampling(body)
    chat |= tools(body, dropped)
    chat |= _output(body, dropped)
    chat |= _service(body, dropped)
    if body.get("stream") is not None:
        chat["stream"] = body["stream"] is True
    if chat.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    return Translated(chat, dropped.paths)


def _survey(body: JSON, dropped: Dropped) -> None:
    """Refuse and tell what is not said at all."""
    for name in body:
        if body[name] is None or name in TRANSLATED:
            continue
        if name not in REFUSED:
            dropped.tell(name if _FIELD.fullmatch(name) else "?")
        elif body[name] != []:
            raise cannot(name)


def _sampling(body: JSON) -> JSON:
    said: dict[str, Any] = {}
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise Untranslatable(f"{name} is not a number")
        said |= {} if value is None else {name: value}
    stops = body.get("stop_sequences")
    if stops:
        given = as_list(stops, "stop_sequences")
        if len(given) > STOPS:
            raise cannot(f"more than {STOPS} stop_sequences")
        said["stop"] = [as_text(each, f"stop_sequences.{n}") for n, each in enumerate(given)]
    return said


def _output(body: JSON, dropped: Dropped) -> JSON:
    """Return how much the model is to think, and what its answer is to look like."""
    given = body.get("output_config")
    config = {} if given is None else as_object(given, "output_config")
    dropped.rest(config, "output_config", ("effort", "format"))
    effort = config.get("effort")
    if effort is not None and effort not in EFFORTS:
        raise cannot("output_config.effort")
    effort = _thought(body.get("thinking"), effort, dropped)
    said: dict[str, Any] = {} if effort is None else {"reasoning_effort": effort}
    for value, path in (
        (body.get("output_format"), "output_format"),
        (config.get("format"), "output_config.format"),
    ):
        said |= {} if value is None else {"response_format": _format(value, path, dropped)}
    return said


def _thought(value: object, effort: str | None, dropped: Dropped) -> str | None:
    """Return the effort that is asked for, in words or by a budget; words come first."""
    if value is None:
        return effort
    thinking = as_object(value, "thinking")
    dropped.rest(thinking, "thinking", ("type", "budget_tokens"))
    if thinking.get("type") != "enabled" or effort is not None:
        dropped.tell("thinking")
        return effort
    budget = whole(thinking.get("budget_tokens"), "thinking.budget_tokens")
    return next((name for below, name in BUDGETS if budget < below), "high")


def _format(value: object, path: str, dropped: Dropped) -> JSON:
    given = as_object(value, path)
    if given.get("type") != "json_schema":
        raise cannot(f"{path}.type")
    dropped.rest(given, path, ("type", "schema"))
    schema = as_object(given.get("schema"), f"{path}.schema")
    # The other dialect's promise is that the answer fits.
    return {
        "type": "json_schema",
        "json_schema": {"name": FORMAT, "schema": schema, "strict": True},
    }


def _service(body: JSON, dropped: Dropped) -> JSON:
    said: dict[str, Any] = {}
    if body.get("metadata") is not None:
        metadata = as_object(body["metadata"], "metadata")
        dropped.rest(metadata, "metadata", ("user_id",))
        user = metadata.get("user_id")
        if user is not None and len(as_text(user, "metadata.user_id")) <= IDENTIFIER:
            said["safety_identifier"] = user
        elif user is not None:
            dropped.tell("metadata.user_id")
    tier = body.get("service_tier")
    if tier is not None:
        if as_text(tier, "service_tier") not in TIERS:
            raise cannot("service_tier")
        said["service_tier"] = TIERS[tier]
    return said
