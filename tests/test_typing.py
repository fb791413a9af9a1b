"""The files that mypy reads are also run: a claim about types is one about objects."""

from __future__ import annotations

from tests.typing import test_contract, test_wrong


def test_what_is_claimed_about_types_happens() -> None:
    """Every function with claims is run, and none is forgotten."""
    claims = [
        function
        for name, function in vars(test_contract).items()
        if function.__class__.__name__ == "function"
        and function.__module__ == test_contract.__name__
        and " ".join(name.split("_")[:1]) in {"a", "an", "errors", "functions", "state"}
    ]

    assert claims == list(test_contract.ALL)
    assert len(claims) == test_contract.run_all()


def test_what_must_not_be_written_is_never_run() -> None:
    """It is there for the type checker, which complains where it is right."""
    assert callable(test_wrong.wrong)
