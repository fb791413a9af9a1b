"""The page about classification says what the code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from llmstack import errors
from llmstack.errors import UpstreamError
from llmstack.providers.anthropic.classify import classify as anthropic
from llmstack.providers.openai.classify import classify as openai
from llmstack.providers.verdict import STATUSES


PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "classification.rst"


def tables() -> list[list[list[str]]]:
    """The rows of each table on the page, without its head."""
    found: list[list[list[str]]] = []
    for line in PAGE.read_text().splitlines():
        if line.startswith(".. list-table::"):
            found.append([])
        elif line.startswith("   * - "):
            found[-1].append([line[7:].replace("``", "")])
        elif line.startswith("     -"):
            found[-1][-1].append(line[7:].replace("``", ""))
    return [rows[1:] for rows in found]


USUAL, OWN, BY_STATUS = tables()


def facts(error: UpstreamError) -> list[str]:
    """The last columns of the second table."""
    cools = error.cools
    aside = ["nothing", ""] if cools is None else [cools.scope, f"{cools.seconds:g}"]
    return [type(error).__name__, *aside]


def test_says_what_each_class_puts_aside() -> None:
    """All that put anything aside, and no others."""
    kinds = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]
    leaves = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, UpstreamError)]

    assert sorted(facts(kind()) for kind in leaves if kind.cools) == sorted(USUAL)


@pytest.mark.parametrize("row", OWN, ids=[row[0] for row in OWN])
def test_says_what_a_reply_puts_aside(row: list[str]) -> None:
    """Each row is a sample."""
    _, status, said, *expected = row
    words = said[1:-1] if said.startswith('"') else ""
    error = {"message": words} if words else {"code": said}
    body = json.dumps({"error": error}).encode() if said else b"<html>"

    assert expected == facts(openai(int(status), {}, body))


def test_says_what_each_status_means() -> None:
    """In either format."""
    listed = {int(each): kind for row, kind in BY_STATUS for each in row.split(", ")}

    assert listed == {status: row.kind.__name__ for status, row in STATUSES.items()}
    for classify in (openai, anthropic):
        assert listed == {n: type(classify(n, {}, b"")).__name__ for n in listed}
