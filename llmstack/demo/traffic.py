"""The callers: a steady stream of requests, and a record of what became of each."""

from __future__ import annotations

import asyncio
import json
from random import Random
from statistics import median
from typing import Final, final

from aiohttp import ClientError, ClientSession
from attrs import define, field, frozen

from llmstack import clock


__all__ = ["Answered", "Callers", "added"]

#: Requests a second.
RATE: Final = 40.0
#: Seconds after which a caller would give up.
PATIENCE: Final = 15.0
#: Pairs of requests that are compared to see what the gateway adds.
PAIRS: Final = 150
#: Pairs before those: connections, caches and code that runs for the first time.
WARM_UP: Final = 10


@final
@frozen
class Answered:
    """One request as its caller saw it; *endpoint* is empty if it failed."""

    at: float
    seconds: float
    endpoint: str = ""
    attempts: int = 1
    failure: str = ""


def _body(n: int) -> bytes:
    """Return a chat request."""
    asked = {"role": "user", "content": f"Question {n}: what is a tower of layers good for?"}
    return json.dumps({"model": "chat", "messages": [asked], "max_tokens": 32}).encode()


@final
@define(eq=False)
class Callers:
    """Sends requests at a steady rate, each in its own time, as strangers do."""

    session: ClientSession
    base_url: str
    rng: Random
    answered: list[Answered] = field(factory=list, init=False)

    async def call(self, until: float) -> None:
        """Keep calling until then, and wait for the last answers."""
        n, due = 0, clock.now()
        async with asyncio.TaskGroup() as group:
            while due < until:
                await asyncio.sleep(due - clock.now())
                group.create_task(self._one(n))
                n, due = n + 1, due + self.rng.uniform(0.5, 1.5) / RATE

    async def _one(self, n: int) -> None:
        began = clock.now()
        try:
            async with (
                asyncio.timeout(PATIENCE),
                self.session.post(
                    f"{self.base_url}/chat/completions",
                    data=_body(n),
                    headers={"Content-Type": "application/json"},
                ) as answer,
            ):
                raw = await answer.read()
        except (ClientError, TimeoutError) as error:
            self._note(began, "", 0, type(error).__name__)
            return
        attempts = int(answer.headers.get("x-llmstack-attempts", "0").partition(";")[0])
        if answer.status != 200 or not json.loads(raw)["choices"]:
            self._note(began, "", attempts, f"status {answer.status}")
        else:
            self._note(began, answer.headers["x-llmstack-endpoint"], attempts, "")

    def _note(self, began: float, endpoint: str, attempts: int, failure: str) -> None:
        now = clock.now()
        self.answered.append(Answered(now, now - began, endpoint, attempts, failure))


async def added(session: ClientSession, direct: str, gateway: str) -> float:
    """Return the milliseconds that the gateway adds: the median difference of pairs.

    Both sides are asked first in turn, so that neither has the better place. In a short run
    it may be negative: the difference is smaller than what else varies.
    """
    extra = []
    for n in range(WARM_UP + PAIRS):
        took = {}
        for base_url in (direct, gateway) if n % 2 else (gateway, direct):
            began = clock.now()
            async with session.post(
                f"{base_url}/chat/completions",
                data=_body(n),
                headers={"Content-Type": "application/json"},
            ) as answer:
                await answer.read()
            took[base_url] = clock.now() - began
        extra.append(took[gateway] - took[direct])
    return median(extra[WARM_UP:]) * 1000
