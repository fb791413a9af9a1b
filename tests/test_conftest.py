"""The fixture that looks for leaks finds them, each kind by a test that leaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET


ROOT: Final = Path(__file__).parent.parent

SAMPLES: Final = """
import asyncio, socket, sys, types
import pytest


class EventStream:
    ended = None


kept = []
stream = types.ModuleType("llmstack.stream")
stream.EventStream = EventStream
sys.modules["llmstack.stream"] = stream


async def slow_to_end():
    try:
        await asyncio.sleep(9)
    finally:
        await asyncio.sleep(0)


def test_ok():
    async def main():
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert b'' == await reader.read()
            writer.close()
            await writer.wait_closed()
            task = asyncio.create_task(slow_to_end())
            await asyncio.sleep(0)
            task.cancel()
    asyncio.run(main())


def test_orphan():
    async def main():
        kept.append(asyncio.create_task(asyncio.sleep(9)))
    asyncio.run(main())


def test_orphan_in_a_failure():
    async def main():
        kept.append(asyncio.create_task(asyncio.sleep(9)))
        raise ValueError
    asyncio.run(main())


def test_pending():
    loop = asyncio.new_event_loop()
    kept.append(loop.create_task(asyncio.sleep(9)))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_dropped():
    loop = asyncio.new_event_loop()
    loop.create_task(asyncio.sleep(9))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_unheard():
    async def main():
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
    asyncio.run(main())


def test_socket():
    kept.append(socket.socket())


def test_dropped_socket():
    socket.socket()


def test_socket_of_another_test():
    pass


def test_transport():
    asyncio.new_event_loop().close()
    class Open(asyncio.Transport):
        def is_closing(self):
            return False
    kept.append(Open())


def test_never_awaited():
    asyncio.sleep(9)


def test_stream():
    asyncio.new_event_loop().close()  # no stream is made without one
    kept.append(EventStream())


def test_ended_stream():
    kept.append(EventStream())
    kept[-1].ended = "ok"


@pytest.fixture(scope="module")
def shared():
    with socket.socket() as ours:
        yield ours


def test_socket_of_a_wider_fixture(shared):
    assert shared.fileno() > 0
"""

#: The outcome of each sample: what the report says, "" for a test that passes.
EXPECTED: Final = {
    "test_ok": "",
    "test_orphan": "orphan task: <Task ",
    "test_orphan_in_a_failure": "ValueError",
    "test_pending": "still open: <Task ",
    "test_dropped": "Task was destroyed but it is pending",
    "test_unheard": "Exception in callback",
    "test_socket": "still open: <socket.socket ",
    "test_dropped_socket": "ResourceWarning",
    "test_socket_of_another_test": "",
    "test_transport": "test_samples.test_transport",
    "test_never_awaited": "was never awaited",
    "test_stream": "test_samples.EventStream",
    "test_ended_stream": "",
    "test_socket_of_a_wider_fixture": "",
}


def test_each_kind_of_leak_fails_the_test_that_leaks(tmp_path: Path) -> None:
    """The test itself, once, with what it left; those that clean up pass."""
    sample, report = tmp_path / "test_samples.py", tmp_path / "report.xml"
    sample.write_text(SAMPLES)
    command = [sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", f"--rootdir={ROOT}"]
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider"]

    run = subprocess.run(
        [*command, *plugins, f"--junitxml={report}", str(sample)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 1 == run.returncode, run.stdout + run.stderr
    seen: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        texts = [f"{found.get('message')} {found.text}" for found in case]
        seen.setdefault(case.attrib["name"], []).extend(texts)
    assert {name: int(bool(said)) for name, said in EXPECTED.items()} == {
        name: len(texts) for name, texts in seen.items()
    }
    wrong = {name: seen[name] for name, said in EXPECTED.items() if said not in "".join(seen[name])}
    assert {} == wrong
