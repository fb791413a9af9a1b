"""What a detector says of slowness: its numbers, and when it is over."""

from __future__ import annotations

from collections.abc import Iterable

from llmstack.estimators.cusum import Cusum
from llmstack.estimators.trip import Calm, Detector, Sample, Trip
from tests.estimators.test_cusum import QUICK, SLOW, in_words, warm


def said_of(detector: Detector, samples: Iterable[Sample], now: float) -> list[Trip | Calm | None]:
    return [detector.add(now, sample) for sample in samples]


def test_slowness_says_its_numbers() -> None:
    """Those of the calls since the sum was last at 0, until slowness is over."""
    detector = warm(Cusum())
    before = said_of(detector, [SLOW, *[QUICK] * 5], 5.0)
    begun = said_of(detector, [SLOW] * 6, 5.0)
    ended = said_of(detector, [SLOW] * 4 + [QUICK] * 25, 6.0)
    again = said_of(detector, [SLOW] * 6, 7.0)

    assert [None] * 6 == before
    trip = Trip("6 of the last 6 good calls took longer than 2 s", slow_only=True)
    assert [*[None] * 5, trip] == begun == again
    assert [*[None] * 28, Calm("0 of the last 20 good calls took longer than 2 s")] == ended


def test_what_stays_slow_is_usual_in_the_end() -> None:
    """It says for how long it was slow; from then on it learns, as one that is new."""
    detector = warm(Cusum())
    begun = said_of(detector, [SLOW] * 25, 5.0)
    relearned = said_of(detector, [SLOW], 605.0)
    learning = said_of(detector, [SLOW] * 100, 605.0)
    slower = said_of(detector, [Sample(bad=False, seconds=1e4)] * 6, 605.0)

    assert 1 == len([each for each in begun if each])
    assert [Calm("slow for 600 s: that is usual now", relearned=True)] == relearned
    assert [None] * 100 == learning
    trip = Trip("6 of the last 6 good calls took longer than 200 s", slow_only=True)
    assert [*[None] * 5, trip] == slower


def test_reset_ends_slowness() -> None:
    """As many slow calls are needed as at first."""
    detector = warm(Cusum(calls=1000))
    begun = [in_words(each) for each in said_of(detector, [SLOW] * 5, 0.0)]
    detector.reset()

    assert ["", "", "", "slow", ""] == begun
    assert begun == [in_words(each) for each in said_of(detector, [SLOW] * 5, 0.0)]
