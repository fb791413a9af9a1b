"""What users of other routers asked for about retries and waits, each on a stack as one builds it.

The docstrings name the thread that asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.testing.virtual import run_virtual
from tests.properties.asked import ROUTERS, Chat, Host, built, end_of, endpoints, told


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("named", [(1, 12, 2), (12, 1, 2), (2, 2, 30)], ids=str)
def test_a_wait_is_that_of_the_latest_answer(router: str, named: Sequence[float]) -> None:
    """BerriAI/litellm#20722: an older answer said how long, so retries came 12 times too fast.

    No shorter than the answer before it says, and hardly longer; also in the next call.
    """
    host = Host(told(*(ls.RateLimited(retry_after=each) for each in named), None, limited(1)))
    stack = built(
        ls.Deadline(60),
        ls.Retry(attempts=4),
        ROUTERS[router](endpoints(host)),
        ls.CircuitBreaker(),
        ls.Cooldown(),
    )

    async def main() -> list[object]:
        return [await end_of(stack), await end_of(stack)]

    with capture_logs():
        ends, _ = run_virtual(main())
    waits = [after - before for before, after in pairwise(host.asked)]
    del waits[len(named)]  # between the two calls

    assert ["ok", "ok"] == ends
    assert all(a <= b <= 1.22 * a for a, b in zip([*named, 1], waits, strict=True))


def limited(seconds: float) -> ls.RateLimited:
    return ls.RateLimited(retry_after=seconds)


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("kind", [ls.Overloaded, ls.ConnectionLost, ls.RateLimited])
@pytest.mark.parametrize("router", ROUTERS)
def test_backoff_belongs_to_the_retry_and_not_to_the_router(
    router: str, kind: type[ls.UpstreamError], hosts: int
) -> None:
    """BerriAI/litellm#7669: with one of the strategies retries came without a pause.

    Here each round over the hosts comes after a pause, and each pause is twice as long.
    """
    down = [Host(lambda _: kind()) for _ in range(hosts)]
    retry = ls.Retry(attempts=4, base=1.0, jitter="equal")
    stack = built(ls.Deadline(60), retry, ROUTERS[router](endpoints(*down)))
    with capture_logs():
        end, _ = run_virtual(end_of(stack))
    rounds = sorted({at for host in down for at in host.asked})
    pauses = [after - before for before, after in pairwise(rounds)]

    assert isinstance(end, kind)
    assert len(pauses) in {3, 4 - hosts}
    assert [] == [(n, pause) for n, pause in enumerate(pauses[::-1]) if not 2 <= 2**n * pause <= 4]
    assert [] == [host for host in down if len(set(host.asked)) < len(host.asked)]


def grouped(hosts: Sequence[Host]) -> ls.Layer:
    """A group of all but the last, and the last one by itself."""
    *most, last = endpoints(*hosts)
    return ls.Fallback([ls.Endpoint("group", built(ls.RoundRobin(most))), last])


#: A router over three hosts, how often to try, and how often anybody is asked at most, and asked.
STACKS: Final[list[tuple[Callable[..., ls.Layer], int, int, int]]] = [
    (ls.RoundRobin, 4, 4, 4),
    (ls.LatencyBased, 2, 2, 2),
    (ls.Fallback, 1, 3, 3),
    (ls.Fallback, 2, 6, 6),
    (partial(ls.Fallback, retry_primary=2), 2, 10, 10),
    (partial(ls.Fallback, max_attempts=1), 2, 4, 4),
    (partial(ls.Keys, rotations=1), 3, 6, 3),
    (grouped, 3, 6, 6),
]


@pytest.mark.filterwarnings("ignore::llmstack.order.StackWarning")  # two retries, on purpose
@pytest.mark.parametrize("kind", [ls.Overloaded, ls.ConnectionLost, ls.AuthFailed])
@pytest.mark.parametrize(("router", "attempts", "most", "asked"), STACKS)
def test_no_fallback_begins_to_count_anew(
    router: Callable[..., ls.Layer],
    attempts: int,
    most: int,
    asked: int,
    kind: type[ls.UpstreamError],
) -> None:
    """BerriAI/litellm#19985: each fallback began a cycle of retries of its own.

    Here one ledger has all that was sent, by whomever, and it is no more than is said before.
    """
    hosts = [Host(lambda _: kind()) for _ in range(3)]
    over = router(hosts if router is grouped else endpoints(*hosts))
    stack = built(ls.Deadline(60), ls.Retry(attempts=attempts), over)
    request = ls.Request("m")
    with capture_logs():
        error, _ = run_virtual(end_of(stack, request))
    ledger = dict.fromkeys("abc", 0)
    for attempt in [each for each in request.call.attempts if not each.group]:
        ledger[attempt.endpoint] += attempt.sends

    assert isinstance(error, kind)
    assert [len(host.asked) for host in hosts] == list(ledger.values())
    assert (most, min(asked, 3) if kind is ls.AuthFailed else asked) == (
        stack.bound.calls,
        request.call.sent,
    )


def keys(rotations: int, *hosts: Host, attempts: int = 1) -> Chat:
    """A stack over keys of one endpoint, as many as there are hosts."""
    over = ls.Keys(endpoints(*hosts), rotations=rotations)
    return built(ls.Deadline(60), ls.Retry(attempts=attempts), over, ls.Cooldown())


DEAD: Final = ls.AuthFailed
SICK: Final = ls.ServerError


@pytest.mark.parametrize(
    ("rotations", "attempts", "failures", "end", "asked"),
    [
        (2, 1, [[DEAD], [DEAD], []], "ok", (1, 1, 1)),
        (2, 2, [[DEAD], [DEAD], [SICK]], "ok", (1, 1, 2)),
        (2, 1, [[DEAD], [DEAD], [SICK]], SICK, (1, 1, 1)),
        (2, 1, [[SICK], [], []], SICK, (1, 0, 0)),
        (0, 2, [[SICK], [], []], "ok", (1, 1, 0)),
        (1, 1, [[DEAD], [DEAD], []], DEAD, (1, 1, 0)),
        (9, 3, [[DEAD], [DEAD], [DEAD]], DEAD, (1, 1, 1)),
    ],
)
def test_rotation_and_retries_are_counted_apart(
    rotations: int,
    attempts: int,
    failures: list[list[type[ls.UpstreamError]]],
    end: object,
    asked: tuple[int, ...],
) -> None:
    """maximhq/bifrost#5876: dead keys used up the retries, so that a good one was not reached.

    Here a dead key costs no retry and a sick host no rotation, and both are in the bound.
    """
    hosts = [Host(told(*(kind() for kind in script))) for script in failures]
    stack = keys(rotations, *hosts, attempts=attempts)
    with capture_logs():
        ended, _ = run_virtual(end_of(stack))

    assert end == (ended if ended == "ok" else type(ended))
    assert asked == tuple(len(host.asked) for host in hosts)
    assert sum(asked) <= attempts * min(3, 1 + rotations) == stack.bound.calls


#: What may go well the next time, and what is asked about once more at one endpoint, not twice.
ONCE: Final = (ls.ServerError, ls.EmptyResponse)
PASSING: Final[tuple[Callable[[], ls.UpstreamError], ...]] = (
    *(ls.Overloaded, ls.ConnectionFailed, ls.ConnectionLost, ls.UpstreamTimeout),
    *(partial(ls.RateLimited, retry_after=5), partial(ls.Overloaded, retry_after=2)),
    *ONCE,
)


@pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
@given(
    router=st.sampled_from(["round_robin", "weighted_random", "latency_based", "cost_based"]),
    hosts=st.integers(1, 3),
    kinds=st.lists(st.sampled_from(PASSING), max_size=3),
)
@example(router="round_robin", hosts=2, kinds=[ls.ServerError, ls.ServerError])
def test_what_passes_is_not_told(
    router: str, hosts: int, kinds: list[Callable[[], ls.UpstreamError]], *, stream: bool
) -> None:
    """vercel/ai#13396: errors that pass reached the application.

    Here no fewer failures than there are attempts do, for a stream those before its content.
    """
    script = [kind() for kind in kinds if hosts > 1 or kind not in ONCE]
    left = iter([*script, *[None] * 9])
    over = ROUTERS[router](endpoints(*(Host(lambda _: next(left)) for _ in range(hosts))))
    gates = ls.CircuitBreaker(), ls.Cooldown(), ls.Timeout(first_token=9)
    stack = built(ls.Deadline(60), ls.Retry(attempts=3), over, *gates)
    request = ls.Request("m", stream=stream)
    with capture_logs():
        end, _ = run_virtual(end_of(stack, request))

    assert ("ok" if len(script) < 3 else script[-1]) == end
    assert min(3, len(script) + 1) == request.call.sent


@pytest.mark.parametrize("router", ["round_robin", "fallback", "latency_based"])
@pytest.mark.parametrize("last", [ls.RateLimited(retry_after=300), ls.AuthFailed()], ids=type)
def test_of_several_waits_the_shortest_is_waited_for(router: str, last: ls.LLMStackError) -> None:
    """vercel/ai#13396: what passes in five seconds is not told, though the last one takes longer.

    Or does not pass at all.
    """
    hosts = [Host(told(ls.RateLimited(retry_after=5))), Host(told(last))]
    gates = ls.CircuitBreaker(), ls.Cooldown()
    stack = built(ls.Deadline(60), ls.Retry(), ROUTERS[router](endpoints(*hosts)), *gates)
    with capture_logs():
        end, seconds = run_virtual(end_of(stack))

    assert ("ok", [2, 1], True) == (end, [len(host.asked) for host in hosts], 5 <= seconds < 7)
