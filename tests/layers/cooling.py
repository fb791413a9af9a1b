"""What the tests of cooldowns share: endpoints with labels, requests to them, how calls end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from structlog.testing import capture_logs

from llmstack.call import Attempt
from llmstack.endpoint import Endpoint
from llmstack.errors import CoolingDown, LLMStackError
from llmstack.layers.cooldown import Cooldown, CooldownService
from llmstack.messages import Request
from llmstack.service import Service
from llmstack.testing.scripted import ScriptedService, echo


__all__ = ["ASIA", "EU", "US", "Cooling", "Scripted", "events_of", "failing", "outcome", "to"]

Cooling = CooldownService[Any, Any]
Scripted = ScriptedService[Any, Any]

#: Two endpoints under one key, and one under another key of the same account.
EU: Final = Endpoint("eu", echo, key="env:KEY", account="acme")
US: Final = Endpoint("us", echo, key="env:KEY", account="acme")
ASIA: Final = Endpoint("asia", echo, key="env:OTHER", account="acme")


def to(endpoint: Endpoint | str, model: str = "m", *, insists: bool = False) -> Request:
    """A request as it is below a router that chose *endpoint*."""
    chosen = Endpoint(endpoint, echo) if isinstance(endpoint, str) else endpoint
    return Request(model).to(chosen, Attempt(chosen.name, 0.0), insists=insists)


def failing(*script: object) -> tuple[Cooling, Scripted]:
    """A cooldown over a service that does as told."""
    inner: Scripted = ScriptedService(script)
    return Cooldown(rng=Random(1))(inner), inner


async def outcome(service: Service[Any, Any], request: object) -> str:
    """How a call ends, in one word; of a refusal, whether it is soft."""
    try:
        await service(request)
    except CoolingDown as refusal:
        return "soft" if refusal.soft else "hard"
    except LLMStackError:
        return "failed"
    return "ok"


def events_of(run: Callable[[], object]) -> list[tuple[str, str, str]]:
    """What *run* logs about cooldowns: level, event and scope."""
    with capture_logs() as logs:
        run()
    return [
        (log["log_level"], log["event"].removeprefix("cooldown."), log["scope"])
        for log in logs
        if log["event"].startswith("cooldown.")
    ]
