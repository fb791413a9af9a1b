"""What an operator says to a cooldown has an effect, or is an error."""

from __future__ import annotations

from typing import Any

import pytest

from llmstack.errors import ConfigError
from llmstack.testing.virtual import run_virtual
from tests.layers.cooling import failing


@pytest.mark.parametrize(
    ("said", "mistake"),
    [
        (("keys", "k", 10.0), "scope must be one of endpoint, key_model, key, account, not 'keys'"),
        (("key", "k", 10.0, "m"), "model: the scope of a key for one model is key_model"),
        (("account", "x", 10.0, "m"), "model: an account is put aside for all models"),
        (("key_model", "k", 10.0), "model is missing; the scope of a key for all models is key"),
        (("key", "k", float("nan")), "seconds must be a number from 0 up, not nan"),
        (("key", "k", -1.0), "seconds must be a number from 0 up, not -1.0"),
    ],
)
def test_what_would_have_no_effect_is_an_error(said: tuple[Any, ...], mistake: str) -> None:
    """It says which word is wrong, and what could have been meant."""
    service, _ = failing()

    async def main() -> None:
        with pytest.raises(ConfigError) as told:
            service.put_aside(*said)
        assert mistake == told.value.message
        if "seconds" not in mistake:
            with pytest.raises(ConfigError) as told:
                service.clear(said[0], said[1], *said[3:])
            assert mistake == told.value.message
        assert {} == service.statistics()

    run_virtual(main())


def test_an_endpoint_may_be_put_aside_for_one_model() -> None:
    """As a reply that there is no such model does, where no key has a name."""
    service, _ = failing()

    async def main() -> list[str]:
        service.put_aside("endpoint", "eu", 10.0, "m")
        return [str(where) for where in service.statistics()]

    assert (["endpoint eu for m"], 0.0) == run_virtual(main())
