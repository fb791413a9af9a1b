"""What became of one walk of a router, and how it ends: with an answer, or with the reason.

An answer is better than any error, a failure says more than a refusal; and if there were
nothing but refusals, all of them are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from attrs import define

from llmstack.call import Attempt
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import LLMStackError, NoEndpoint, NotReady


__all__ = ["Walk"]


@final
@define(eq=False)
class Walk:
    """Who refused, by name; the failures after which it went on; the answers not accepted.

    *left* is how many endpoints there were for a retry when the last failure was noted, and
    *attempt* the one that failed.
    """

    refusals: dict[str, NotReady]
    # Emptied when one is raised, or the frame in its traceback would hold it.
    failures: list[LLMStackError]
    answers: list[object]
    left: int = 0
    attempt: Attempt | None = None

    @property
    def asked(self) -> int:
        """How many endpoints were asked in vain."""
        return len(self.failures) + len(self.answers)

    def nobody(
        self,
        endpoints: EndpointSet,
        tried: Mapping[str, Attempt],
        unfit: Callable[[Endpoint], str],
    ) -> NotReady:
        """Say why each endpoint was not asked, and from when one may be.

        If it is the request that they all refuse, that is said, for the caller to mend it.
        """
        refusals = self.refusals
        lasting = [r for r in refusals.values() if r.lasting]
        if lasting and len(lasting) == sum(not unfit(endpoint) for endpoint in endpoints):
            return lasting[0]
        why = []
        ready = [r.ready_at for r in refusals.values() if r.ready_at is not None]
        for endpoint in endpoints:
            name = endpoint.name
            if name in refusals:
                why.append(f"{name}: {refusals[name].message}")
            elif name in tried:
                why.append(f"{name}: has been tried")
                ready += [tried[name].ready_at] if tried[name].again else []
            elif not endpoints.is_enabled(name):
                why.append(f"{name}: is disabled")
            else:
                why.append(f"{name}: {unfit(endpoint) or 'came too late'}")
        return NoEndpoint(
            "no endpoint could take the request (" + "; ".join(why) + ")",
            ready_at=min(ready, default=None),
            soft=any(refusal.soft for refusal in refusals.values()),
        )
