"""Time-decayed average: what an endpoint has been like lately.

Used for latency (samples of successes only: a failure must never make an endpoint look
fast) and for the success rate (samples 0 and 1). Where it forgets, it forgets towards a
prior that the reader brings, the median of the peers: an endpoint without news is taken
to be ordinary, neither free nor infinitely slow.

Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from math import exp, expm1
from typing import final

from attrs import define, field, setters, validators


__all__ = ["TimeEwma"]


# Validation on every write, the default of `define`, makes a write cost 0.33 us, not 0.03.
@final
@define(eq=False, on_setattr=setters.NO_OP)
class TimeEwma:
    """An average in which a sample loses weight as time passes, not as others arrive.

    The first sample is the average. Later ones move it by the share of the past that has
    faded since the last sample, ``1 - exp(-dt / tau)``, but never by less than *floor*: so
    a burst of samples within one moment still counts.

    >>> latency = TimeEwma()
    >>> latency.add(1.0, now=0.0)
    >>> latency.add(3.0, now=10.0)
    >>> round(latency.read(now=10.0, prior=9.0), 3)
    2.264
    >>> round(latency.read(now=1000.0, prior=9.0), 3)
    9.0
    """

    tau: float = field(default=10.0, validator=validators.gt(0))
    floor: float = field(default=0.05, validator=[validators.ge(0), validators.le(1)], kw_only=True)
    stale_tau: float = field(default=30.0, validator=validators.gt(0), kw_only=True)
    value: float | None = field(default=None, kw_only=True)  # None until there is a sample
    at: float = field(default=0.0, kw_only=True)  # the time of the newest sample
    count: int = field(default=0, init=False)  # samples that were taken in

    def add(self, x: float, now: float) -> None:
        """Take in the sample *x*; one from before the newest counts as if it came with it."""
        if self.value is None:
            self.value = x
            self.at = now
        else:
            self._move(self.value, x, now)
        self.count += 1

    def add_censored(self, x: float, now: float, prior: float) -> None:
        """Take in that a sample would have been *x* or more, had anyone waited for it.

        It says something only if *x* is above the estimate. Then it raises what is read
        from now on with this prior, and never lowers it; so it starts from what is read,
        not from what was remembered.
        """
        estimate = self.read(now, prior)
        if x <= estimate:
            return
        if self.value is None:
            self.add(x, now)
            return
        self._move(estimate, x, now)
        self.count += 1

    def read(self, now: float, prior: float) -> float:
        """Return the average, drawn towards *prior* the longer there was no sample."""
        if self.value is None:
            return prior
        if now <= self.at:
            return self.value
        return prior + exp((self.at - now) / self.stale_tau) * (self.value - prior)

    def _move(self, base: float, x: float, now: float) -> None:
        share = self.floor
        if now > self.at:
            share = max(share, -expm1((self.at - now) / self.tau))
            self.at = now
        self.value = base + share * (x - base)
