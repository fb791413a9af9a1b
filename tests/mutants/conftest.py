"""What needs mutmut is collected where that is: in the environment of ``make mutants``."""

from __future__ import annotations

from importlib.util import find_spec


collect_ignore = [] if find_spec("mutmut") else ["bench"]
