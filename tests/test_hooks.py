"""Functions of a user: what is not awaited must not be async."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import llmstack as ls
from llmstack.endpoint import Endpoint
from llmstack.testing.scripted import echo


async def never(_request: object, /) -> bool:
    """Say no, to whoever awaits it."""
    return False


class Never:
    """The same as an object."""

    async def __call__(self, _request: object, /) -> bool:
        return False


TAKES: dict[str, Callable[[Any], object]] = {
    "hedgeable": lambda hook: ls.Hedge(hedgeable=hook),
    "idempotent": lambda hook: ls.Retry(idempotent=hook),
    "allow": lambda hook: ls.Probes(allow=hook),
    "accepts": lambda hook: ls.Fallback([Endpoint("eu", echo)], accepts=hook),
}


@pytest.mark.parametrize("hook", [never, Never()], ids=["function", "object"])
@pytest.mark.parametrize("name", TAKES)
def test_what_nobody_would_await_is_an_error(name: str, hook: object) -> None:
    """A coroutine is true, so it would say yes to everything."""
    with pytest.raises(ls.ConfigError, match=f"^{name} must be a plain function, not an async one"):
        TAKES[name](hook)


@pytest.mark.parametrize("name", TAKES)
def test_what_cannot_be_called_is_an_error(name: str) -> None:
    """When it is set, not when the first request comes."""
    with pytest.raises(ls.ConfigError, match=f"^{name} must be a function, not int$"):
        TAKES[name](3)


@pytest.mark.parametrize("name", TAKES)
def test_any_function_will_do(name: str) -> None:
    """A class, a method, a lambda."""
    for hook in (bool, [].__contains__, lambda _request: True):
        assert TAKES[name](hook)
