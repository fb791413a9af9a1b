"""A chat request as a Messages request, field by field.

Errors: `Untranslatable`, whose message has the path of the field and never its value.
"""

from __future__ import annotations

import re
from typing import Any, Final

from llmstack.dialects.chat_over_messages.conversation import conversation
from llmstack.dialects.chat_over_messages.fields import EFFORTS, MAX_TOKENS, TIERS, left_out, rest
from llmstack.dialects.chat_over_messages.shapes import (
    a_count,
    a_list,
    a_number,
    a_text,
    an_object,
)
from llmstack.dialects.chat_over_messages.tools import tools
from llmstack.dialects.translator import JSON, Translated
from llmstack.errors import Untranslatable


__all__ = ["request"]

#: A path that is told has stars for positions: a long conversation is told in few words.
_POSITION: Final = re.compile(r"\.\d+(?=\.|$)")


def request(body: JSON, /, *, sampling: bool = True) -> Translated:
    """Return *body* in Messages; without *sampling*, temperature and top_p are dropped."""
    dropped = left_out(body)
    said = conversation(body.get("messages"), dropped)
    output = {**_effort(body, dropped), **_format(body, dropped)}
    made = {
        **({"model": a_text(body["model"], "model")} if body.get("model") is not None else {}),
        "max_tokens": _limit(body, dropped),
        **said.whole(),
        **tools(body, said.calls.used, dropped),
        **_stop(body),
        **_sampling(body, dropped, sampling=sampling),
        **({"output_config": output} if output else {}),
        **({"thinking": {"type": "disabled"}} if body.get("reasoning_effort") == "none" else {}),
        **_user(body, dropped),
        **_tier(body, dropped),
        **({"stream": body["stream"]} if isinstance(body.get("stream"), bool) else {}),
    }
    told = (_POSITION.sub(".*", path) for path in dropped)
    return Translated(made, tuple(dict.fromkeys(told)))


def _limit(body: JSON, dropped: list[str]) -> int:
    """The most tokens of the reply; the newer of the two fields wins."""
    given = [n for n in ("max_completion_tokens", "max_tokens") if body.get(n) is not None]
    dropped += given[1:]
    return a_count(body[given[0]], given[0]) if given else MAX_TOKENS


def _stop(body: JSON) -> dict[str, Any]:
    stop = body.get("stop")
    if stop is None:
        return {}
    texts = [stop] if isinstance(stop, str) else a_list(stop, "stop")
    for index, text in enumerate(texts):
        if not a_text(text, f"stop.{index}").strip():
            raise Untranslatable(f"stop.{index}: Messages does not stop at blanks")
    return {"stop_sequences": list(texts)} if texts else {}


def _sampling(body: JSON, dropped: list[str], *, sampling: bool) -> dict[str, Any]:
    """Temperature or top_p: models refuse both at once, so the first is taken."""
    given = {
        name: a_number(body[name], name)
        for name in ("temperature", "top_p")
        if body.get(name) is not None
    }
    if not sampling:
        dropped += given
        return {}
    if given.get("temperature", 0) > 1:
        dropped.append("temperature")
        given["temperature"] = 1
    if len(given) == 2 and given.pop("top_p") != 1:
        dropped.append("top_p")
    return given


def _effort(body: JSON, dropped: list[str]) -> dict[str, Any]:
    effort = body.get("reasoning_effort")
    if effort is None or effort == "none":
        return {}
    if a_text(effort, "reasoning_effort") not in EFFORTS:
        dropped.append("reasoning_effort")
        return {}
    return {"effort": EFFORTS[effort]}


def _format(body: JSON, dropped: list[str]) -> dict[str, Any]:
    if body.get("response_format") is None:
        return {}
    asked = an_object(body["response_format"], "response_format")
    kind = asked.get("type")
    if kind == "text":
        return {}
    if kind != "json_schema":
        raise Untranslatable("response_format: Messages writes JSON to a schema only")
    path = "response_format.json_schema"
    described = an_object(asked.get("json_schema"), path)
    dropped += rest(described, ("name", "schema", "strict"), path)
    schema = an_object(described.get("schema"), f"{path}.schema")
    return {"format": {"type": "json_schema", "schema": schema}}


def _user(body: JSON, dropped: list[str]) -> dict[str, Any]:
    """Who the caller's user is: the first that is said of three names for it."""
    metadata = an_object(body["metadata"] if body.get("metadata") is not None else {}, "metadata")
    given = {
        "safety_identifier": body.get("safety_identifier"),
        "user": body.get("user"),
        "metadata.user_id": metadata.get("user_id"),
    }
    said = [name for name, value in given.items() if value is not None]
    dropped += said[1:]
    if metadata.keys() - {"user_id"}:
        dropped.append("metadata")
    return {"metadata": {"user_id": a_text(given[said[0]], said[0])}} if said else {}


def _tier(body: JSON, dropped: list[str]) -> dict[str, Any]:
    tier = body.get("service_tier")
    if tier is None:
        return {}
    if a_text(tier, "service_tier") not in TIERS:
        dropped.append("service_tier")
        return {}
    return {"service_tier": TIERS[tier]}
