"""The reference page has the tables of the code, row by row."""

from __future__ import annotations

import re
from typing import Final

import attrs
import pytest

from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.messages_over_chat.parts import PARTS
from llmstack.dialects.messages_over_chat.reply import FINISHES
from llmstack.dialects.messages_over_chat.request import (
    BUDGETS,
    DROPPED,
    IDENTIFIER,
    REFUSED,
    STOPS,
    TIERS,
    TRANSLATED,
)
from llmstack.dialects.messages_over_chat.tools import CHOICES
from llmstack.dialects.messages_over_chat.turns import OPAQUE
from tests.shape.pages import sections
from tests.shape.source import ROOT


PAGE: Final = sections(
    (ROOT / "docs" / "reference" / "translation_messages_over_chat.rst").read_text(),
)
#: Fields below the top that change nothing of what the model is to say.
MARKS: Final = {
    "allowed_callers",
    "citations",
    "defer_loading",
    "display",
    "eager_input_streaming",
    "input_examples",
    "transformations",
}
ROW: Final = re.compile(r"^   \* - ``(\w+)``\n     - (.+)$", re.MULTILINE)


def rows(heading: str) -> list[tuple[str, str]]:
    """The rows of the table under *heading*, as they stand there."""
    return ROW.findall(PAGE[heading])


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Fields that are said", TRANSLATED),
        ("Fields that are dropped", DROPPED),
        ("Fields that are refused", REFUSED),
        ("Blocks", {*PARTS, *OPAQUE, "tool_use", "tool_result"}),
        ("Tools", {*CHOICES, "tool"}),
    ],
)
def test_the_page_has_a_row_for_each(heading: str, names: set[str]) -> None:
    """No row is missing, none is there for what is not in the code."""
    assert sorted(names) == sorted(name for name, _ in rows(heading))


def test_the_page_has_the_values_of_the_code() -> None:
    """Budgets, choices, finishes, tiers and bounds are those of the code."""
    budgets = [*((str(below), name) for below, name in BUDGETS), ("any", "high")]
    said = dict(rows("Fields that are said"))

    assert [(below, f"``{name}``") for below, name in budgets] == rows("Budgets")
    assert {key: f"``{name}``" for key, name in FINISHES.items()} == dict(rows("Finishes"))
    assert {key: f"``{name}``" for key, name in CHOICES.items()}.items() <= dict(
        rows("Tools"),
    ).items()
    assert (
        ", ".join(f"``{key}`` is ``{name}``" for key, name in TIERS.items())
        == (said["service_tier"])
    )
    assert f"longer than {IDENTIFIER} characters" in said["metadata"]
    assert f"more than {STOPS} " in said["stop_sequences"]


def test_the_page_names_what_is_dropped_below_the_top() -> None:
    """And the settings, with their defaults."""
    told = "\n".join((PAGE["Blocks"], PAGE["Tools"], PAGE["Fields that are said"]))
    named = {name for name in MARKS if f"``{name}``" in told}

    assert MARKS == named
    for setting in attrs.fields(MessagesOverChat):
        assert f"``{setting.name}``\n" in PAGE["Settings"]
        assert f"``{setting.default}`` by default" in PAGE["Settings"]
