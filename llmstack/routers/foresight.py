"""What a router would do with a request: the rounds that it would go, without asking anybody.

It is the code that routes, on a copy of the picker. What the gates below would say is read,
not tried: it may be otherwise by the time of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Final

from attrs import evolve

from llmstack import clock
from llmstack.call import Outcome
from llmstack.endpoint import Endpoint
from llmstack.messages import Request
from llmstack.routers.agenda import Agenda
from llmstack.routers.picker import Picker
from llmstack.routers.plan import Candidate, Plan, Terms
from llmstack.standing import UP, Standing


__all__ = ["foreseen"]

REFUSES: Final = "would refuse"


def foreseen(agenda: Agenda, request: Request, standings: Mapping[str, Standing]) -> Plan:
    """Return whom *agenda* would ask, given how its endpoints stand, and who is left out."""
    picker = deepcopy(agenda.picker)
    listed: list[Candidate] = []
    for tier, _ in agenda.rounds(request, {}):
        there = _round(agenda, picker, request, tier)
        pressing = [e for e, _ in there if standings[e.name].state == "down"]
        for endpoint, terms in there:
            if endpoint not in pressing:
                listed.append(_candidate(endpoint, request, listed, terms, standings))
        soft = [e for e in pressing if standings[e.name].soft and request.attempt is None]
        for endpoint, terms in _round(agenda, picker, evolve(request, insists=True), soft):
            listed.append(_candidate(endpoint, request, listed, terms, standings))
        listed += [
            Candidate.of(endpoint, request.model, REFUSES, terms, standings[endpoint.name])
            for endpoint, terms in there
            if endpoint in pressing and endpoint not in soft
        ]
    named = {candidate.endpoint for candidate in listed}
    tried = request.call.tried(agenda)
    for endpoint in agenda.endpoints:
        if endpoint.name not in named:
            why = _left_out(agenda, request, endpoint)
            why = why or ("has been tried" if endpoint.name in tried else "")
            listed.append(Candidate.of(endpoint, request.model, "left out", Terms(reason=why), UP))
    return Plan(tuple(listed))


def _round(
    agenda: Agenda, picker: Picker, request: Request, tier: list[Endpoint]
) -> list[tuple[Endpoint, Terms]]:
    """Return the endpoints of *tier* that are asked, in order, with what the picker goes by."""
    now = clock.now()
    terms = picker.explain(request, tier, now)
    there = []
    for endpoint in picker.order(request, tier, now) if tier else ():
        if not agenda.barred(request, endpoint):
            there.append((endpoint, terms[endpoint.name]))
        picker.settle(endpoint, now, Outcome(now, "refused"))
    return there


def _candidate(
    endpoint: Endpoint,
    request: Request,
    before: Iterable[Candidate],
    terms: Terms,
    standings: Mapping[str, Standing],
) -> Candidate:
    asked = sum(candidate.verdict != REFUSES for candidate in before)
    verdict = f"asked if {asked} refuse" if asked else "asked first"
    return Candidate.of(endpoint, request.model, verdict, terms, standings[endpoint.name])


def _left_out(agenda: Agenda, request: Request, endpoint: Endpoint) -> str:
    if not agenda.endpoints.is_enabled(endpoint.name):
        return "is disabled"
    return agenda.unfit(request, endpoint)
