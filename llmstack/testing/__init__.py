"""The test kit: what the project's own tests use, for tests of what you build on it.

Here is what needs nothing but the package: virtual time (`run_virtual`, `VirtualLoop`), a
cancel at every step (`cancelled_everywhere`), one scenario in many orders (`explore`),
services and streams that do as they are told (`ScriptedService`, `ScriptedSource`,
`stream_of`, `under_way`), a TCP server that plays a script (`ScriptedUpstream`; its steps are
in `llmstack.testing.upstream`).

What needs more is imported by its module: `llmstack.testing.provider.FakeProvider` stands
on aiohttp, and `check_router` and `check_layer` of `llmstack.testing.check` on hypothesis,
which the package does not install.
"""

from llmstack.testing.cancel import CancelledRun, Livelock, cancelled_everywhere
from llmstack.testing.interleaved import Explorer
from llmstack.testing.races import Explored, explore, replay
from llmstack.testing.scripted import (
    ENDINGS,
    ScriptedEvent,
    ScriptedService,
    ScriptedSource,
    dispatched,
    echo,
    stream_of,
    under_way,
)
from llmstack.testing.upstream import ScriptedUpstream
from llmstack.testing.virtual import Deadlock, VirtualLoop, run_virtual


__all__ = [
    "ENDINGS",
    "CancelledRun",
    "Deadlock",
    "Explored",
    "Explorer",
    "Livelock",
    "ScriptedEvent",
    "ScriptedService",
    "ScriptedSource",
    "ScriptedUpstream",
    "VirtualLoop",
    "cancelled_everywhere",
    "dispatched",
    "echo",
    "explore",
    "replay",
    "run_virtual",
    "stream_of",
    "under_way",
]
