"""The benchmarks run; what they print is for people, so only that it is there is tested."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from benchmarks import servers, streams
from benchmarks.loopback import load, server
from llmstack.providers.openai.progress import Progress
from llmstack.providers.sse import SSEParser


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CPU times are in /proc")


def test_a_stream_of_the_benchmarks_is_one_of_a_provider() -> None:
    """Whole, with its usage; nearly all of it is events that are alike."""
    progress = Progress()
    raw = b"".join(servers.events(30))
    passed = [progress.take(event.data, event.event) for event in SSEParser().feed(raw)]

    assert [True] * 33 == passed[:33]
    assert progress.whole
    assert progress.usage is not None
    assert (10, 30) == (progress.usage.input, progress.usage.output)


def test_a_body_has_about_the_size_that_was_asked_for() -> None:
    """And is a chat."""
    for size in (1024, 200 << 10):
        sent = streams.body(size, **streams.ASKS)

        assert 0.9 < len(sent) / size < 1.2
        assert {"model", "messages", "stream", "stream_options"} == json.loads(sent).keys()


@pytest.mark.parametrize("kind", ["burst", "paced"])
def test_both_servers_are_measured(kind: str) -> None:
    """In processes of their own, which end with the block."""
    upstream = ["-m", "benchmarks.servers", kind, "20", "0.001"]
    found = streams.compare(upstream, streams.Work(streams.body(1024, **streams.ASKS), 4, 2, 80), 1)

    assert {"forwarder_us", "gateway_us", "ratio"} == found.keys()
    assert min(found.values()) > 0


def test_the_health_is_asked_for_meanwhile() -> None:
    """At least once, however short the burst is."""
    found = streams.health(8)

    assert found["asked"] >= 1
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_a_server_that_says_no_is_noticed() -> None:
    """A figure of errors would be none."""
    with server(["-m", "benchmarks.servers", "upstream", "100"]) as (url, _):
        with pytest.raises(ExceptionGroup, match="unhandled"):
            asyncio.run(streams.Work(b"{}", 1, 1, 1).run(f"{url}/nowhere"))
        asyncio.run(load(url, 2, 1))
