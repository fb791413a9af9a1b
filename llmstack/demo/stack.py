"""The stack of the demo: the lines that it shows are the lines that ran."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import llmstack as ls
from llmstack.providers.openai import OpenAI


__all__ = ["build", "source"]


def build(fast: str, slow: str, dear: str, seed: int) -> ls.Stack[ls.Request, Any]:
    """Route to whoever answers soonest, go elsewhere on failures, rest who keeps failing."""
    cheap, costly = ls.Price(input=0.5, output=1.5), ls.Price(input=5, output=15)
    endpoints = [
        ls.Endpoint("fast", OpenAI(fast), price=cheap),
        ls.Endpoint("slow", OpenAI(slow), price=cheap),
        ls.Endpoint("dear", OpenAI(dear), price=costly),
    ]
    return (
        ls.ServiceBuilder(seed=seed)
        .layer(ls.Deadline(10))
        .layer(ls.Retry(attempts=3))
        .layer(ls.LatencyBased(endpoints))
        .layer(ls.CircuitBreaker(base=1, cap=2, ramp=2))
        .layer(ls.ConcurrencyLimit(64))
        .layer(ls.Timeout(first_token=2, idle=5, total=8))
        .service(ls.dispatch)
    )


def source() -> str:
    """Return the lines of `build` from its first statement on."""
    lines = inspect.getsource(build).splitlines()
    first = next(n for n, line in enumerate(lines) if line.strip().startswith("cheap"))
    return textwrap.dedent("\n".join(lines[first:]))
