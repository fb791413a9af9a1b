"""What the demo saw: figures for programs, sentences for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from attrs import asdict, frozen

from llmstack.demo.traffic import Answered


__all__ = ["Acts", "Summary", "share_of"]


@final
@frozen
class Acts:
    """When what happens, in seconds from the beginning."""

    seconds: float

    @property
    def dies(self) -> float:
        """When the fast provider dies."""
        return self.seconds * 0.25

    @property
    def returns(self) -> float:
        """When it comes back."""
        return self.seconds * 0.65


def share_of(name: str, answered: Sequence[Answered], begin: float, end: float) -> float:
    """Return the part of the answers between two moments that *name* gave."""
    by = [each.endpoint for each in answered if begin <= each.at < end]
    return by.count(name) / len(by) if by else 0.0


@final
@frozen(kw_only=True)
class Summary:
    """The figures; shares are those of the fast provider, from 0 to 1."""

    requests: int
    failures: int
    extra_attempts: int
    breaker_openings: int
    share_before: float
    share_during: float
    share_after: float
    p50_ms: float
    p99_ms: float
    added_ms: float
    seconds: float
    seed: int

    @property
    def exit_code(self) -> int:
        """1 if a caller saw a failure: two healthy endpoints were left at any time."""
        return 1 if self.failures else 0

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, rounded to what they are good for."""
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def says(self) -> str:
        """Say it in sentences."""
        seen = "no failure was" if not self.failures else f"{self.failures} failures were"
        added = "less than 1 ms" if self.added_ms < 1 else f"{self.added_ms:.1f} ms"
        times = f"{self.breaker_openings} time{'s' if self.breaker_openings != 1 else ''}"
        return (
            f"{self.requests} requests in {self.seconds:g} s; {seen} seen by callers.\n"
            f"{self.extra_attempts} extra attempts; the breaker opened {times}.\n"
            f"The fast provider's share: {self.share_before:.0%} before the outage, "
            f"{self.share_during:.0%} during it, {self.share_after:.0%} at the end.\n"
            f"Half of the callers waited {self.p50_ms:.0f} ms at most, 99 % of them "
            f"{self.p99_ms:.0f} ms.\nThe gateway adds {added} to a call."
        )
