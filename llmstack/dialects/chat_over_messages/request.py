"""A chat request as a Messages request, field by field.

Errors: `Untranslatable`, whose message has the path of the field and never its value.
"""

from __future__ import annotations

from typing import Any

from llmstack.dialects.chat_over_messages.conversation import conversation
from llmstack.dialects.chat_over_messages.fields import EFFORTS, MAX_TOKENS, TIERS, left_out
from llmstack.dialects.chat_over_messages.tools import tools
from llmstack.dialects.place import Place, top
from llmstack.dialects.translator import JSON, Translated


__all__ = ["request"]


def request(body: JSON, /, *, sampling: bool = True) -> Translated:
    """Return *body* in Messages; without *sampling*, temperature and top_p are dropped."""
    asked = top(body, "Messages")
    left_out(asked)
    said = conversation(asked["messages"])
    output = {**_effort(asked["reasoning_effort"]), **_format(asked["response_format"])}
    made = {
        **({"model": asked["model"].text()} if asked["model"].given else {}),
        "max_tokens": _limit(asked),
        **said.whole(),
        **tools(asked, said.calls.used),
        **_stop(asked["stop"].otherwise([])),
        **_sampling(asked, sampling=sampling),
        **({"output_config": output} if output else {}),
        **({"thinking": {"type": "disabled"}} if body.get("reasoning_effort") == "none" else {}),
        **_user(asked),
        **_tier(asked["service_tier"]),
        **({"stream": body["stream"]} if isinstance(body.get("stream"), bool) else {}),
    }
    return Translated(made, asked.dropped)


def _first(*places: Place) -> Place | None:
    """Return the first of several ways to say a thing; the others are dropped."""
    given = [place for place in places if place.given]
    for place in given[1:]:
        place.drop()
    return given[0] if given else None


def _limit(asked: Place) -> int:
    """The most tokens of the reply; the newer of the two fields wins."""
    limit = _first(asked["max_completion_tokens"], asked["max_tokens"])
    return limit.count() if limit else MAX_TOKENS


def _stop(stop: Place) -> dict[str, Any]:
    listed = stop.holding([stop.value]) if isinstance(stop.value, str) else stop
    for place in listed.each():
        if not place.text().strip():
            raise place.refusal("Messages does not stop at blanks")
    return {"stop_sequences": list(listed.value)} if listed.value else {}


def _sampling(asked: Place, *, sampling: bool) -> dict[str, Any]:
    """Temperature or top_p: models refuse both at once, so the first is taken."""
    given = {name: asked[name].number() for name in ("temperature", "top_p") if asked[name].given}
    if not sampling:
        for name in given:
            asked[name].drop()
        return {}
    if given.get("temperature", 0) > 1:
        asked["temperature"].drop()
        given["temperature"] = 1
    if len(given) == 2 and given.pop("top_p") != 1:
        asked["top_p"].drop()
    return given


def _effort(effort: Place) -> dict[str, Any]:
    if not effort.given or effort.value == "none":
        return {}
    if effort.text() not in EFFORTS:
        effort.drop()
        return {}
    return {"effort": EFFORTS[effort.text()]}


def _format(asked: Place) -> dict[str, Any]:
    kind = asked.otherwise({"type": "text"})["type"]
    if kind.value == "text":
        return {}
    kind.one_of(("json_schema",), "Messages writes JSON to a schema only")
    described = asked["json_schema"]
    described.rest("name", "schema", "strict")
    return {"format": {"type": "json_schema", "schema": described["schema"].fields()}}


def _user(asked: Place) -> dict[str, Any]:
    """Who the caller's user is: the first that is said of three names for it."""
    metadata = asked["metadata"].otherwise({})
    user = _first(asked["safety_identifier"], asked["user"], metadata["user_id"])
    if metadata.fields().keys() - {"user_id"}:
        metadata.drop()
    return {"metadata": {"user_id": user.text()}} if user else {}


def _tier(tier: Place) -> dict[str, Any]:
    if not tier.given:
        return {}
    if tier.text() not in TIERS:
        tier.drop()
        return {}
    return {"service_tier": TIERS[tier.text()]}
