"""What a phase says in the very moment of its end, and what may choose its probes."""

from __future__ import annotations

import pytest

from llmstack.errors import ConfigError
from llmstack.estimators.phase import Phase, Probes


def test_a_moment_that_is_now_is_not_named() -> None:
    """While all probes are out: whoever waited for it would wait for nothing."""
    standing = Phase("open", "a", 10.0, hard=True, out=1).standing(10.0, 9.0, Probes())

    assert standing is not None
    assert ("down", None) == (standing.state, standing.ready_at)


@pytest.mark.parametrize("allow", [None, "all"])
def test_what_chooses_probes_is_a_function(allow: object) -> None:
    """Or it is said where it was written."""
    with pytest.raises(ConfigError, match="allow must be a function"):
        Probes(allow=allow)  # type: ignore[arg-type]
