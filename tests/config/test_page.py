"""The page of the configuration has every setting with its type and its default."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import attrs

import llmstack as ls
from llmstack.config.build import KEYS, LAYERS
from llmstack.config.reading import NOT_IN_TOML
from llmstack.config.tables import AdminTable, ConstantTable, EndpointTable, KeyTable, ServerTable
from tests.config.example import EXAMPLE
from tests.config.test_settings import TABLES
from tests.shape.source import ROOT


PAGE: Final = (ROOT / "docs" / "reference" / "configuration.rst").read_text()
ROW: Final = re.compile(r"^``(\w+)`` +(\w+) +(``.+?``|required|none|see below) ", re.MULTILINE)
KINDS: Final = {bool: "boolean", int: "whole", float: "number", str: "string"}
#: What cannot be told from the field: the page's words for it.
WORDS: Final = {
    "provider": ("string", ""),
    "api_key": ("string", "none"),
    "token": ("string", "none"),
    "keys": ("array", "none"),
    "models": ("table", "none"),
    "price": ("table", "none"),
    "capabilities": ("table", "none"),
    "tags": ("array", "``[]``"),
    "policy": ("table", "see below"),
    "probes": ("table", "see below"),
    "probe": ("table", ""),
    "status": ("array", "none"),
    "body": ("table", "none"),
    "explore": ("table", "see below"),
    "hedgeable": ("string", ""),
    "triggers": ("array", "none"),
    "after": ("table", "none"),
    "unknown": ("string", "``last``"),
    "jitter": ("string", "``full``"),
    "rules": ("table", "none"),
    "budget": ("table", "none"),
}


def row_of(field: attrs.Attribute[Any]) -> tuple[str, str, str]:
    """What the page should say of a setting: its name, its type, its default."""
    if field.type == frozenset[str] | None:
        return field.name, "array", "none"
    if field.name in WORDS:
        what, default = WORDS[field.name]
        return field.name, what, "required" if field.default is attrs.NOTHING else default
    if field.name == "key":
        named = next(name for name, key in KEYS.items() if key is field.default)
        return field.name, "string", f"``{named}``"
    kind = next(word for known, word in KINDS.items() if field.type in {known, known | None})
    usual = {attrs.NOTHING: "required", None: "none"}.get(field.default)
    shown = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return field.name, kind, usual or f"``{shown}``"


def test_the_page_has_all_settings_and_no_others() -> None:
    """Each row once, as the classes have it."""
    kinds = [ServerTable, AdminTable, ConstantTable, EndpointTable, KeyTable]
    kinds += [ls.Price, ls.Capabilities]
    kinds += [*LAYERS.values(), *(kind for *_, kind in TABLES), ls.OneToken, ls.RetryRule]
    said = NOT_IN_TOML | {"endpoints"}
    fields = [a for kind in kinds for a in attrs.fields(attrs.resolve_types(kind)) if a.init]

    assert Counter(row_of(a) for a in fields if a.name not in said) == Counter(ROW.findall(PAGE))


def test_the_page_names_all_that_can_be_named() -> None:
    """Layers, keys, and what cannot be said; and its example is the one that is tested."""
    named = {f'use = "{name}"' for name in LAYERS}
    named |= {f"``{name}``" for name in [*KEYS, *NOT_IN_TOML]}
    first, *_ = EXAMPLE.partition("models = ")

    assert set() == {name for name in named if name not in PAGE}
    assert re.sub(r"^(?=.)", "    ", first, flags=re.MULTILINE) in PAGE
