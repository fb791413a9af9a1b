"""An object that comes in parts is whole again."""

from __future__ import annotations

from typing import Any

import pytest

from llmstack.dialects.growing import Growing


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([{"a": "x"}, {"a": ""}, {"a": "y"}], {"a": "xy"}),
        ([{"a": None}], {"a": None}),
        ([{"a": None}, {"a": "x"}, {"a": None}], {"a": "x"}),
        ([{"a": [1]}, {"a": [2, 1]}], {"a": [1, 2, 1]}),
        ([{"a": 1}, {"a": 2}, {"a": True}], {"a": True}),
        ([{"id": ""}, {"id": "x"}, {"id": "y"}], {"id": "x"}),
        ([{"a": {"b": "x", "type": "t"}}, {"a": {"b": "y", "type": "t"}}],
         {"a": {"b": "xy", "type": "t"}}),
        ([{"a": {"b": {"c": {"d": "x"}}}}, {"a": {"b": {"c": {"d": "y"}}}}],
         {"a": {"b": {"c": {"d": "y"}}}}),
        ([{"a": 1}, {"a": "x"}, {"a": [1]}, {"a": {"b": 1}}, {"a": "z"}], {"a": "z"}),
        ([{"a": "\ud83d"}, {"a": "\ude00"}], {"a": "\ud83d\ude00"}),
        ([{"a": "x\r\n"}, {"a": "\r"}], {"a": "x\r\n\r"}),
    ],
)  # fmt: skip
def test_parts_make_a_whole(parts: list[dict[str, Any]], whole: dict[str, Any]) -> None:
    """Texts, lists and objects grow; names stand; other things are replaced; null is silent."""
    growing = Growing()

    for part in parts:
        growing.take(part)

    assert whole == growing.whole()


def test_parts_are_left_as_they_are() -> None:
    """What was taken belongs to somebody else."""
    first, growing = {"a": [1], "b": {"c": [1]}}, Growing()

    growing.take(first)
    growing.take({"a": [2], "b": {"c": [2]}})

    assert {"a": [1], "b": {"c": [1]}} == first
    assert {"a": [1, 2], "b": {"c": [1, 2]}} == growing.whole()


def test_nothing_is_as_deep_as_what_can_be_read() -> None:
    """An object that is nested deeper than Python may call is no reason to fail."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    growing = Growing()

    growing.take(deep)

    assert deep["a"]["a"]["a"] is growing.whole()["a"]["a"]["a"]
