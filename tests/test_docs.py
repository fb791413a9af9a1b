"""The documentation says what the code does: pages, names, examples, the way into the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

import llmstack
from tests.shape import pages
from tests.shape.source import ROOT, read, sources


REFERENCE: Final = ROOT / "docs" / "reference"
README: Final = ROOT / "README.rst"
LAYERS: Final = [
    path for path in sources("llmstack/layers", "llmstack/routers") if pages.layers_in(read(path))
]
TEXTS: Final = {".cfg", ".css", ".html", ".js", ".json", ".md", ".py", ".rst", ".toml", ".txt", ""}
#: What is not the project's own: folders of tools and of builds.
FOREIGN: Final = re.compile(r"\.(?!ci$).*|build|dist|__pycache__|.*\.egg-info")
#: Paths of one machine, and hosts of registries; put together, so as not to find themselves.
LOCAL: Final = re.compile(
    r"(?<![\w.])/(?:wor[k]|tm[p]|hom[e]|roo[t]|op[t]|User[s])/|pyp[i]\.org|pythonhoste[d]\.org"
)


def page_of(path: str) -> str:
    """The text of the reference page of a module; "" if there is none."""
    name = path.rpartition("/")[2].removesuffix(".py")
    found = sorted(REFERENCE.rglob(f"{name}.rst"))
    return found[0].read_text() if found else ""


@pytest.mark.parametrize("path", LAYERS)
def test_a_layer_has_a_page_that_says_all(path: str) -> None:
    """The headings, an example, each setting with its default, each event, each error."""
    wrong = pages.missing(read(path), page_of(path))

    assert [] == wrong, "\n".join([path, *wrong])


PAGE: Final = """
Deadline
========

About
-----
``Deadline`` raises `DeadlineExceeded`.

Example
-------
>>> 1
1

Settings and defaults
---------------------

``seconds``
    How long; required.
``grace``
    How much longer; 2 by default.
``key``
    Whose, ``by_tenant``.
``names``
    Any.

Events and statistics
---------------------
``deadline.passed``

Behaviour at the edges
----------------------

Anti-patterns
-------------
To wait for ``deadline.passed``.
"""
MODULE: Final = '''
"""A sample."""

from typing import ClassVar

from attrs import field, frozen
from structlog import get_logger

from llmstack.errors import DeadlineExceeded
from llmstack.service import by_tenant


log = get_logger()


@frozen
class Deadline:
    seconds: float
    grace: float = 2.0
    key: object = by_tenant
    names: list[str] = field(factory=list)
    role: ClassVar[str] = "deadline"

    def __call__(self, inner: object) -> object:
        log.warning("deadline.passed", wait=1)
        raise DeadlineExceeded


class Helper:
    pass
'''


@pytest.mark.parametrize(
    ("said", "instead", "expected"),
    [
        ("", "", []),
        ("About\n", "Abort\n", ["headings are"]),
        (">>> ", "", ["no example that runs"]),
        ("Deadline", "Limit", ["Deadline is not named", "DeadlineExceeded is not named"]),
        ("`DeadlineExceeded`", "it", ["DeadlineExceeded is not named under any heading"]),
        ("``seconds``", "``second``", ["seconds is not named under Set", "default of seconds"]),
        ("required", "wanted", ["default of seconds should be required"]),
        (" 2 ", " 2.5 ", ["default of grace should be 2 or 2.0"]),
        ("by_tenant", "by_model", ["default of key should be by_tenant"]),
        ("``names``", "", ["names is not named under Settings and defaults"]),
        ("--\n``deadline.passed``", "--\n", ["deadline.passed is not named under Events"]),
    ],
    ids=lambda value: value.strip(" `\n>") if isinstance(value, str) else None,
)
def test_a_page_that_leaves_something_out_is_found(
    said: str, instead: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the page above loses, the check names it."""
    (tmp_path / "sample_layer.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    found = pages.missing(read("sample_layer.py", MODULE), PAGE.replace(said, instead))

    assert len(expected) == len(found), found
    assert all(wrong.startswith(start) for wrong, start in zip(found, expected, strict=True))


def test_every_public_name_is_in_the_reference() -> None:
    """A name enters ``__all__`` together with its page."""
    text = "\n".join(path.read_text() for path in sorted(REFERENCE.rglob("*.rst")))
    names = [name for name in llmstack.__all__ if not name.startswith("__")]

    assert [] == [name for name in names if not re.search(rf"\b{name}\b", text)]


def test_public_names_are_sorted_and_exist() -> None:
    """The front door in one list."""
    assert sorted(set(llmstack.__all__)) == sorted(llmstack.__all__)
    assert [] == [name for name in llmstack.__all__ if not hasattr(llmstack, name)]


def places(text: str) -> list[int]:
    """Where in a README a newcomer finds what is wanted, in the order that is wanted."""
    paragraphs = re.split(r"\n\s*\n", text)
    sentence, denial = paragraphs[1].strip(), paragraphs[2].strip()
    assert re.fullmatch(r"[^.]+(?:\.\S[^.]*)*\.", sentence), f"not one sentence: {sentence}"
    assert re.search(r"\bnot\b|\bno\b", denial), f"not what it is not: {denial}"
    wanted = (
        "make demo",
        "make check",
        r"^(?:>>> |\.\. code)",
        r"\d.*\n?.*\b(?:make bench|benchmarks/)",
    )
    maps = ("docs/tutorial", "docs/how-to", "docs/reference", "docs/explanation")
    found = [re.search(each, text, re.MULTILINE) for each in (*wanted, "|".join(maps))]
    return [text.index(sentence), text.index(denial), *(m.start() if m else -1 for m in found)]


GOOD: Final = """llmstack
========

Calls to models pass through layers.

It is not a proxy.

``make demo`` and ``make check``

>>> 1
1

It takes 4.4 microseconds: ``make bench``

See docs/tutorial
"""


def test_the_readme_says_things_in_order() -> None:
    """One sentence, what it is not, two commands, code, facts with their command, a map."""
    found = places(README.read_text())

    assert sorted(found) == found
    assert -1 not in found


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ("layers.", "layers. So they do."),
        ("not a", "a"),
        ("``make demo`` and ``make check``", "``make check`` and ``make demo``"),
        (">>> ", ""),
        ("``make bench``", ""),
        ("docs/tutorial", ""),
    ],
    ids=["two sentences", "no denial", "order", "no code", "no command", "no map"],
)
def test_a_readme_out_of_order_is_found(said: str, instead: str) -> None:
    """The check above can fail."""
    assert sorted(places(GOOD)) == places(GOOD)
    text = GOOD.replace(said, instead)
    try:
        found = places(text)
    except AssertionError:
        found = [-1]

    assert -1 in found or sorted(found) != found


def blocks(text: str) -> list[str]:
    """The blocks of Python in a page that are meant to be pasted; doctests run by themselves."""
    found = re.findall(r"^\.\. code(?:-block)?:: python\n((?:\n|[ ]+.*\n)+)", text, re.MULTILINE)
    return [dedent(block) for block in found if ">>> " not in block]


def test_what_the_readme_offers_to_paste_runs(tmp_path: Path) -> None:
    """As it stands, each block in a fresh interpreter."""
    for code in blocks(README.read_text()):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert (0, "") == (run.returncode, run.stderr), code


def test_the_readme_shows_what_its_code_prints() -> None:
    """The block after the code is its output, without the lines of the log."""
    text = README.read_text()
    shown = re.search(r"^It prints.*::\n((?:\n|[ ]+.*\n)+)", text, re.MULTILINE)
    run = subprocess.run(
        [sys.executable, "-c", blocks(text)[0]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    printed = [line for line in run.stdout.splitlines() if "[warning" not in line]

    assert shown is not None
    assert dedent(shown[1]).strip().splitlines() == printed


def test_blocks_are_found() -> None:
    """Blocks of Python without prompts, and nothing else."""
    page = "x\n\n.. code:: python\n\n    a\n\n      b\n\nc\n\n.. code:: toml\n\n    d\n\n"
    page += ".. code-block:: python\n\n    >>> e\n"

    assert ["\na\n\n  b\n\n"] == blocks(page)


def texts(folder: Path) -> Iterator[Path]:
    """The text files of the project."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in TEXTS:
            yield path
        elif path.is_dir() and not FOREIGN.fullmatch(path.name):
            yield from texts(path)


def test_no_file_speaks_of_the_machine_it_was_written_on() -> None:
    """No absolute path of one machine, no host of a registry: a clone works anywhere."""
    found = [(path, LOCAL.search(path.read_text())) for path in texts(ROOT)]

    assert [] == [f"{path.relative_to(ROOT)}: {match[0]}" for path, match in found if match]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see /" + "work/main", True),
        ('"/' + 'home/me"', True),
        ("https://pypi" + ".org/simple", True),
        ("http://host/home/x and ./tmp/y and /run/secrets", False),
    ],
    ids=["work", "home", "registry", "neither"],
)
def test_a_local_path_is_found(text: str, *, expected: bool) -> None:
    """The check above can fail."""
    assert expected == bool(LOCAL.search(text))
