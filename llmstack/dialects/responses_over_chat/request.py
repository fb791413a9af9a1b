"""The request: a body of the Responses API as a body of chat completions.

Null says nothing, here as there. Errors: `Untranslatable`.
"""

from __future__ import annotations

from typing import Any, Final

from llmstack.dialects.place import Place, top
from llmstack.dialects.responses_over_chat.items import messages
from llmstack.dialects.responses_over_chat.tables import FIELDS
from llmstack.dialects.responses_over_chat.tools import tools
from llmstack.dialects.translator import JSON, Translated


__all__ = ["request"]

LOGPROBS: Final = "message.output_text.logprobs"
_READ: Final = frozenset(name for name, row in FIELDS.items() if row.fate != "dropped")
_SCHEMA: Final = ("name", "description", "schema", "strict")


def request(body: JSON, /) -> Translated:
    """Return *body* as a chat request; `Untranslatable` names the field that forbids it."""
    asked = top(body, "chat completions")
    _refuse(asked)
    asked.rest(*_READ)
    chat: dict[str, Any] = {
        row.words: asked[name].value
        for name, row in FIELDS.items()
        if row.fate == "carried" and asked[name].given
    }
    chat["messages"] = messages(asked)
    chat |= tools(asked) | _text(asked["text"].otherwise({}))
    chat |= _reasoning(asked["reasoning"].otherwise({})) | _logprobs(asked)
    chat |= _tier(asked["service_tier"]) | _streaming(asked)
    if asked["truncation"].otherwise("disabled").value != "disabled":
        asked["truncation"].drop()
    return Translated(chat, asked.dropped)


def _refuse(asked: Place) -> None:
    """Refuse what needs more than one request knows; to say false to it is what happens."""
    for name, value in asked.fields().items():
        row = FIELDS.get(name)
        if row and row.fate == "refused" and value is not None and value is not False:
            raise asked[name].refusal(row.words)


def _text(text: Place) -> dict[str, Any]:
    text.rest("format", "verbosity")
    said = text.some("verbosity")
    if text["format"].given:
        said["response_format"] = _format(text["format"])
    return said


def _format(given: Place) -> dict[str, Any]:
    kind = given["type"].one_of(("text", "json_object", "json_schema"))
    if kind != "json_schema":
        given.rest("type")
        return {"type": kind}
    given.rest("type", *_SCHEMA)
    return {"type": "json_schema", "json_schema": given.some(*_SCHEMA)}


def _reasoning(reasoning: Place) -> dict[str, Any]:
    reasoning.rest("effort")
    effort = reasoning["effort"]
    return {"reasoning_effort": effort.value} if effort.given else {}


def _logprobs(asked: Place) -> dict[str, Any]:
    """Chat wants to be asked for log probabilities, and then says how many it may give."""
    wanted = asked["include"].otherwise([])
    for each in wanted.each():
        if each.value != LOGPROBS:
            each.drop()
    top = asked["top_logprobs"]
    if LOGPROBS not in wanted.value and not top.value:
        return {}
    return {"logprobs": True, **({"top_logprobs": top.value} if top.given else {})}


def _tier(tier: Place) -> dict[str, Any]:
    if tier.value == "ultrafast":
        tier.drop()
        return {}
    return {"service_tier": tier.value} if tier.given else {}


def _streaming(asked: Place) -> dict[str, Any]:
    """The terminal of a stream has the usage in it, so it is asked for."""
    options = asked["stream_options"].otherwise({})
    plain = options["include_obfuscation"].value is False
    options.rest(*(["include_obfuscation"] if plain else []))
    return {"stream_options": {"include_usage": True}} if asked["stream"].value is True else {}
