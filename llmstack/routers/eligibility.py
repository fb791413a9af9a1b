"""Which endpoints may be asked at all, and which first: decided once, for all routers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final

from llmstack.call import Attempt
from llmstack.endpoint import Capabilities, Endpoint
from llmstack.estimators.tokens import prompt_tokens
from llmstack.messages import Request


__all__ = ["MEMBERS_LEFT", "is_plain", "tiers", "unfit", "untried"]

#: When an attempt at a group is `ready_at` that has members which the call has not asked.
MEMBERS_LEFT: Final = -inf

_NOTHING: Final[Mapping[str, Any]] = {}
_JSON: Final = ("json_object", "json_schema")
_IMAGES: Final = ("image_url", "input_image", "image")


def is_plain(endpoint: Endpoint) -> bool:
    """Whether the endpoint takes any request that asks for no tags."""
    return (
        endpoint.weight > 0
        and endpoint.capabilities is None
        and not isinstance(endpoint.models, dict)
    )


def unfit(request: Request, endpoint: Endpoint) -> str:
    """Return why *endpoint* must not be asked, in words; empty if it may."""
    if endpoint.weight <= 0:
        return "has weight 0"
    if endpoint.model_for(request.model) is None:
        return f"does not serve model {request.model!r}"
    if not request.tags <= endpoint.tags:
        return f"does not promise {', '.join(sorted(request.tags - endpoint.tags))}"
    if endpoint.capabilities is None:
        return ""
    return ", ".join(_lacks(request, endpoint.capabilities))


def tiers(
    fit: Sequence[Endpoint], tried: Mapping[str, Attempt], now: float
) -> Iterator[list[Endpoint]]:
    """Yield whom to ask first, whom when all of those refuse, and whom then.

    Those that the call has not tried, and while an attempt is at work, of its account last;
    groups with members that it has not; and those that may be asked again by *now*.
    """
    fresh = [e for e in fit if e.name not in tried]
    late = {e.account for e in fit if e.name in tried and tried[e.name].ended is None} - {""}
    yield [e for e in fresh if e.account not in late]
    if late:
        yield [e for e in fresh if e.account in late]
    ready = {name: attempt.ready_at for name, attempt in tried.items() if attempt.again}
    yield [e for e in fit if ready.get(e.name) == MEMBERS_LEFT]
    yield [e for e in fit if MEMBERS_LEFT < ready.get(e.name, inf) <= now]


def untried(fit: Sequence[Endpoint], tried: Mapping[str, Attempt], away: Collection[str]) -> int:
    """Return how many a retry may go to at once; *away* are those that have sent it away."""
    done = {name for name, attempt in tried.items() if attempt.ready_at != MEMBERS_LEFT}
    return len({e.name for e in fit} - done - set(away))


def _lacks(request: Request, able: Capabilities) -> Iterator[str]:
    data = request.body.data
    wanted = request.max_tokens
    if not able.tools and (data.get("tools") or data.get("functions")):
        yield "has no tools"
    if not able.json_mode and _wants_json(data):
        yield "has no JSON mode"
    if not able.vision and _shows_images(data):
        yield "reads no images"
    if able.max_output is not None and wanted is not None and wanted > able.max_output:
        yield f"writes at most {able.max_output} tokens, not {wanted}"
    if able.context is not None:
        needed = prompt_tokens(data) + (wanted or 0)
        if needed > able.context:
            yield f"holds {able.context} tokens, and about {needed} are needed"


def _wants_json(data: Mapping[str, Any]) -> bool:
    wanted = [data.get("response_format")]
    wanted += [_object(data.get(name)).get("format") for name in ("text", "output_config")]
    return any(_object(each).get("type") in _JSON for each in wanted)


def _shows_images(data: Mapping[str, Any]) -> bool:
    return any(
        _object(part).get("type") in _IMAGES
        for name in ("messages", "input")
        for message in _list(data.get(name))
        for part in _list(_object(message).get("content"))
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _NOTHING


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
