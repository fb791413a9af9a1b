"""The tables of errors, against replies in the shapes that providers and edges send.

An entry of the corpus says what came (status, headers, body, and in which phase), and what it
means: the class, the code that is kept, the wait, what is put aside, and whether the same
endpoint may be asked again if that is not what the class says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from anthropic.types.shared.error_type import ErrorType
from openai.types.responses import ResponseError

from llmstack import errors
from llmstack.errors import UpstreamError
from llmstack.providers import verdict
from llmstack.providers.anthropic import classify as anthropic
from llmstack.providers.openai import classify as openai
from llmstack.providers.openai import hosts
from llmstack.providers.said import Said


CORPUS: Final = Path(__file__).parents[1] / "corpus"
Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    text = (CORPUS / name / "errors.jsonl").read_text()
    return [*map(json.loads, text.splitlines())]


FORMATS: Final = {"openai": openai.classify, "anthropic": anthropic.classify}
ROWS: Final = [(name, row) for name in FORMATS for row in rows(name)]


def judged(name: str, row: Row) -> UpstreamError:
    where = row["status"], row["headers"], row["body"].encode(), row["phase"]
    return FORMATS[name](*where, wall=row.get("wall"))


@pytest.mark.parametrize(
    ("name", "row"), ROWS, ids=[f"{name}: {row['from']}: {row['case']}" for name, row in ROWS]
)
def test_means_what_the_corpus_says(name: str, row: Row) -> None:
    """Of the words of the provider none is kept, but where a caller is wrong."""
    error = judged(name, row)
    cools = None if error.cools is None else [error.cools.scope, error.cools.seconds]

    assert getattr(errors, row["class"]) is type(error)
    assert row["code"] == error.code
    assert pytest.approx(row["wait"]) == error.retry_after
    assert row["cools"] == cools
    assert row.get("again", type(error)().again) is error.again
    assert row["status"] == error.status
    sentence = type(error)().message
    assert error.args == ("",) or error.message.startswith(f"{sentence} (param ")


def test_the_corpus_is_broad() -> None:
    """Every class that a reply can mean, and every status that hosts are known to send."""
    kinds = {
        name: kind
        for name in errors.__all__
        if isinstance(kind := getattr(errors, name), type) and issubclass(kind, UpstreamError)
    }
    leaves = {name for name, kind in kinds.items() if not kind.__subclasses__()} | {"BadRequest"}
    for name in FORMATS:
        here = rows(name)
        # Nothing that came is an empty reply, and a stream is judged by whoever reads it.
        assert {"EmptyResponse", "StreamBroken", "StreamIncomplete"} == leaves - {
            row["class"] for row in here
        }
        assert len({(row["from"], row["case"]) for row in here}) == len(here) >= 150
        assert {row["phase"] for row in here} == {*get_args(verdict.Phase)}
    statuses = {row["status"] for _, row in ROWS}
    assert {400, 401, 402, 403, 404, 408, 409, 412, 413, 422, 424, 429, 451, 498, 499} <= statuses
    assert {500, 501, 502, 503, 504, *range(520, 527), 529, 530} <= statuses


def test_the_types_of_the_sdks_are_there() -> None:
    """Those of Anthropic in a stream, and the codes of a response of OpenAI that failed."""
    types = {*get_args(ErrorType)} - {
        "memory_precondition_failed_error",
        "memory_path_conflict_error",
    }
    codes = {*get_args(ResponseError.model_fields["code"].annotation)}
    events = [row["code"] for row in rows("anthropic") if row["phase"] == "event"]

    assert types <= {*events}
    assert codes <= {row["code"] for row in rows("openai")}


def words_of(name: str, *, without: bool = False) -> set[str]:
    """The codes of all rows; of those *without* a status of their own."""
    said = [
        Said.of(row["body"].encode(), row["headers"])
        for row in rows(name)
        if not without or row["phase"] != "status"
    ]
    return {word for each in said if not (without and each.number) for word in each.words}


@pytest.mark.parametrize(
    ("name", "codes", "meant"),
    [
        ("openai", hosts.CODES, hosts.MEANT),
        ("anthropic", anthropic.EXACT, anthropic.MEANT),
    ],
)
def test_each_code_of_the_tables_has_a_sample(
    name: str, codes: Mapping[str, object], meant: Mapping[str, int]
) -> None:
    """So that nobody takes one out unnoticed; those of the clouds come in either format."""
    words = words_of(name)

    assert {*codes} - words == set()
    assert {*verdict.CODES} - words == set()
    assert {*meant} - words_of(name, without=True) == set()
    assert {*verdict.STATUSES} - {row["status"] for row in rows(name)} == set()


@pytest.mark.parametrize("words", [part for _, found, _ in hosts.WORDS for part in [found.pattern]])
def test_each_row_of_words_has_a_sample(words: str) -> None:
    """One that no other row takes, and that means something else without the words."""
    decided = 0
    for row in rows("openai"):
        said = Said.of(row["body"].encode(), row["headers"])
        fits = [found.pattern for _, found, _ in hosts.WORDS if found.search(said.message)]
        bare = row["body"].replace(json.dumps(said.message)[1:-1], "x")
        other = judged("openai", {**row, "body": bare})
        decided += fits == [words] and (type(other).__name__, other.again) != (
            row["class"],
            row.get("again", other.again),
        )
        decided += fits == [words] and other.cools != judged("openai", row).cools

    assert decided


@pytest.mark.parametrize(
    "said",
    [
        *("API key not valid", "please pass a valid API key", "Incorrect API key provided"),
        *("User location is not supported", "it is not available in your country"),
        *("your credit balance", "spend limit", "usage limits", "organization has been disabled"),
    ],
)
@pytest.mark.parametrize("name", FORMATS)
def test_no_caller_can_put_a_key_aside(name: str, said: str) -> None:
    """By words that the provider repeats in a 400: they blame the caller."""
    for sign in ("'", '"', "[", "{", ": "):
        message = f"invalid value {sign}{said}"
        error = FORMATS[name](400, {}, json.dumps({"error": {"message": message}}).encode())

        assert (errors.BadRequest, None) == (type(error), error.cools)
