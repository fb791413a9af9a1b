"""What the tests of deadlines and timeouts share: slow leaves, and a look at the loop's timers."""

import asyncio
from typing import Any

from llmstack.errors import LLMStackError
from llmstack.service import Service
from llmstack.stream import EventStream
from llmstack.testing.scripted import ScriptedEvent, stream_of
from llmstack.testing.virtual import VirtualLoop


def timers() -> int:
    """How many timers of the running loop are still to come."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return sum(not timer.cancelled() for timer in loop._scheduled)


def leaf(delay: float, waits: list[int] | None) -> Service[Any, Any]:
    """Answers after *delay*: complete without *waits*, else a stream with an event behind each."""

    async def service(_request: object, /) -> object:
        await asyncio.sleep(delay)
        if waits is None:
            return "ok"
        return stream_of([part for wait in waits for part in (wait, ScriptedEvent())])

    return service


async def use(service: Service[Any, Any], request: object) -> tuple[str, int]:
    """How a call ends for the caller, and how many events have come."""
    n = 0
    try:
        reply = await service(request)
        if isinstance(reply, EventStream):
            async for _ in reply:
                n += 1
    except LLMStackError as error:
        return str(error), n
    return "ok", n
