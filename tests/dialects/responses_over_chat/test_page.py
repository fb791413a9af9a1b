"""The page of this translation has the tables of the code, row by row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from llmstack.dialects.responses_over_chat import tables
from llmstack.dialects.responses_over_chat.tables import Row
from tests.shape.pages import sections
from tests.shape.source import ROOT


PAGE: Final = ROOT / "docs" / "reference" / "translation_responses_over_chat.rst"
TABLES: Final[Mapping[str, Mapping[str, Row]]] = {
    "Fields": tables.FIELDS,
    "Items of the input": tables.ITEMS,
    "Parts of a message": tables.PARTS,
    "Tools": tables.TOOLS,
    "Choices of tools": tables.CHOICES,
}
ROW: Final = re.compile(r"^   \* - ``(\w+)``\n     - (\w+)\n     - (.+)$", re.MULTILINE)


def rows(section: str) -> list[tuple[str, str, str]]:
    """The rows of the table in a section, in three columns."""
    return ROW.findall(section)


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_has_the_tables_of_the_code(heading: str) -> None:
    """Each row, in the order of the code, and no other."""
    section = sections(Path(PAGE).read_text())[heading]
    expected = [(name, row.fate, row.words) for name, row in TABLES[heading].items()]

    assert expected == rows(section)
    assert len(expected) + 1 == section.count("   * - ")


def test_no_table_of_the_code_is_forgotten() -> None:
    """All that the module shows to others are on the page."""
    public = [getattr(tables, name) for name in tables.__all__]
    found = [table for table in public if isinstance(table, dict)]

    assert len(TABLES) == len(found)
    assert all(table in found for table in TABLES.values())


def test_a_row_is_read_in_its_columns() -> None:
    """A row that lacks one is none."""
    whole = "   * - ``a``\n     - dropped\n     - so, it is\n"

    assert [("a", "dropped", "so, it is")] == rows(whole)
    assert [] == rows(whole.replace("     - dropped\n", ""))
