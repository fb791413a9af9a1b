"""An endpoint with several keys: a group of one endpoint for each, which rotates them.

The keys differ in what they may do and who pays; all else is the endpoint's, and they share
its transport. Each has a name of its own, ``ENDPOINT/KEY``, in ledgers and in logs.

Errors: `ConfigError` for keys under which the endpoint could serve nothing. Events: those of
`Cooldown`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, final, runtime_checkable

from attrs import evolve, field, fields, frozen, validators

from llmstack.builder import ServiceBuilder
from llmstack.endpoint import Endpoint
from llmstack.errors import ConfigError
from llmstack.estimators.cooling import CoolingBoard
from llmstack.layers.cooldown import Cooldown
from llmstack.messages import Request, dispatch
from llmstack.providers import credential
from llmstack.providers.address import sendable
from llmstack.providers.credential import Credential
from llmstack.routers.keys import Keys
from llmstack.service import Service


__all__ = ["Key", "Under", "with_keys"]

#: The service under one key.
Under = Callable[[Credential], Service[Request, Any]]


@runtime_checkable
class _Locked(Protocol):
    """A leaf that can be had under another key."""

    def under(self, credential: Credential) -> Service[Request, Any]: ...


def _models(models: Iterable[str] | None) -> frozenset[str] | None:
    if isinstance(models, str):
        raise ConfigError(f"models must be names, not the one name {models!r}")
    return None if models is None else frozenset(models)


@final
@frozen
class Key:
    """One of several keys: its *name*, and where it is, as `credential` reads it.

    *models* are those that it may be used for, by the provider's names for them; None is all.
    *weight* is its share of the traffic. *account* says who pays. The *label* is what a cooldown
    calls the key: endpoints whose keys have one label share its troubles; without one it is
    shared with nobody.
    """

    name: str = field(validator=validators.min_len(1))
    credential: Credential = field(converter=credential.credential, validator=sendable, repr=False)
    models: frozenset[str] | None = field(
        default=None,
        converter=_models,
        validator=validators.optional(validators.min_len(1)),
        kw_only=True,
    )
    weight: float = field(default=1.0, validator=fields(Endpoint).weight.validator, kw_only=True)
    account: str = field(default="", kw_only=True)
    label: str = field(default="", kw_only=True)


def with_keys(
    endpoint: Endpoint,
    keys: Iterable[Key],
    *,
    under: Under | None = None,
    board: CoolingBoard | None = None,
    rotations: int = 2,
    seed: int | None = None,
) -> Endpoint:
    """Return *endpoint* with *keys*: a group that picks, cools and rotates them.

    *under* makes the service for one key; without it the endpoint's own service is asked for
    itself under that key, as `OpenAI` and `Anthropic` can be. Give all that should know the same
    of keys and accounts one *board*. *rotations* is that of `Keys`, *seed* that of the builder.
    """
    keys = tuple(keys)
    if not keys:
        raise ConfigError("keys: an endpoint needs at least one")
    make = _under(endpoint) if under is None else under
    _check_models(endpoint, keys)
    members = [_member(endpoint, key, make(key.credential)) for key in keys]
    layers = (Keys(members, rotations=rotations), Cooldown(board=board))
    stack = ServiceBuilder(layers, seed=seed).service(dispatch)
    # Under a label the cooldown above would take the one probe that the one below waits for.
    return evolve(
        endpoint, service=stack, models=_served(endpoint, keys), key="", account="", edition=None
    )


def _under(endpoint: Endpoint) -> Under:
    service = endpoint.service
    if not isinstance(service, _Locked):
        raise ConfigError(f"under: the service of {endpoint.name!r} cannot be had under a key")
    return service.under


def _member(endpoint: Endpoint, key: Key, service: Service[Request, Any]) -> Endpoint:
    name = f"{endpoint.name}/{key.name}"
    return evolve(
        endpoint,
        name=name,
        service=service,
        weight=key.weight,
        models=None if key.models is None else _only(key.models),
        key=key.label or name,
        edition=credential.edition_of(key.credential),
        account=key.account or endpoint.account,
    )


def _only(models: Iterable[str]) -> dict[str, str]:
    """Return the map of those names, and of none: what is about no model needs no leave."""
    return {name: name for name in ("", *sorted(models))}


def _allowed(keys: Sequence[Key]) -> frozenset[str] | None:
    """Return the models that one of *keys* at least may be used for; None for all."""
    lists = [key.models for key in keys if key.models is not None]
    return frozenset().union(*lists) if len(lists) == len(keys) else None


def _check_models(endpoint: Endpoint, keys: Sequence[Key]) -> None:
    """See to it that each model which the endpoint names may be used under some key."""
    allowed, models = _allowed(keys), endpoint.models
    if allowed is None or models is None:
        return
    names = {models} if isinstance(models, str) else {*models.values()} - {"*"}
    for name in sorted(names - allowed):
        raise ConfigError(f"keys: none may be used for the model {name!r}")


def _served(endpoint: Endpoint, keys: Sequence[Key]) -> str | dict[str, str] | None:
    """Return the endpoint's models; one that passes all names on serves what its keys may."""
    allowed = _allowed(keys)
    return endpoint.models if endpoint.models or allowed is None else _only(allowed)
