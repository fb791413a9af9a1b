"""What is mutated, and the tests that are asked: of each module its own, and no others.

A machine or a parser has to be held by the tests that stand beside it. That its users would
notice too is not asked: they say neither what broke nor where.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final


__all__ = ["ROOT", "SCOPE", "own_tests"]

ROOT: Final = Path(__file__).parents[2]

CIRCUIT: Final = (
    "estimators/test_circuit_words",
    "estimators/test_circuit_cases",
    "estimators/test_circuit_soft",
)
#: What holds the tables of errors: samples of what hosts send, and the page about it.
CORPUS: Final = ("providers/test_classification_page", "mutants/bench/test_corpus_at_once")
#: Modules below ``llmstack/``, and their tests below ``tests/`` where the name does not say it.
SCOPE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "estimators/circuit": (
            *CIRCUIT,
            "estimators/test_circuit",
        ),
        "estimators/trip": (),
        "estimators/cusum": (
            "estimators/test_trip",
            "estimators/test_cusum_slow",
            "estimators/test_cusum",
        ),
        "estimators/window": (),
        "estimators/phase": ("estimators/test_phase_edges", "estimators/test_phase", *CIRCUIT),
        "estimators/ramp": (),
        "estimators/open_time": (),
        "estimators/retry_budget": (
            "estimators/test_retry_budget_turns",
            "estimators/test_retry_budget",
        ),
        "estimators/line": (),
        "estimators/retry_rule": (),
        "estimators/backoff": ("estimators/test_until_ready", "estimators/test_backoff"),
        "estimators/cooling": (
            "estimators/test_cooling_cases",
            "estimators/test_cooling_memory",
            "estimators/test_cooling_standing",
            "estimators/test_cooling_editions",
            "estimators/test_cooling",
        ),
        "estimators/scope": (),
        "estimators/hedge_delay": (),
        "estimators/sketch": (),
        "providers/retry_after": (),
        "providers/times": (),
        "providers/rate_headers": (),
        "providers/verdict": ("providers/test_verdict", *CORPUS),
        "providers/openai/classify": ("providers/openai/test_classify", *CORPUS),
        "providers/anthropic/classify": ("providers/anthropic/test_classify", *CORPUS),
        "estimators/baseline": (),
        "estimators/z_score": ("estimators/test_trip", "estimators/test_z_score"),
        "estimators/ewma": (),
        "estimators/pace": (),
        "estimators/alias": (),
        "estimators/smooth_wrr": (),
        "estimators/rotation": (),
        "estimators/explore": (),
        "estimators/tokens": (),
        "estimators/health": (),
        "providers/said": ("providers/test_said", *CORPUS),
        "providers/redact": (),
        "providers/openai/hosts": ("providers/openai/test_classify", *CORPUS),
        "providers/sse": (
            "providers/test_sse_plain",
            "providers/test_batch",
            "mutants/bench/test_sse_at_once",
        ),
    }
)


def own_tests(module: str) -> tuple[Path, ...]:
    """Return the files of the tests that *module* has, those first that are quick."""
    folder, _, name = module.rpartition("/")
    files = SCOPE[module] or (f"{folder}/test_{name}",)
    return tuple(ROOT / "tests" / f"{each}.py" for each in files)
