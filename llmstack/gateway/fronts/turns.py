"""What the dialects have in common: messages with a role, and contents made of parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmstack.gateway.errors import Problem
from llmstack.gateway.fields import OBJECTS, STRING, Kind, bad, must_be
from llmstack.gateway.front import Fields


__all__ = ["check_messages", "parts"]


def check_messages(data: Fields, content: Kind) -> Problem | None:
    """Return what is wrong with the field ``messages``, where contents must be *content*."""
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        return bad("messages", "must be an array of at least one message")
    for n, message in enumerate(messages):
        if not isinstance(message, dict):
            return bad(f"messages[{n}]", must_be("an object", message))
        role = message.get("role")
        if not isinstance(role, str) or not role:
            return bad(f"messages[{n}].role", "must be a string that is not empty")
        said = message.get("content")
        if not content.fits(said):
            return bad(f"messages[{n}].content", must_be(content.says, said))
    return None


def parts(path: str, content: object) -> Iterator[tuple[str, Kind, Any]]:
    """Yield what is looked at in a *content* that is an array, and nothing of another."""
    if isinstance(content, list):
        yield path, OBJECTS, content  # whoever finds that it does not fit asks for no more
        for n, part in enumerate(content):
            yield f"{path}[{n}].text", STRING, part.get("text")
