"""The published schemas of the OpenAI API: what a body or a chunk must look like."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs


__all__ = ["fields_of", "validator", "wrong"]

DOCUMENT: Final = Path(__file__).parent / "data" / "openai_openapi.json.gz"


@cache
def _components() -> dict[str, Any]:
    components: dict[str, Any] = _modern(json.loads(gzip.decompress(DOCUMENT.read_bytes())))
    return components["components"]  # type: ignore[no-any-return]


def _modern(schema: object) -> Any:  # noqa: ANN401 -- JSON
    """The same without the ``nullable`` of OpenAPI 3.0, which the document still has in places."""
    if isinstance(schema, list):
        return [_modern(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _modern(each) for name, each in schema.items() if name != "nullable"}
    return {"anyOf": [inner, {"type": "null"}]} if schema.get("nullable") is True else inner


@cache
def validator(name: str, *, closed: bool = True) -> jsonschema_rs.Validator:
    """What checks an instance of the schema *name*; *closed* allows no field that it lacks."""
    schema: dict[str, Any] = {
        "$ref": f"#/components/schemas/{name}",
        "components": _components(),
    }
    if closed:
        schema["unevaluatedProperties"] = False
    return jsonschema_rs.validator_for(schema)


def wrong(name: str, instance: object, *, closed: bool = True) -> list[str]:
    """What is wrong with *instance* by the schema *name*: nothing, if it is valid."""
    return [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in validator(name, closed=closed).iter_errors(instance)
    ]


def fields_of(name: str) -> set[str]:
    """The names of the fields of the schema *name*, those of its parts as well."""
    schema = _components()["schemas"][name]
    found = set(schema.get("properties", ()))
    for part in schema.get("allOf", ()):
        inner = part.get("$ref", "").rpartition("/")[2]
        found |= fields_of(inner) if inner else set(part.get("properties", ()))
    return found
