"""A cancel at every step of a translated stream: one end, and the endpoint's stream is closed."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, Final

import llmstack as ls
from llmstack.call import Outcome
from llmstack.service import observe
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedSource
from tests.properties.spoken import line_of


ASKED: Final = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}


def events(*kinds: str) -> list[ScriptedEvent]:
    """What an endpoint that speaks Messages says, as the events of its stream."""
    blocks = b"".join(line_of("messages", kind, kind) for kind in kinds).split(b"\n\n")[:-1]
    datas = [block.partition(b"data: ")[2] for block in blocks]
    return [ScriptedEvent(data, json.loads(data)["type"]) for data in datas]


def test_wherever_it_is_cancelled_it_ends_once_and_closes_once() -> None:
    """While it waits for content, between events and at its end; twice as well."""
    ends: list[Outcome] = []
    sources: list[ScriptedSource] = []

    async def claude(_request: ls.Request) -> ls.EventStream:
        waits: list[Line] = []
        for event in events("start", "text", "text", "finish", "done"):
            waits += [1.0, event]
        sources.append(ScriptedSource(waits, ls.Usage(output=2)))
        return ls.EventStream(sources[-1])

    async def call() -> list[Any]:
        stack = ls.ServiceBuilder().layer(ls.Translate(speaks=["messages"])).service(claude)
        reply = await observe(stack, ls.Request("m", ASKED, stream=True), ends.append)
        async with aclosing(reply):
            return [event.data async for event in reply]

    def scenario() -> Coroutine[Any, Any, list[Any]]:
        ends.clear()
        sources.clear()
        return call()

    async def check(run: CancelledRun[list[Any]]) -> None:
        began = run.cancels != () and run.cancels[0] == 0
        assert (0 if began else 1) == len(ends)
        assert {1} >= {source.closed for source in sources}
        assert () == run.left

    runs = cancelled_everywhere(scenario, check)

    assert "cancelled" != runs[0].ended
    assert {"cancelled"} == {run.ended for run in runs[1:]}
    assert len(runs) > 10
