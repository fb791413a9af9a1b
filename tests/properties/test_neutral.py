"""Neutral layers, as many as you like and in any order, change nothing that a caller sees."""

from __future__ import annotations

from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

import llmstack as ls
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, stream_of
from llmstack.testing.virtual import run_virtual
from tests.properties.test_cancel import read_out


T = TypeVar("T")


async def _passes(inner: ls.Service[Any, Any], request: object) -> object:
    return await inner(request)


def _same(value: T) -> T:
    return value


def _yes(_request: object) -> bool:
    return True


#: Layers that do nothing to a call that is neither slow nor one of very many.
NEUTRAL = st.sampled_from(
    [
        lambda: ls.map_request(_same),
        lambda: ls.map_response(_same),
        lambda: ls.map_error(_same),
        lambda: ls.filter(_yes),
        lambda: ls.optional(None),
        lambda: ls.layer_fn(_passes),
        lambda: ls.either(_yes, ls.map_request(_same), ls.map_error(_same)),
        lambda: ls.Metrics(ls.MemoryRecorder()),
        ls.Log,
        lambda: ls.ConcurrencyLimit(1),
        lambda: ls.Timeout(total=1000.0),
        lambda: ls.Deadline(1000.0),
        ls.CircuitBreaker,
    ]
)
SCRIPTS: dict[str, Any] = {
    "reply": lambda: ls.Response(b"{}", usage=ls.Usage(1, 2)),
    "error": lambda: ls.RateLimited("full", status=429, retry_after=7),
    "bug": lambda: ZeroDivisionError("a bug"),
    "stream": lambda: stream_of([1.0, ScriptedEvent(b"1"), ScriptedEvent(b"2")]),
    "broken": lambda: stream_of([ScriptedEvent(b"1"), ls.StreamBroken("cut")]),
}


def heard(layers: list[ls.Layer], script: str) -> tuple[list[object], float]:
    """Return what a caller gets through *layers*, and how long it took."""
    inner: ScriptedService[Any, Any] = ScriptedService([])
    builder = ls.ServiceBuilder(tuple(layers))
    stack = builder.service(inner)

    async def main() -> list[object]:
        inner.script.append(SCRIPTS[script]())
        inner.delay = 0.5
        got: list[object] = []
        try:
            reply = await stack(ls.Request("m"))
            got.append(type(reply).__name__)
            got.append(await read_out(reply) if script != "reply" else reply.body)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it must be the same
            got += [type(error), str(error), getattr(error, "retry_after", None)]
        return [*got, len(inner.calls)]

    return run_virtual(main())


@settings(max_examples=200)
@given(made=st.lists(NEUTRAL, max_size=8), script=st.sampled_from(sorted(SCRIPTS)))
def test_random_stacks_of_neutral_layers_change_nothing(made: list[Any], script: str) -> None:
    """Replies, errors, bugs, streams and the time they take are the same with and without."""
    layers: list[ls.Layer] = []
    for make in made:
        try:
            layers = [*layers, make()]
            ls.ServiceBuilder(tuple(layers)).service(ScriptedService([]))
        except ls.ConfigError:
            layers.pop()  # this place is not for that layer

    assert heard([], script) == heard(layers, script)
