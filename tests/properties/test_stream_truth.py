"""Whatever an upstream does: the text is a prefix of one answer, and whole only if it was."""

from __future__ import annotations

import os
from typing import Any, Final

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

import llmstack as ls
from llmstack.call import Outcome
from llmstack.service import Service, observe
from llmstack.testing.upstream import (
    ScriptedUpstream,
    Step,
    expect_request,
    fin,
    rst,
    send,
    stall,
)
from tests.gateway.stage import connected, post, run, serving
from tests.properties.spoken import DIALECTS, Heard, asked, line_of, told


#: Examples a pair of dialects; 300 together in a check, 20,000 in a soak.
EXAMPLES: Final = -(-20_000 // 6) if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 50

HEADS: Final = {
    "ok": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "busy": b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}",
    "garbage": b"SMTP ready\r\n\r\n",
    "silent": b"",
}
PAIRS: Final = [
    *((dialect, dialect) for dialect in DIALECTS),
    ("chat", "messages"),
    ("messages", "chat"),
    ("responses", "chat"),
]


@frozen
class Script:
    """What one upstream does with one request.

    *lines* are kinds; a "text" is told from all others by *name* and its place. *sizes* cut
    the bytes. *ending* is what comes behind them.
    """

    name: str
    head: str
    lines: tuple[str, ...]
    ending: str
    sizes: tuple[int, ...]

    def texts(self) -> list[str]:
        """The text of each line, "" for those that have none."""
        return [f"{self.name}{n};" if kind == "text" else "" for n, kind in enumerate(self.lines)]

    def steps(self, dialect: str) -> list[Step]:
        """The same for a socket."""
        if self.head != "ok":
            return [expect_request, send(HEADS[self.head]), fin]
        said = zip(self.lines, self.texts(), strict=True)
        data = b"".join(line_of(dialect, kind, text) for kind, text in said)
        steps = [expect_request, send(HEADS["ok"])]
        for size in self.sizes:
            part, data = data[:size], data[size:]
            steps += [send(_chunk(part))] if part else []
        steps += [send(_chunk(data))] if data else []
        return [*steps, *ENDINGS[self.ending]]


ENDINGS: Final[dict[str, list[Step]]] = {
    "end": [send(b"0\r\n\r\n")],
    "fin": [fin],
    "torn": [send(b"ff\r\ndata: "), fin],
    "rst": [rst],
    "stall": [stall],
}


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


@frozen
class Truth:
    """What there is to tell of one script: the text, and whether that was all."""

    text: str
    whole: bool


def truth(dialect: str, script: Script) -> Truth:
    """The model: a script read line by line, as the published formats say."""
    text, finished = "", False
    if script.head != "ok":
        return Truth("", whole=False)
    for kind, said in zip(script.lines, script.texts(), strict=True):
        if kind in {"error", "bad"}:
            return Truth(text, whole=False)
        if kind == "torn":
            break
        if kind == "done":
            return Truth(text, whole=finished or dialect != "chat")
        finished = finished or kind == "finish"
        text += said
    # A chat is whole with its finish: what is cut off behind it is nothing to lose.
    return Truth(text, whole=finished and dialect == "chat")


@st.composite
def scripts(draw: st.DrawFn, name: str) -> Script:
    """A lawful answer, with a fault somewhere more often than not."""
    body = st.lists(st.sampled_from(["text", "text", "comment", "empty"]), max_size=5)
    lines = ["start", *draw(body), "finish", *draw(st.sampled_from([[], ["count"]])), "done"]
    if draw(st.booleans()):
        lines[draw(st.integers(0, len(lines))) :] = draw(
            st.sampled_from([[], ["error"], ["bad"], ["error", "done"], ["torn"]])
        )
    elif draw(st.booleans()):
        lines += draw(st.lists(st.sampled_from(["text", "done", "comment"]), max_size=2))
    return Script(
        name,
        draw(st.sampled_from(["ok"] * 6 + ["busy", "garbage", "silent"])),
        tuple(lines),
        draw(st.sampled_from(["end", "end", *ENDINGS])),
        tuple(draw(st.lists(st.integers(1, 200), max_size=6))),
    )


def endpoints(dialect: str, *upstreams: ScriptedUpstream) -> list[ls.Endpoint]:
    leaf: Any = ls.Anthropic if dialect == "messages" else ls.OpenAI
    return [
        ls.Endpoint(name, leaf(upstream.base_url))
        for name, upstream in zip("ab", upstreams, strict=True)
    ]


async def played(asks: str, speaks: str, *both: Script) -> tuple[Heard, list[Outcome]]:
    """What a client hears who *asks* in one dialect, of upstreams that speak another."""
    ends: list[Outcome] = []

    def counted(inner: Service[Any, Any]) -> Service[Any, Any]:
        async def service(request: Any) -> Any:  # noqa: ANN401 -- whatever passes
            return await observe(inner, request, ends.append)

        return service

    path, body = asked(asks)
    one, two = (ScriptedUpstream([script.steps(speaks)]) for script in both)
    async with one, two:
        stack = (
            ls.ServiceBuilder()
            .layer(counted)
            .layer(ls.Fallback(endpoints(speaks, one, two)))
            .layer(ls.Timeout(first_token=5, idle=5))
            .layer(ls.Translate(speaks=[speaks]))
            .service(ls.dispatch)
        )
        async with serving(stack) as url:
            reader, writer = await connected(url)
            writer.write(post(body, "Connection: close", path=path))
            raw = await reader.read()
            writer.close()
            await writer.wait_closed()
    return told(asks, raw), ends


@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_the_text_is_of_one_answer_and_whole_only_if_that_was(asks: str, speaks: str) -> None:
    """One oracle for all scripts: prefix of one attempt; complete if and only if its terminal
    was seen; never two finishes; one end.
    """

    @settings(max_examples=EXAMPLES)
    @given(scripts("a"), scripts("b"))
    def check(one: Script, two: Script) -> None:
        heard, ends = run(played(asks, speaks, one, two))
        answers = [truth(speaks, script) for script in (one, two)]
        served = next((answer for answer in answers if answer.text), None)

        assert 1 == len(ends)
        assert heard.after == 0
        if served is None:
            assert (heard.status >= 400, heard.text, ["failed"]) == (True, "", [ends[0].how])
            return
        assert 200 == heard.status
        assert served.text.startswith(heard.text)
        assert served.whole is (ends[0].how == "ok")
        if served.whole:
            assert (served.text, 1, 1, 0, True) == (
                heard.text,
                heard.finishes,
                heard.terminals,
                heard.errors,
                heard.ended,
            )
        else:
            assert (0, 1, False) == (heard.terminals, heard.errors, heard.ended)
            assert heard.finishes <= 1

    check()
