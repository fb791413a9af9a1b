"""The request: a body of the Responses API as a body of chat completions.

Null says nothing, here as there. Errors: `Untranslatable`.
"""

from __future__ import annotations

from typing import Any, Final

from llmstack.dialects.responses_over_chat.items import messages
from llmstack.dialects.responses_over_chat.paths import Told, cannot, list_at, object_at
from llmstack.dialects.responses_over_chat.tables import FIELDS
from llmstack.dialects.responses_over_chat.tools import tools
from llmstack.dialects.translator import JSON, Translated


__all__ = ["request"]

LOGPROBS: Final = "message.output_text.logprobs"
_READ: Final = frozenset(name for name, row in FIELDS.items() if row.fate != "dropped")
_SCHEMA: Final = ("name", "description", "schema", "strict")


def request(body: JSON, /) -> Translated:
    """Return *body* as a chat request; `Untranslatable` names the field that forbids it."""
    told = Told()
    asked = {name: value for name, value in body.items() if value is not None}
    _refuse(asked)
    told.rest(asked, _READ)
    chat: dict[str, Any] = {
        row.words: asked[name]
        for name, row in FIELDS.items()
        if row.fate == "carried" and name in asked
    }
    chat["messages"] = messages(asked, told)
    chat |= tools(asked, told) | _text(asked, told) | _reasoning(asked, told)
    chat |= _logprobs(asked, told) | _tier(asked, told) | _streaming(asked, told)
    if asked.get("truncation", "disabled") != "disabled":
        told.drop("truncation")
    return Translated(chat, told.paths)


def _refuse(asked: JSON) -> None:
    """Refuse what needs more than one request knows; to say false to it is what happens."""
    for name, value in asked.items():
        row = FIELDS.get(name)
        if row is not None and row.fate == "refused" and value is not False:
            raise cannot(name, row.words)


def _text(asked: JSON, told: Told) -> dict[str, Any]:
    text = object_at(asked.get("text", {}), "text")
    told.rest(text, ("format", "verbosity"), "text")
    said: dict[str, Any] = {}
    if text.get("format") is not None:
        said["response_format"] = _format(object_at(text["format"], "text.format"), told)
    if text.get("verbosity") is not None:
        said["verbosity"] = text["verbosity"]
    return said


def _format(given: JSON, told: Told) -> dict[str, Any]:
    kind = given.get("type")
    if kind in ("text", "json_object"):
        told.rest(given, ("type",), "text.format")
        return {"type": kind}
    if kind != "json_schema":
        raise cannot("text.format.type")
    told.rest(given, ("type", *_SCHEMA), "text.format")
    schema = {name: given[name] for name in _SCHEMA if given.get(name) is not None}
    return {"type": "json_schema", "json_schema": schema}


def _reasoning(asked: JSON, told: Told) -> dict[str, Any]:
    reasoning = object_at(asked.get("reasoning", {}), "reasoning")
    told.rest(reasoning, ("effort",), "reasoning")
    effort = reasoning.get("effort")
    return {} if effort is None else {"reasoning_effort": effort}


def _logprobs(asked: JSON, told: Told) -> dict[str, Any]:
    """Chat wants to be asked for log probabilities, and then says how many it may give."""
    wanted = list_at(asked.get("include"), "include")
    for n, name in enumerate(wanted):
        if name != LOGPROBS:
            told.drop(f"include[{n}]")
    top = asked.get("top_logprobs")
    if LOGPROBS not in wanted and not top:
        return {}
    return {"logprobs": True} if top is None else {"logprobs": True, "top_logprobs": top}


def _tier(asked: JSON, told: Told) -> dict[str, Any]:
    tier = asked.get("service_tier")
    if tier == "ultrafast":
        told.drop("service_tier")
        return {}
    return {} if tier is None else {"service_tier": tier}


def _streaming(asked: JSON, told: Told) -> dict[str, Any]:
    """The terminal of a stream has the usage in it, so it is asked for."""
    options = object_at(asked.get("stream_options", {}), "stream_options")
    plain = ("include_obfuscation",) if options.get("include_obfuscation") is False else ()
    told.rest(options, plain, "stream_options")
    return {"stream_options": {"include_usage": True}} if asked.get("stream") is True else {}
