from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.estimators.ramp import Ramp
from llmstack.standing import Standing


moments = st.integers(0, 64).map(float)


@given(start=moments, after=moments, share=st.sampled_from([0.0, 0.25, 0.5]))
def test_the_share_grows_in_equal_steps(start: float, after: float, share: float) -> None:
    """P-SS-1: from where it starts, at least a tenth, to all, in its time."""
    ramp = Ramp(32.0)
    ramp.begin(start, share)

    assert max(0.1, min(1.0, share + after / 32)) == ramp.share(start + after)


@given(before=moments, after=moments, share=st.sampled_from([0.0, 0.25]))
def test_it_never_falls(before: float, after: float, share: float) -> None:
    """P-CB-2: the share of a later moment is no smaller."""
    ramp = Ramp(30.0)
    ramp.begin(10.0, share)

    assert ramp.share(10.0 + before) <= ramp.share(10.0 + before + after)


@pytest.mark.parametrize("now", [-1e9, 0.0, 5.0, 1e9])
def test_all_pass_where_there_is_none(now: float) -> None:
    """Before it has begun, once it is stopped, and without a length: at any time."""
    new, stopped, none = Ramp(30.0), Ramp(30.0), Ramp(0.0)
    stopped.begin(5.0)
    stopped.stop()
    none.begin(5.0)

    assert [1.0] * 3 == [ramp.share(now) for ramp in (new, stopped, none)]


def test_says_how_it_stands() -> None:
    """While it goes on, by the share that passes; before and behind it there is nothing to say."""
    ramp = Ramp(30.0)
    before = ramp.standing(0.0)
    ramp.begin(0.0)

    assert [None, None] == [before, ramp.standing(30.0)]
    assert [
        Standing("degraded", f"closed just now, and {share} of the calls pass")
        for share in ("10%", "50%", "100%")
    ] == [ramp.standing(now) for now in (0.0, 15.0, 29.9)]
