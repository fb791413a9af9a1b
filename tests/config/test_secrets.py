"""Keys are named in the file, never written into it, and nothing ever shows one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.config import Config, ConfigMistakes, parse
from llmstack.layers.translate import TranslateService
from llmstack.providers.openai import OpenAI


CANARY = "sk-canary-5Ej7"
TEXT = """\
endpoints.eu = {{ provider = "openai", base_url = "http://127.0.0.1:9001", api_key = {} }}
routes.chat.layers = [{{ use = "round_robin", endpoints = ["eu"] }}]
"""
PLACE = "line 1: endpoints.eu.api_key: "
ASKED = f'{PLACE}must be "env:NAME" or "file:PATH", so that no key stands in this file'
CARRY = "is empty or has signs that a header cannot carry"
UNSENDABLE = f"{PLACE}{CARRY}"
UNREADABLE = f"{PLACE}the file cannot be read: "


def outcome(api_key: str) -> Config | tuple[str, ...]:
    """What becomes of a file with this *api_key*: a configuration, or its mistakes."""
    try:
        return parse(TEXT.format(api_key))
    except ConfigMistakes as error:
        return error.mistakes


def key_in(config: object) -> str:
    """The key that the endpoint of a configuration sends."""
    assert isinstance(config, Config)
    endpoints = [
        e for layer in config.routes["chat"].layers for e in getattr(layer, "endpoints", ())
    ]
    service = endpoints[0].service
    assert isinstance(service, TranslateService)
    leaf = service.inner
    assert isinstance(leaf, OpenAI)
    assert leaf.api_key is not None
    return leaf.api_key.current().reveal()


def test_a_key_comes_from_the_environment_or_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file may end with a line break; nothing that is shown has the key in it."""
    monkeypatch.setenv("EU_KEY", CANARY)
    path = tmp_path / "key"
    path.write_text(f"{CANARY}\n")
    for source in ("'env:EU_KEY'", f"'file:{path}'"):
        config = outcome(source)

        assert CANARY == key_in(config)
        assert isinstance(config, Config)
        stack = config.routes["chat"]
        shown = f"{config!r} {config} {stack.describe()} {stack.layers} {stack.services}"
        assert CANARY not in shown


@pytest.mark.parametrize(
    ("api_key", "expected"),
    [
        (f"'{CANARY}'", ASKED),
        (f"'key:{CANARY}'", ASKED),
        (f"'ENV:{CANARY}'", ASKED),
        ("'env:'", ASKED),
        ("'file:'", ASKED),
        ("''", ASKED),
        ("3", ASKED),
        (f"['{CANARY}']", ASKED),
        (f"{{ key = '{CANARY}' }}", ASKED),
        ("'env:NOT_THERE_1'", f"{PLACE}the environment variable NOT_THERE_1 is not set"),
        (f"'env:{CANARY}'", f"{PLACE}the environment variable of that name is not set"),
        ("'env:not_there'", f"{PLACE}the environment variable of that name is not set"),
        ("'env:EMPTY'", UNSENDABLE),
        ("'env:BLANKS'", UNSENDABLE),
        ("'env:UNSENDABLE'", UNSENDABLE),
        (f"'file:/{CANARY}'", f"{PLACE}the file cannot be read: no such file or directory"),
        ("'file:.'", f"{PLACE}the file cannot be read: is a directory"),
        ("'file:empty'", f"{UNREADABLE}it {CARRY}"),
        ("'file:two'", f"{UNREADABLE}it {CARRY}"),
        ("'file:binary'", f"{PLACE}the file cannot be read: it is not text"),
        ('"file:a\\u0000b"', f"{PLACE}the file cannot be read: it is not text"),
    ],
)
def test_a_key_that_is_not_there(
    api_key: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Said at its place, without what stands there: it may be the key itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("BLANKS", "  ")
    monkeypatch.setenv("UNSENDABLE", f"{CANARY}\t")
    Path("empty").write_text(" \n")
    Path("two").write_text(f"{CANARY}\n{CANARY}\n")
    Path("binary").write_bytes(b"\xff" + CANARY.encode())

    assert (expected,) == outcome(api_key)


FORMS = ("'{}'", "'env:{}'", "'file:{}'", "'file:/{}/x'", "['{}']", "{{ '{}' = 1 }}", "'{}', x = 1")


@given(
    form=st.sampled_from(FORMS),
    around=st.tuples(*[st.text("abc:/ =#[]{}._-", max_size=4)] * 2),
)
def test_no_message_has_the_key_in_it(form: str, around: tuple[str, str]) -> None:
    """Whatever a person does with it, but to take it for the name of a setting."""
    text = TEXT.format(form.format(CANARY.join(around)))
    with pytest.raises(ConfigMistakes) as raised:
        parse(text)

    error: BaseException | None = raised.value
    while error is not None:
        assert CANARY not in f"{error} {error!r} {error.args}"
        error = error.__cause__ or error.__context__
