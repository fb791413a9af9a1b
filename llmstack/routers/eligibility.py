"""Which endpoints may be asked at all: decided once, in one place, for all routers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmstack.endpoint import Capabilities, Endpoint
from llmstack.estimators.tokens import prompt_tokens
from llmstack.messages import Request


__all__ = ["is_plain", "unfit"]

_IMAGES: Final = frozenset({"image_url", "input_image", "image"})


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
    wanted = data.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in {"json_object", "json_schema"}


def _shows_images(data: Mapping[str, Any]) -> bool:
    messages = data.get("messages")
    return isinstance(messages, list) and any(
        isinstance(part, dict) and part.get("type") in _IMAGES
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
    )
