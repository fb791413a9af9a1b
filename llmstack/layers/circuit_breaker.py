"""Circuit breaker: stop asking an endpoint that fails, and find out when it is back.

Put it below the router, where each endpoint has a circuit of its own and a refusal sends the
call to the next one; below `Retry`, so that it sees every attempt; and above the limits and
the timeout, so that what it refuses takes nothing and what takes too long counts. Only what
blames the endpoint is a failure. A bad key, a full quota, the caller's own mistake, a cancel
or a refusal from below changes nothing, and a probe that ends so is not spent.

Errors: `CircuitOpen`. Events: `circuit_breaker.opened` (warning), `.half_opened` and
`.closed` (info); refusals are a number in the statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from random import Random
from typing import Any, ClassVar, Final, Generic, final

import structlog
from attrs import Attribute, define, field, frozen, validators

from llmstack import clock
from llmstack.call import Outcome
from llmstack.errors import ConfigError, LLMStackError, classify
from llmstack.estimators.circuit import Circuit, CircuitStatistics, Probes
from llmstack.estimators.open_time import OpenTimes
from llmstack.estimators.trip import ConsecutiveFailures, TripPolicy
from llmstack.keyed import Keyed
from llmstack.service import Req, Resp, Service, by_endpoint, observe


__all__ = ["CircuitBreaker", "CircuitBreakerService"]

log: Final = structlog.get_logger("llmstack")

BY_HAND: Final = "by hand"


def _a_policy(_layer: object, attribute: Attribute[TripPolicy], value: object) -> None:
    """Check that it can make detectors."""
    if not hasattr(value, "detector"):
        raise ConfigError(
            f"{attribute.name} must be one such as ConsecutiveFailures(5), not {value}"
        )


@final
@frozen
class CircuitBreaker:
    """When to stop asking, for how long, and how to begin again.

    It opens when *policy* says so, for ``base * 2 ** n`` seconds at most, never above *cap*
    and, by chance, down to half of that; never less than the provider asks for
    (``Retry-After``, up to 300 s). Then *probes* decide. Closed again, it takes *ramp*
    seconds to let everything through; 0 is at once. *classify* turns errors that are not
    ours into ours, or says None: nobody's fault.

    >>> CircuitBreaker()  # doctest: +NORMALIZE_WHITESPACE
    CircuitBreaker(policy=ConsecutiveFailures(failures=5), base=5.0, cap=30.0, ramp=30.0,
        probes=Probes(at_once=1, successes=1, failures=1))
    """

    policy: TripPolicy = field(factory=ConsecutiveFailures, validator=_a_policy)
    base: float = field(default=5.0, validator=validators.gt(0), kw_only=True)
    cap: float = field(default=30.0, validator=validators.gt(0), kw_only=True)
    ramp: float = field(default=30.0, validator=validators.ge(0), kw_only=True)
    probes: Probes = field(factory=Probes, kw_only=True)
    classify: Callable[[Exception], LLMStackError | None] = field(
        default=classify, repr=False, kw_only=True
    )
    key: Callable[[Any], Hashable] = field(default=by_endpoint, repr=False, kw_only=True)
    rng: Random | None = field(default=None, repr=False, eq=False, kw_only=True)

    role: ClassVar[str] = "circuit_breaker"
    above: ClassVar[Mapping[str, str]] = {
        "concurrency_limit": "what the breaker refuses should hold no permit",
        "timeout": "what takes too long must count as a failure",
    }
    below: ClassVar[Mapping[str, str]] = {
        "retry": "a breaker must see each attempt, not only the last",
    }

    def __call__(self, inner: Service[Req, Resp], /) -> CircuitBreakerService[Req, Resp]:
        """Wrap *inner*; the service made here has circuits of its own, and dice unless given."""
        chance = (self.rng or Random()).random

        def circuit() -> Circuit:
            times = OpenTimes(self.base, self.cap)
            return Circuit(self.policy.detector(), times, self.probes, self.ramp, chance)

        return CircuitBreakerService(self, inner, Keyed(circuit))


@final
@define(eq=False)
class CircuitBreakerService(Generic[Req, Resp]):
    """The shell: find the circuit of the key, be let through, tell it how the call ended.

    `open`, `half_open`, `close` and `reset` are for operators; they need a running loop.
    """

    settings: CircuitBreaker
    inner: Service[Req, Resp]
    circuits: Keyed[Circuit]

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service if the circuit lets the request through."""
        key = self.settings.key(request)
        circuit = self.circuits(key)
        before = circuit.state
        permit = circuit.admit(clock.now(), request)
        if before == "open" and permit.probe:
            self._tell(key, circuit)

        def end(outcome: Outcome) -> None:
            judged = outcome
            try:
                judged = outcome.judged(self.settings.classify)
            finally:
                # A broken classifier costs a lesson; a probe that never came back, the endpoint.
                if circuit.settle(permit, judged, outcome.ended):
                    self._tell(key, circuit)

        reply = await observe(self.inner, request, end)
        if permit.probe and circuit.answered(permit, clock.now()):
            self._tell(key, circuit)
        return reply

    def _tell(self, key: Hashable, circuit: Circuit, reason: str = "probes succeeded") -> None:
        """Log the state that *circuit* has come to."""
        opening = circuit.opening
        if opening is None:
            log.info("circuit_breaker.closed", endpoint=key, reason=reason)
        elif opening.half:
            log.info("circuit_breaker.half_opened", endpoint=key, reason=opening.reason)
        else:
            wait = round(opening.wait, 3)
            log.warning("circuit_breaker.opened", endpoint=key, reason=opening.reason, wait=wait)

    def open(self, key: Hashable = None) -> None:
        """Open the circuit of *key* for its next open time, hard."""
        circuit = self.circuits(key)
        circuit.open(clock.now(), BY_HAND, hard=True)
        self._tell(key, circuit)

    def half_open(self, key: Hashable = None) -> None:
        """Let probes decide on *key* from now on."""
        circuit = self.circuits(key)
        circuit.half_open(clock.now(), BY_HAND)
        self._tell(key, circuit)

    def close(self, key: Hashable = None) -> None:
        """Close the circuit of *key* as if its probes had succeeded; nothing if it is closed."""
        circuit = self.circuits(key)
        if circuit.opening is not None:
            circuit.close(clock.now())
            self._tell(key, circuit, BY_HAND)

    def reset(self, key: Hashable = None) -> None:
        """Make the circuit of *key* as new: closed, without a ramp, with nothing remembered."""
        circuit = self.circuits(key)
        before = circuit.state
        circuit.reset(clock.now())
        if before != "closed":
            self._tell(key, circuit, BY_HAND)

    def statistics(self) -> dict[Hashable, CircuitStatistics]:
        """Return a snapshot of every circuit, by key."""
        return {key: circuit.statistics() for key, circuit in self.circuits.items()}
