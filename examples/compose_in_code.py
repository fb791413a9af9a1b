"""Compose a stack in code: your own layer among the shipped ones, over two endpoints.

Runs offline, in virtual time. What one sees:

1. the plan: whom the next request would ask, and why, before anything is sent;
2. the warning of `Retry`: the first endpoint is overloaded, so the other one is asked;
3. the reply, the ledger of attempts, and what the layer written here has counted;
4. the stack itself, with the reason for each place and the most that one call can take.

    python examples/compose_in_code.py
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, ClassVar

from attrs import define, field, frozen

import llmstack as ls
from llmstack.testing import ScriptedService, run_virtual


def says(text: str) -> ls.Response:
    """What an endpoint answers: the body as the provider wrote it, and the tokens it counted."""
    return ls.Response(json.dumps({"text": text}).encode(), usage=ls.Usage(12, 5))


@frozen
class CountTokens:
    """A layer of our own: adds up the tokens of each tenant, however a call ends."""

    role: ClassVar[str] = "count_tokens"
    above: ClassVar[dict[str, str]] = {"retry": "a call counts once, with all its attempts"}

    def __call__(self, inner: ls.Service[ls.Request, Any], /) -> CountTokensService:
        return CountTokensService(inner)


@define(eq=False)
class CountTokensService:
    """The service that the layer makes; the state of each use is here."""

    inner: ls.Service[ls.Request, Any]
    tokens: Counter[str] = field(factory=Counter, init=False)

    async def __call__(self, request: ls.Request, /) -> object:
        # `observe` calls `end` exactly once: on a reply, an error, a cancellation, or when a
        # stream is over. So a layer needs no `finally` of its own.
        def end(outcome: ls.Outcome) -> None:
            usage = outcome.usage or ls.Usage()
            self.tokens[request.tenant or "nobody"] += usage.input + usage.output

        return await ls.observe(self.inner, request, end)

    def statistics(self) -> dict[str, int]:
        return dict(self.tokens)


async def main() -> None:
    eu = ScriptedService[Any, Any]([ls.Overloaded("too many requests", status=529)])
    us = ScriptedService[Any, Any]([says("Layers, all the way down.")])
    endpoints = [
        ls.Endpoint("eu", eu, weight=3, price=ls.Price(input=2.5, output=10)),
        ls.Endpoint("us", us, price=ls.Price(input=3, output=12)),
    ]
    stack = (
        ls.ServiceBuilder(seed=1)
        .layer(CountTokens())
        .layer(ls.Deadline(30))
        .layer(ls.Retry(attempts=3))
        .layer(ls.RoundRobin(endpoints))
        .layer(ls.CircuitBreaker())
        .layer(ls.Timeout(first_token=10))
        .service(ls.dispatch)
    )
    request = ls.Request("gpt-4o", {"messages": []}, tenant="acme")

    print(f"The plan:\n{stack['router'].plan(request)}\n")

    reply = await stack(request)

    text = reply.data["text"] if isinstance(reply, ls.Response) else "a stream"
    print(f"The reply: {text}")
    for attempt in request.call.attempts:
        cost = "" if attempt.cost is None else f", for ${attempt.cost:.6f}"
        print(f"  asked {attempt.endpoint}: {attempt.error or attempt.how}{cost}")
    print(f"  tokens by tenant: {stack['count_tokens'].statistics()}\n")
    print(f"The stack:\n{stack.describe()}")


if __name__ == "__main__":
    run_virtual(main())
