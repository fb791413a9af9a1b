"""Every setting that TOML can say is read, and means the same as in Python."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from importlib import import_module
from typing import Any, Final, cast, final

import attrs
import pytest

import llmstack as ls
from llmstack.config import parse
from llmstack.config.build import HEDGEABLE, KEYS, LAYERS, POLICIES
from llmstack.config.reading import NOT_IN_TOML
from llmstack.estimators.backoff import Jitter
from llmstack.estimators.explore import Exploration
from llmstack.estimators.phase import Probes
from llmstack.estimators.retry_rule import rules_with
from llmstack.estimators.trip import TripPolicy
from llmstack.layers.health import Probe
from llmstack.layers.hedge import always, by_shape, without_tools
from llmstack.order import role_of
from llmstack.routers.cost_based import Unknown
from llmstack.routers.fallback import After
from llmstack.routers.triggers import Triggers
from llmstack.service import by_endpoint, by_model, by_tenant
from tests.config.example import LAYERED
from tests.shape import pages
from tests.shape.source import read, sources


@final
@attrs.define(eq=False)
class Shown:
    """Equal to what begins like this, of things that are equal to themselves alone."""

    begins: str

    def __eq__(self, other: object) -> bool:
        return repr(other).startswith(self.begins)

    __hash__ = None  # type: ignore[assignment]


#: What a value of each type may be, as TOML and as in Python; two, for one may be a default.
SAMPLES: Final[Mapping[object, dict[str, object]]] = {
    bool: {"false": False, "true": True},
    int: {"7": 7, "8": 8},
    int | None: {"7": 7},
    float: {"1.0": 1.0, "2.0": 2.0},
    float | None: {"1.25": 1.25},
    TripPolicy: {'{ use = "failure_ratio" }': ls.FailureRatio()},
    Probes: {"{ at_once = 3 }": Probes(at_once=3)},
    Exploration: {"{ share = 0.5 }": Exploration(share=0.5)},
    Unknown: {"{ input = 1, output = 2 }": ls.Price(1, 2)},
    Triggers: {'["Busy", "server"]': (ls.Busy, "server")},
    After: {'{ us = ["any", "Busy"] }': {"us": ("any", ls.Busy)}},
    str: {'"/up"': "/up"},
    frozenset[int] | None: {"[200]": frozenset({200})},
    Probe: {'{ use = "http_get" }': ls.HttpGet()},
    frozenset[str] | None: {'["chat"]': frozenset({"chat"})},
    Jitter: {'"equal"': "equal"},
    Mapping[type[ls.LLMStackError], ls.RetryRule]: {
        "{ Busy = { base = 2 } }": rules_with({ls.Busy: ls.RetryRule(base=2)})
    },
    ls.RetryBudget | None: {"{ ratio = 0.5 }": Shown("RetryBudget(ratio=0.5, ")},
    Callable[[Any], Hashable]: {'"tenant"': by_tenant},
    Callable[[Any], bool]: {'"always"': always},
}
#: What a layer cannot do without.
NEEDED: Final = {
    "concurrency_limit": {"limit": "3"},
    "deadline": {"seconds": "3"},
    "health": {"probe": '{ use = "tcp_connect" }'},
    "hedge": {"hedgeable": '"without_tools"'},
    "timeout": {"total": "3"},
}
ROBIN: Final = '{ use = "round_robin", endpoints = ["eu", "us"] }'
#: What must stand above a router.
ABOVE: Final = ("deadline", "hedge", "retry")
#: Settings that are tables: of which layer, how the table begins, and what it becomes.
TABLES: Final = [
    ("circuit_breaker", "probes", "", Probes),
    ("health", "probe", 'use = "http_get", ', ls.HttpGet),
    ("latency_based", "explore", "", Exploration),
    ("retry", "budget", "", ls.RetryBudget),
    *(("circuit_breaker", "policy", f'use = "{name}", ', kind) for name, kind in POLICIES.items()),
]


def table_of(settings: Mapping[str, str]) -> str:
    """An inline table."""
    return "{ " + ", ".join(f"{key} = {value}" for key, value in settings.items()) + " }"


def layer_of(use: str, settings: Mapping[str, str]) -> Any:  # noqa: ANN401 -- any layer
    """The layer that a file makes of *use* with *settings*."""
    written = {"use": f'"{use}"', **settings}
    if role_of(LAYERS[use]) == "router":
        layers = [table_of({**written, "endpoints": '["eu", "us"]'})]
    else:
        layers = [table_of(written), ROBIN] if use in ABOVE else [ROBIN, table_of(written)]
    stack = parse(LAYERED.format(", ".join(layers))).routes["chat"]
    (layer,) = (each for each in stack.layers if type(each) is LAYERS[use])
    return layer


def settings_of(kind: type[Any]) -> dict[str, attrs.Attribute[Any]]:
    """The settings of a class that can be said in TOML, but for the endpoints, by name."""
    fields = attrs.fields(attrs.resolve_types(kind))
    return {a.name: a for a in fields if a.init and a.name not in NOT_IN_TOML | {"endpoints"}}


def default_of(field: attrs.Attribute[Any]) -> object:
    """What a setting is if nobody sets it."""
    made = getattr(field.default, "factory", None)
    default = field.default if made is None else made()
    return default if field.converter is None else cast("Any", field.converter)(default)


def written_as(value: Any) -> dict[str, Any]:  # noqa: ANN401 -- any table
    """The settings of what may have a state as well."""
    return attrs.asdict(value, recurse=False, filter=lambda a, _: bool(a.init))


@pytest.mark.parametrize(
    ("use", "name"), [(use, name) for use, kind in LAYERS.items() for name in settings_of(kind)]
)
def test_a_setting_of_a_layer_is_read(use: str, name: str) -> None:
    """What the file says is what the layer has, and nothing else of it is changed."""
    fields = settings_of(LAYERS[use])
    default = default_of(fields[name])
    written, value = next(each for each in SAMPLES[fields[name].type].items() if each[1] != default)
    needed = NEEDED.get(use, {})
    plain, changed = layer_of(use, needed), layer_of(use, needed | {name: written})

    assert value == getattr(changed, name)
    assert default == getattr(plain, name) or name in needed
    assert {name} == {each for each in fields if getattr(plain, each) != getattr(changed, each)}


@pytest.mark.parametrize(
    ("use", "setting", "begins", "kind", "name"),
    [(*table, name) for table in TABLES for name in settings_of(table[-1])],
)
def test_a_setting_of_a_setting_is_read(
    use: str, setting: str, begins: str, kind: type[Any], name: str
) -> None:
    """Tables within a layer are read as layers are."""
    field = settings_of(kind)[name]
    samples = SAMPLES[field.type].items()
    written, value = next(each for each in samples if each[1] != field.default)
    layer = layer_of(use, {setting: f"{{ {begins}{name} = {written} }}"})

    assert written_as(kind(**{name: value})) == written_as(getattr(layer, setting))
    assert kind() != getattr(layer, setting)


def test_each_layer_that_there_is_can_be_named() -> None:
    """By the name of its file; so a new layer is missed at once."""
    shipped = {
        path.rpartition("/")[2].removesuffix(".py"): [
            getattr(import_module(read(path).module), name) for name in pages.layers_in(read(path))
        ]
        for path in sources("llmstack/layers", "llmstack/routers")
    }

    assert dict(LAYERS) == {name: kinds[0] for name, kinds in shipped.items() if kinds}
    assert all(len(kinds) <= 1 for kinds in shipped.values())
    keys = {"endpoint": by_endpoint, "model": by_model, "shape": by_shape, "tenant": by_tenant}
    assert keys == dict(KEYS)
    assert {"always": always, "without_tools": without_tools} == dict(HEDGEABLE)


def test_what_is_left_out_cannot_be_said_in_toml() -> None:
    """It is a function or an object in every class that has it."""
    kinds = [*LAYERS.values(), *(kind for *_, kind in TABLES)]
    built_in = {"recorder", "translators"}
    left_out = [a for kind in kinds for a in attrs.fields(kind) if a.name in NOT_IN_TOML]

    assert NOT_IN_TOML == {a.name for a in left_out}
    assert all(a.default is None or callable(a.default) or a.name in built_in for a in left_out)


def test_unknown_prices_may_come_last() -> None:
    """The one setting that is a word or a table."""
    assert "last" == layer_of("cost_based", {"unknown": '"last"'}).unknown
    assert "last" == layer_of("cost_based", {}).unknown
