"""What a router would do with a request, and why: the answer of ``plan(request)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self, final

from attrs import field, frozen

from llmstack.endpoint import Endpoint
from llmstack.standing import UP, Standing


__all__ = ["Candidate", "Plan", "Terms"]


@final
@frozen(kw_only=True)
class Terms:
    """What a picker goes by for one endpoint.

    The *score* is made of the *terms*; lower is better. *latency* in seconds and *cost* in
    USD are what it expects, None where it does not know. *draw* is the chance it used.
    """

    reason: str = ""
    score: float | None = None
    terms: Mapping[str, float] = field(factory=dict)
    latency: float | None = None
    cost: float | None = None
    draw: float | None = None


@final
@frozen
class Candidate:
    """One endpoint in a plan: its place, what put it there, and what the gates say."""

    endpoint: str
    model: str | None
    verdict: str
    terms: Terms
    standing: Standing = UP

    @classmethod
    def of(
        cls, endpoint: Endpoint, asked: str, verdict: str, terms: Terms, standing: Standing
    ) -> Self:
        """Name the endpoint, and the model that it would be asked for in place of *asked*."""
        return cls(endpoint.name, endpoint.model_for(asked) or None, verdict, terms, standing)

    def __str__(self) -> str:
        """Say it in one line."""
        terms = self.terms
        facts = [self.verdict]
        if self.standing is not UP:
            facts.append(str(self.standing))
        if terms.score is not None:
            made = ", ".join(f"{name} {value:.3g}" for name, value in terms.terms.items())
            facts.append(f"score {terms.score:.3g}" + (f" ({made})" if made else ""))
        facts += [f"about {terms.latency:.3g} s"] if terms.latency is not None else []
        facts += [f"about ${terms.cost:.3g}"] if terms.cost is not None else []
        facts += [terms.reason] if terms.reason else []
        return f"{self.endpoint}: " + "; ".join(facts)


@final
@frozen
class Plan:
    """The candidates in the order in which they would be asked, then those left out.

    Behind those who would take the request now come those who would refuse it, to be asked
    again by a request that insists, or not at all.
    """

    candidates: tuple[Candidate, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """The names of those that would be asked, first to last."""
        return tuple(c.endpoint for c in self.candidates if c.verdict.startswith("asked"))

    def __iter__(self) -> Iterator[Candidate]:
        """Go through the candidates, best first."""
        return iter(self.candidates)

    def __str__(self) -> str:
        """Give a line for each candidate."""
        return "\n".join(map(str, self.candidates))
