"""One line for each call, with what is known of it, and with nothing that is secret."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pytest
import structlog
from attrs import frozen
from structlog.testing import capture_logs

from llmstack.builder import ServiceBuilder
from llmstack.call import Attempt, Call, Usage
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import (
    BadRequest,
    BudgetExceeded,
    ConcurrencyFull,
    LLMStackError,
    NoEndpoint,
    ServerError,
)
from llmstack.layers.log import Log, LogService
from llmstack.layers.retry import Retry
from llmstack.messages import Request, Response, dispatch
from llmstack.routers.fallback import Fallback
from llmstack.routers.round_robin import RoundRobin
from llmstack.service import Service
from llmstack.testing.scripted import (
    ENDINGS,
    ScriptedEvent,
    dispatched,
    echo,
    stream_of,
    under_way,
)
from llmstack.testing.virtual import run_virtual
from tests.layers.timed import use


#: How each of `ENDINGS` is told: level, how, error.
TOLD: Final[Mapping[str, tuple[str, str, str | None]]] = {
    "reply": ("info", "ok", None),
    "error": ("warning", "failed", "ServerError"),
    "cancel": ("info", "cancelled", "CancelledError"),
    "read": ("info", "ok", None),
    "broken": ("warning", "failed", "StreamBroken"),
    "closed": ("info", "abandoned", None),
    "dropped": ("info", "abandoned", None),
}


@pytest.mark.parametrize("request_", [Request("m", call=Call("id-1")), "a request of another kind"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_there_is_one_line_when_the_call_is_over(ending: str, request_: object) -> None:
    """However it ends, and not before; a request of any type will do."""

    async def main() -> None:
        async with under_way(Log(), request_, ending):
            assert [] == logs

    with capture_logs() as logs:
        run_virtual(main())

    level, how, error = TOLD[ending]
    ours = {"request_id": "id-1", "model": "m", "endpoint": None, "attempts": 0}
    expected = {
        "event": "call.ended",
        "log_level": level,
        "how": how,
        "seconds": 0.0,
        **({} if error is None else {"error": error}),
        **({} if ending in {"error", "cancel"} else {"first": 0.0}),
        **(ours if isinstance(request_, Request) else {}),
    }
    assert [expected] == logs
    assert TOLD.keys() == set(ENDINGS)


def line_of(service: Service[Any, Any], request: object) -> Mapping[str, Any]:
    """The line of one call, which is used up to its end."""

    async def later() -> None:
        await asyncio.sleep(5)
        await use(Log()(service), request)

    with capture_logs() as logs:
        run_virtual(later())
    (line,) = (line for line in logs if line["event"] == "call.ended")
    return line


def test_a_line_tells_the_whole_call() -> None:
    """Who served at last, after how many sends, how long it took, and what it cost."""
    script = iter([ServerError("no"), ServerError("no"), None])

    async def provider(_request: Request) -> object:
        await asyncio.sleep(0.25)
        error = next(script)
        if error is not None:
            raise error
        stream = stream_of([1.0, ScriptedEvent()])
        stream.source.usage = Usage(100, 20, 7)  # type: ignore[misc]
        return stream

    endpoints = [Endpoint(name, provider, price=Price(1, 2)) for name in ("eu", "us", "ap")]
    stack = ServiceBuilder().layer(Retry(attempts=3)).layer(RoundRobin(endpoints)).service(dispatch)
    line = line_of(stack, Request("chat", call=Call("id-7")))

    assert {
        "request_id": "id-7",
        "model": "chat",
        "endpoint": "ap",
        "attempts": 3,
        "event": "call.ended",
        "log_level": "info",
        "how": "ok",
        "seconds": 1.75,
        "first": 0.75,
        "input": 100,
        "cached": 7,
        "output": 20,
        "cost": pytest.approx(147e-6),
    } == line


def test_of_a_group_the_endpoint_in_it_is_told() -> None:
    """Who served is never a group; the group's attempt stands before that of its member."""

    async def provider(_request: Request) -> Response:
        return Response(b"{}")

    inner = ServiceBuilder().layer(RoundRobin([Endpoint("leaf", provider)])).service(dispatch)
    line = line_of(RoundRobin([Endpoint("group", inner)])(dispatch), Request())

    assert ("leaf", 1) == (line["endpoint"], line["attempts"])
    # A deadline in a group may ring when its members have refused, after a leaf has failed.
    left = Call(attempts=[Attempt("leaf", 0.0, sends=2), Attempt("group", 1.0, group=True)])
    line = line_of(provider, Request(call=left))
    assert ("leaf", 2) == (line["endpoint"], line["attempts"])


@pytest.mark.parametrize(
    ("error", "how", "level"),
    [
        (BadRequest("no"), "failed", "warning"),
        (BudgetExceeded("no"), "refused", "warning"),
        (ConcurrencyFull("no"), "refused", "warning"),
    ],
    ids=["fault", "refused", "not ready"],
)
def test_failures_and_refusals_are_warnings(error: LLMStackError, how: str, level: str) -> None:
    """A refusal has neither endpoint nor attempt: nothing was sent."""

    async def provider(_request: Request) -> Response:
        raise error

    line = line_of(RoundRobin([Endpoint("eu", provider)])(dispatch), Request())
    sent = how == "failed"

    assert (level, how) == (line["log_level"], line["how"])
    assert ("eu" if sent else None, int(sent)) == (line["endpoint"], line["attempts"])
    wrapped = NoEndpoint if isinstance(error, ConcurrencyFull) else type(error)
    assert wrapped.__name__ == line["error"]


PROMPT: Final = "canary-of-the-prompt"
KEY: Final = "sk-canary-of-the-key"


@pytest.mark.parametrize("ending", ["ok", "error", "bug"])
def test_no_prompt_no_reply_and_no_key_is_in_a_line(ending: str) -> None:
    """Nor the message of an error, which may be a provider's echo of either."""

    class Provider:
        key = KEY

        async def __call__(self, _request: Request, /) -> Response:
            if ending == "error":
                raise ServerError(f"{PROMPT} {KEY}")
            if ending == "bug":
                raise ZeroDivisionError(f"{PROMPT} {KEY}")
            return Response(PROMPT.encode(), headers={"authorization": KEY})

    body = {"messages": [{"role": "user", "content": PROMPT}], "user": KEY}
    request = Request("m", body, tenant="t", tags=["eu"])
    endpoint = Endpoint("eu", Provider(), tags=["eu"])

    async def main() -> None:
        try:
            await Log()(Fallback([endpoint])(dispatch))(request)
        except (ServerError, ZeroDivisionError):
            return

    with capture_logs() as logs:
        run_virtual(main())

    assert "eu" == logs[-1]["endpoint"]
    assert PROMPT not in str(logs)
    assert KEY not in str(logs)


def refuses(_logger: object, _method: str, _event: object) -> Any:  # noqa: ANN401
    """A processor of a user that fails, with the cancellation of nobody."""
    raise RuntimeError("the disk is full")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_logger_that_raises_changes_no_call(ending: str) -> None:
    """Its line is lost, which is counted; the call ends as it would without."""

    async def main() -> tuple[str, dict[str, int]]:
        ended = []
        async with under_way(Log(), dispatched("eu"), ending) as service:
            assert isinstance(service, LogService)
            ended.append(await service(dispatched("eu")))
        return ended[0], service.statistics()

    old = structlog.get_config()["processors"]
    structlog.configure(processors=[refuses])
    try:
        answer, told = run_virtual(main())[0]
    finally:
        structlog.configure(processors=old)

    assert "ok" == answer
    assert {"lost": 2} == told


def test_the_error_passes_a_logger_that_raises() -> None:
    """The caller gets the failure, not the logger's."""

    async def provider(_request: object) -> object:
        raise ServerError("down")

    old = structlog.get_config()["processors"]
    structlog.configure(processors=[refuses])
    try:
        with pytest.raises(ServerError, match="down"):
            run_virtual(Log()(provider)("?"))
    finally:
        structlog.configure(processors=old)


def test_each_use_counts_for_itself() -> None:
    """Nothing is lost at first."""
    layer = Log()

    assert layer(echo) is not layer(echo)
    assert {"lost": 0} == layer(echo).statistics()
    assert ("log", "Log()") == (layer.role, repr(layer))


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        *(("meta-llama/Llama-3.1:free@eu_1", None), ("", None), ("m" * 128, None)),
        *(("m" * 129, "?"), ("tell me a joke", "?"), ("m\n", "?"), ("é", "?")),
    ],
)
def test_a_name_that_is_none_is_not_written(model: str, shown: str | None) -> None:
    """Where a route takes any name, it may be any text of a caller."""
    line = line_of(echo, Request(model))

    assert (shown or model) == line["model"]


@pytest.mark.parametrize(("model", "shown"), [(None, None), (7, "?")])
def test_a_name_of_another_type_is_not_written(model: object, shown: str | None) -> None:
    """A request is whatever has a call."""
    line = line_of(echo, Asked(Call("id-1"), model))

    assert shown == line["model"]


@frozen
class Asked:
    """A request of somebody else."""

    call: Call
    model: object
