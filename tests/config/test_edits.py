"""Any edit of a right file gives a configuration, or mistakes that say where they are."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.config import Config, ConfigMistakes, parse
from tests.config.example import EXAMPLE


LINES = EXAMPLE.splitlines(keepends=True)
#: What there may be in a file: keys, values and signs, right and wrong ones.
PIECES = [
    *re.findall(r'"[^"\n]*"|[\w.]+|[^\w\s]', EXAMPLE),
    *("inf", "-inf", "nan", "-1", "0", "1e400", "true", "1979-05-27", "07:32:00", "[]", "{}"),
    *(
        '""',
        '"""',
        "'",
        "\\",
        "\x00",
        "\n",
        "[[a]]",
        "0x" + "f" * 20,
        "9" * 5000,
        "0x" + "f" * 5000,
    ),
    *('"retry"', '"metrics"', '"log"', "key = 'tenant'", "unknown = 'last'", '"chat"', '"us"'),
]


@st.composite
def edited(draw: st.DrawFn) -> str:
    """The example after some edits of lines, of words and of characters."""
    lines = list(LINES)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "double", "move"])):
            case "drop" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case _:
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
    words = re.split(r'("[^"\n]*"|[\w.]+|[^\w\s])', "".join(lines))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(words) - 1))
        words[at] = draw(st.sampled_from(PIECES) | st.text(max_size=3) | st.just(""))
    return "".join(words)


def read(text: str) -> Config | tuple[str, ...]:
    """What becomes of *text*: a configuration, or mistakes."""
    try:
        return parse(text)
    except ConfigMistakes as error:
        return error.mistakes


@given(edited())
@example(EXAMPLE)
@example("")
@example("a = " + "[" * 3000)
@example("a = " + "[" * 400 + "]" * 400)
@example(EXAMPLE.replace("weight = 3", "weight = " + "9" * 5000))
@example(EXAMPLE.replace("weight = 3", "weight = 0x" + "f" * 5000))
@example(EXAMPLE.replace("weight = 3", "weight = inf"))
@example(EXAMPLE.replace("//127.0.0.1:9001", "//[127.0.0.1:9001"))
@example(EXAMPLE.replace("//127.0.0.1:9001", "//a..b:99999"))
@example(EXAMPLE.replace("[endpoints.eu]", '[endpoints.""]'))
def test_any_edit_is_read_or_told(text: str) -> None:
    """No other error leaves, and every mistake has a line that there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EU_KEY", "sk-123")
        outcome = read(text)

    if isinstance(outcome, Config):
        assert outcome.routes
        assert all(stack.describe() for stack in outcome.routes.values())
    else:
        lines = [int(place[1]) for each in outcome if (place := re.match(r"line (\d+)[:,]", each))]
        assert len(outcome) == len(lines) > 0, outcome
        assert sorted(lines) == lines
        assert set(lines) <= set(range(1, text.count("\n") + 2))
        assert len(set(outcome)) == len(outcome)
