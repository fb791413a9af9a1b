"""Health beside an endpoint that asks nobody."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs

import llmstack as ls
from llmstack.order import Bound
from llmstack.testing.scripted import ScriptedService
from llmstack.testing.virtual import run_virtual


def test_what_asks_nobody_is_not_probed() -> None:
    """A constant as the last entry has no url, and is never down."""
    sorry = ls.Endpoint("sorry", ls.Translate()(ls.Constant("Later.")))
    eu = ls.Endpoint("eu", ScriptedService[Any, Any]([]), url="http://127.0.0.1:1")
    probed: list[str] = []

    class Down:
        def check(self, endpoint: ls.Endpoint) -> None:
            assert endpoint.url

        async def __call__(self, endpoint: ls.Endpoint) -> None:
            probed.append(endpoint.name)
            raise ls.ConnectionFailed

    async def main() -> list[str]:
        endpoints = ls.EndpointSet([eu, sorry])
        layers = (ls.Fallback(endpoints), ls.Health(endpoints, Down()))
        async with ls.ServiceBuilder(layers).service(ls.dispatch) as stack:
            await asyncio.sleep(200.0)
            return [standing.state for standing in stack.standings().values()]

    with capture_logs():
        states, _ = run_virtual(main())
    assert ["down", "up"] == states
    assert {"eu"} == set(probed)


def test_a_constant_takes_no_call_and_costs_nothing() -> None:
    """So it spoils no bound: neither the calls nor the money of those before it."""
    window = ls.Capabilities(context=1_000_000, max_output=1_000_000)
    service = ScriptedService[Any, Any]([])
    eu = ls.Endpoint("eu", service, price=ls.Price(1, 1), capabilities=window)
    sorry = ls.Endpoint("sorry", ls.Translate()(ls.Constant("Later.")))
    alone, both = (
        ls.ServiceBuilder().layer(ls.Fallback(entries)).service(ls.dispatch).bound
        for entries in ([eu], [eu, sorry])
    )

    assert Bound(1, cost=2.0) == alone == both
    assert [True, False] == [eu.asks, sorry.asks]
