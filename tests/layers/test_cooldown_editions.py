"""A key that was exchanged has a clean slate, whatever befell the one before."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs

import llmstack as ls
from llmstack.call import Attempt
from llmstack.testing.virtual import run_virtual


class World:
    """One endpoint, whose first key is bad; *slow* calls take five seconds."""

    def __init__(self) -> None:
        self.edition = 0
        self.board = ls.CoolingBoard()
        self.asked: list[int] = []
        self.endpoint = ls.Endpoint("eu", self.answer, key="file:k", edition=lambda: self.edition)
        self.cooldown = ls.Cooldown(board=self.board)(ls.dispatch)

    async def answer(self, request: ls.Request) -> ls.Response:
        edition = self.edition
        self.asked.append(edition)
        await asyncio.sleep(5.0 if request.tenant == "slow" else 1.0)
        if edition == 0:
            raise ls.AuthFailed
        return ls.Response(b"{}")

    async def ask(self, tenant: str = "") -> str:
        request = ls.Request("m", tenant=tenant).to(self.endpoint, Attempt("eu", 0.0))
        try:
            await self.cooldown(request)
        except ls.LLMStackError as error:
            return type(error).__name__
        return "ok"


def played(world: World, main: Any) -> Any:  # noqa: ANN401 -- whatever it returns
    with capture_logs():
        return run_virtual(main(world))[0]


def test_a_new_key_is_asked_at_once() -> None:
    """What its alert asks for helps: nobody has to clear anything."""

    async def main(world: World) -> list[str]:
        ends = [await world.ask(), await world.ask()]
        world.edition = 1
        return [*ends, await world.ask()]

    assert ["AuthFailed", "CoolingDown", "ok"] == played(World(), main)


def test_what_the_old_key_was_told_late_does_not_befall_the_new_one() -> None:
    """It was sent under the old one."""

    async def main(world: World) -> list[str]:
        async with asyncio.TaskGroup() as group:
            late = group.create_task(world.ask("slow"))
            await asyncio.sleep(1.0)
            world.edition = 1
            before = await world.ask()
        return [before, late.result(), await world.ask()]

    assert ["ok", "AuthFailed", "ok"] == played(World(), main)


def test_what_an_operator_says_of_a_key_holds_for_all_its_editions() -> None:
    """He means whatever is there; and it is said of which edition what was learnt is."""

    async def main(world: World) -> tuple[list[str], list[str]]:
        world.edition = 3
        ends = [await world.ask()]
        world.cooldown.put_aside("key", "file:k", 60.0)
        ends.append(await world.ask())
        world.cooldown.clear("key", "file:k")
        ends.append(await world.ask())
        world.edition = 0
        await world.ask()
        world.edition = 4
        names = [str(where) for where in world.cooldown.statistics()]
        return ends, names

    ends, names = played(World(), main)
    assert ["ok", "CoolingDown", "ok"] == ends
    assert ["key file:k"] == names
