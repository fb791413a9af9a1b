"""Circuit breaker: stop asking an endpoint that fails, and find out when it is back.

Put it below the router, where each endpoint has a circuit of its own and a refusal sends the
call to the next one; below `Retry`, so that it sees every attempt; and above the limits and
the timeout, so that what it refuses takes nothing and what takes too long counts. Only what
blames the endpoint is a failure. A bad key, a full quota, the caller's own mistake, a cancel
or a refusal from below changes nothing, and a probe that ends so is not spent.

An endpoint that is only slow is asked less, and never shut: it may be all that there is.

Errors: `CircuitOpen`. Events: `circuit_breaker.opened`, `.degraded`, `.rebaselined` and
`.disabled` (warning), `.half_opened` and `.closed` (info); refusals are a number in the
statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from random import Random
from typing import Any, ClassVar, Final, Generic, final

from attrs import Attribute, define, field, frozen, validators

from llmstack import clock
from llmstack.call import Outcome
from llmstack.errors import ConfigError, LLMStackError, classify
from llmstack.estimators.circuit import Circuit
from llmstack.estimators.cusum import Cusum
from llmstack.estimators.open_time import OpenTimes
from llmstack.estimators.phase import CircuitStatistics, Probes, Turn
from llmstack.estimators.ramp import Ramp
from llmstack.estimators.trip import TripPolicy
from llmstack.events import EventLog
from llmstack.keyed import Keyed
from llmstack.service import Req, Resp, Service, by_endpoint, observe
from llmstack.standing import Standing


__all__ = ["CircuitBreaker", "CircuitBreakerService"]

log: Final = EventLog()

BY_HAND: Final = "by hand"


def _a_policy(_layer: object, attribute: Attribute[TripPolicy], value: object) -> None:
    """Check that it can make detectors; a class that nobody has called cannot."""
    if not hasattr(value, "detector") or isinstance(value, type):
        raise ConfigError(f"{attribute.name} must be one such as Cusum(), not {value}")


@final
@frozen
class CircuitBreaker:
    """When to stop asking, for how long, and how to begin again.

    It opens when *policy* says so, for ``base * 2 ** n`` seconds at most, never above *cap*
    and, by chance, down to half of that; never less than the provider asks for
    (``Retry-After``, up to 300 s). Then *probes* decide. Closed again, it takes *ramp*
    seconds to let everything through; 0 is at once. *classify* turns errors that are not
    ours into ours, or says None: nobody's fault. *normalise* is given a request and the
    seconds to its first content, and returns what is to be compared with other calls, or
    None: nothing; without one, that is the seconds.

    >>> CircuitBreaker()  # doctest: +NORMALIZE_WHITESPACE
    CircuitBreaker(policy=Cusum(calls=500000, slow=True, floor=0.1, relearn=600.0),
        base=5.0, cap=30.0, ramp=30.0, probes=Probes(at_once=1, successes=1, failures=1))
    """

    policy: TripPolicy = field(factory=Cusum, validator=_a_policy)
    base: float = field(default=5.0, validator=validators.gt(0), kw_only=True)
    cap: float = field(default=30.0, validator=validators.gt(0), kw_only=True)
    ramp: float = field(default=30.0, validator=validators.ge(0), kw_only=True)
    probes: Probes = field(factory=Probes, kw_only=True, validator=validators.instance_of(Probes))
    classify: Callable[[Exception], LLMStackError | None] = field(
        default=classify, repr=False, kw_only=True
    )
    normalise: Callable[[Any, float], float | None] | None = field(
        default=None, repr=False, kw_only=True
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
            return Circuit(self.policy, times, self.probes, Ramp(self.ramp), chance)

        return CircuitBreakerService(self, inner, Keyed(circuit))


@final
@define(eq=False)
class CircuitBreakerService(Generic[Req, Resp]):
    """The shell: find the circuit of the key, be let through, tell it how the call ended.

    `open`, `half_open`, `close`, `reset`, `disable` and `enable` are for operators; they
    need a running loop.
    """

    settings: CircuitBreaker
    inner: Service[Req, Resp]
    circuits: Keyed[Circuit]

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service if the circuit lets the request through."""
        key = self.settings.key(request)
        circuit, started = self.circuits(key), clock.now()
        permit = circuit.admit(started, request)
        if permit.turn is not None:
            _tell(key, permit.turn)

        def end(outcome: Outcome) -> None:
            judged, seconds = outcome, None
            try:
                judged = outcome.judged(self.settings.classify)
                seconds = self._seconds(request, started, judged)
            finally:
                # A broken function costs a lesson; a probe that never came back, the endpoint.
                turn = circuit.settle(permit, judged, outcome.ended, seconds)
                if turn is not None:
                    _tell(key, turn)

        reply = await observe(self.inner, request, end)
        if permit.probe:
            now = clock.now()
            _tell(key, circuit.learn(permit, Outcome(now), now))
        return reply

    def _seconds(self, request: Req, started: float, outcome: Outcome) -> float | None:
        """Return what a good call took that can be compared with others."""
        if outcome.how != "ok" or outcome.first is None:
            return None
        seconds, normalise = outcome.first - started, self.settings.normalise
        return seconds if normalise is None else normalise(request, seconds)

    def open(self, key: Hashable = None) -> None:
        """Open the circuit of *key* for its next open time, hard."""
        _tell(key, self.circuits(key).open(clock.now(), BY_HAND, hard=True))

    def half_open(self, key: Hashable = None) -> None:
        """Let probes decide on *key* from now on."""
        _tell(key, self.circuits(key).half_open(clock.now(), BY_HAND))

    def close(self, key: Hashable = None) -> None:
        """Close the circuit of *key* as if its probes had succeeded; nothing if it is closed."""
        circuit = self.circuits(key)
        if circuit.state != "closed":
            _tell(key, circuit.close(clock.now(), BY_HAND))

    def reset(self, key: Hashable = None) -> None:
        """Make the circuit of *key* as new: closed, without a ramp, with nothing remembered."""
        circuit = self.circuits(key)
        before = circuit.state
        turn = circuit.reset(clock.now(), BY_HAND)
        _tell(key, None if before == "closed" else turn)

    def disable(self, key: Hashable = None) -> None:
        """Let everything through to *key* and learn nothing; any other word of hand ends that."""
        _tell(key, self.circuits(key).disable(BY_HAND))

    def enable(self, key: Hashable = None) -> None:
        """Watch over *key* again, as if it were new; nothing if it is not disabled."""
        if self.circuits(key).state == "disabled":
            self.reset(key)

    def standing(self, request: Req, /) -> Standing | None:
        """Return what would become of *request* now; None if it would just pass."""
        circuit = self.circuits.get(self.settings.key(request))
        if circuit is None:
            return None
        phase, now = circuit.phase, clock.now()
        if phase is None:
            return circuit.ramp.standing(now)
        return phase.standing(now, circuit.sent, circuit.probes)

    def statistics(self) -> dict[Hashable, CircuitStatistics]:
        """Return a snapshot of every circuit, by key."""
        return {key: circuit.statistics() for key, circuit in self.circuits.items()}


def _tell(key: Hashable, turn: Turn | None) -> None:
    """Log what the circuit of *key* did, if it did anything."""
    match turn:
        case None:
            return
        case Turn("opened"):
            log.warning(
                "circuit_breaker.opened",
                endpoint=key,
                reason=turn.reason,
                wait=round(turn.wait, 3),
                hard=turn.hard,
            )
        case Turn("degraded"):
            log.warning("circuit_breaker.degraded", endpoint=key, reason=turn.reason)
        case Turn("rebaselined"):
            log.warning("circuit_breaker.rebaselined", endpoint=key, reason=turn.reason)
        case Turn("disabled"):
            log.warning("circuit_breaker.disabled", endpoint=key, reason=turn.reason)
        case Turn("half_opened"):
            log.info("circuit_breaker.half_opened", endpoint=key, reason=turn.reason)
        case _:
            log.info("circuit_breaker.closed", endpoint=key, reason=turn.reason)
