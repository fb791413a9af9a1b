"""A router of your own, and the properties that it has to keep.

`Sticky` sends each tenant to the endpoint that served it last. A picker is four short
methods; the shell that walks on refusals, keeps the ledger and answers ``plan`` is the one
of the shipped routers. `check_router` then tries what every router promises, on hundreds
of drawn situations, and one property of its own is tested beside it. Needs hypothesis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar, final

from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

import llmstack as ls
from llmstack.routers.plan import Terms
from llmstack.routers.router import Endpoints, RouterService, as_endpoints, the_set
from llmstack.testing.check import check_router
from llmstack.testing.scripted import echo


@final
@define(eq=False)
class Homes:
    """The picker: the endpoint that served the tenant last, then the others as declared."""

    homes: dict[str | None, str] = field(factory=dict, init=False)
    asking: dict[str, list[str | None]] = field(factory=dict, init=False)

    def order(
        self, request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        """Yield the tenant's home first; remember who asks, for `settle` is not told."""
        home = self.homes.get(request.tenant)
        for endpoint in sorted(endpoints, key=lambda endpoint: endpoint.name != home):
            self.asking.setdefault(endpoint.name, []).append(request.tenant)
            yield endpoint

    def settle(self, endpoint: ls.Endpoint, _started: float, outcome: ls.Outcome, /) -> None:
        """Make who served the home of who asked."""
        tenant = self.asking[endpoint.name].pop(0)
        if outcome.how == "ok":
            self.homes[tenant] = endpoint.name

    def explain(
        self, request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        """Say whose home it is."""
        home = self.homes.get(request.tenant)
        return {
            endpoint.name: Terms(reason="the tenant's home" if endpoint.name == home else "")
            for endpoint in endpoints
        }

    def keep(self, names: Collection[str], /) -> None:
        """Forget homes that are gone."""
        self.homes = {tenant: name for tenant, name in self.homes.items() if name in names}

    def statistics(self) -> dict[str, Any]:
        """Return the home of each tenant."""
        return {str(tenant): name for tenant, name in self.homes.items()}


@final
@frozen
class Sticky:
    """Send each tenant where it was served last."""

    endpoints: Endpoints = field(converter=as_endpoints)

    role: ClassVar[str] = "router"

    def __call__(self, inner: ls.Service[ls.Request, Any], /) -> RouterService:
        """Put the router above *inner*."""
        return RouterService(the_set(self.endpoints), Homes(), inner, "sticky")


@settings(max_examples=100, deadline=None)
@given(tenants=st.lists(st.sampled_from("abc"), min_size=1, max_size=20), n=st.integers(1, 4))
def a_tenant_never_moves_while_its_home_is_well(tenants: list[str], n: int) -> None:
    """The property that makes the router worth having."""

    async def main() -> None:
        stack = (
            ls.ServiceBuilder()
            .layer(Sticky([ls.Endpoint(f"endpoint {k}", echo) for k in range(n)]))
            .service(ls.dispatch)
        )
        homes: dict[str, str] = {}
        for tenant in tenants:
            request = ls.Request("m", tenant=tenant)
            await stack(request)
            served = request.call.attempts[-1].endpoint
            if homes.setdefault(tenant, served) != served:
                raise AssertionError(f"{tenant} moved from {homes[tenant]} to {served}")

    asyncio.run(main())


def main() -> None:
    """Check what every router promises, and then what this one does."""
    check_router(Sticky)
    print("Sticky keeps what every router promises.")
    a_tenant_never_moves_while_its_home_is_well()
    print("A tenant never moves while its home is well.")


if __name__ == "__main__":
    main()
