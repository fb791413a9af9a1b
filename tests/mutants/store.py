"""What is known of mutants from earlier runs, so that a run can be broken off and gone on with.

Verdicts hold as long as the module and its tests are what they were: a digest of both stands
beside them. What else the module leans on is not looked at; ``--again`` forgets it all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, final

from attrs import define, field

from tests.mutants.report import Verdict


__all__ = ["Keep", "Known", "digest", "names"]

Keep = Literal["nothing", "killed", "all"]


def digest(files: Iterable[Path]) -> str:
    """Return a digest of what the *files* hold, in their order."""
    whole = sha256()
    for each in files:
        whole.update(sha256(each.read_bytes()).digest())
    return whole.hexdigest()


@final
@define(eq=False)
class Known:
    """The verdicts on the mutants of one module, by name, kept in *path*.

    Where the digest there is not *basis*, nothing of it is kept; or, if so asked, who was
    *killed*. That is quick, and good enough while tests are written, but no figure: the next
    run does not take it for one. To look at the last figures, keep *all*.
    """

    path: Path
    basis: str
    keep: Keep = "nothing"
    verdicts: dict[str, Verdict] = field(factory=dict, init=False)

    def read(self) -> None:
        """Take in what was written."""
        if not self.path.exists():
            return
        there = json.loads(self.path.read_text("utf-8"))
        if there["basis"] == self.basis or self.keep == "all":
            self.verdicts = there["verdicts"]
        elif self.keep == "killed":
            self.basis = ""
            self.verdicts = {k: "killed" for k, v in there["verdicts"].items() if v == "killed"}

    def write(self) -> None:
        """Keep what is known."""
        self.path.parent.mkdir(exist_ok=True)
        there = {"basis": self.basis, "verdicts": self.verdicts}
        self.path.write_text(json.dumps(there, indent=0), "utf-8")


def names(parts: Iterable[Sequence[str]]) -> list[str]:
    """Return a name for each of *parts*; those that are alike are numbered."""
    seen: dict[str, int] = {}
    found = []
    for part in parts:
        name = "\n".join(part)
        seen[name] = seen.get(name, 0) + 1
        found.append(f"{name}\n{seen[name]}")
    return found
