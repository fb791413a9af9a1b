"""What is wrong with a file is told at once: where it is, what it is, and what may be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from llmstack.config import parse
from llmstack.layers.timeout import Timeout
from llmstack.routers.router import ONE_ROUTER
from tests.config.example import EXAMPLE, LAYERED, mistakes_of


CORPUS: Final = Path(__file__).parents[1] / "corpus" / "config" / "mistakes.txt"
URL: Final = "http://127.0.0.1:9001"
ROUTE: Final = '[routes.chat]\nlayers = [{ use = "round_robin", endpoints = ["eu"] }]\n'
ROBIN: Final = '{ use = "round_robin", endpoints = ["eu"] }'
#: A file in which the endpoint is right.
BASICS: Final = f'provider = "openai"\nbase_url = "{URL}"\n'
RIGHT: Final = f"[endpoints.eu]\n{BASICS}{ROUTE}"


def told_of(section: str) -> list[tuple[str, str]]:
    """The pairs of lines under a heading: what is written, and what is told of it."""
    _, _, rest = CORPUS.read_text().partition(f"\n[{section}]\n")
    lines = rest.partition("\n\n")[0].splitlines()
    return [(line, told.strip()) for line, told in zip(lines[::2], lines[1::2], strict=True)]


@pytest.mark.parametrize(("line", "expected"), told_of("server"))
def test_the_server(line: str, expected: str) -> None:
    """Each setting has its type and its bounds, and a message that reads well."""
    assert [f"line 2: server.{expected}"] == mistakes_of(f"[server]\n{line}\n{RIGHT}")


@pytest.mark.parametrize(("line", "expected"), told_of("endpoint"))
def test_an_endpoint(line: str, expected: str) -> None:
    """A provider, a place, and what may be said of it."""
    key = line.partition(" ")[0]
    lines = [each for each in RIGHT.splitlines() if not each.startswith(f"{key} ")]
    text = "\n".join([lines[0], line, *lines[1:]])

    assert [f"line 2: endpoints.eu.{expected}"] == mistakes_of(text)


@pytest.mark.parametrize(("layer", "expected"), told_of("layer"))
def test_a_layer(layer: str, expected: str) -> None:
    """What a layer has to say about its settings is told at their place."""
    first = any(f'"{name}"' in layer for name in ("deadline", "retry"))
    layers = [layer, ROBIN] if first else [ROBIN, layer]
    n = layers.index(layer)

    text = LAYERED.format(",\n".join(layers))
    assert [f"line {4 + n}: routes.chat.layers[{n}]{expected}"] == mistakes_of(text)


@pytest.mark.parametrize(("router", "expected"), told_of("router"))
def test_a_router(router: str, expected: str) -> None:
    """Names that mean nothing, and names that lead nowhere."""
    text = LAYERED.format(f"{{ {router} }}")

    assert [f"line 4: routes.chat.layers[0]{expected}"] == mistakes_of(text)


def test_a_layer_without_a_name_is_told_which_there_are() -> None:
    """There is no layer without one."""
    (said,) = mistakes_of(LAYERED.format('{}, { use = "round_robin", endpoints = ["eu"] }'))

    assert said.startswith("line 4: routes.chat.layers[0].use: must name a layer; there are ci")


def test_what_is_wrong_in_one_line_is_in_order() -> None:
    """That of the alphabet, whatever the hash seed."""
    extra = ", ".join(f"{name}zzz = 1" for name in "hgfedcba")
    said = mistakes_of(LAYERED.format(f'{{ use = "retry", {extra} }}, {ROBIN}'))

    assert [f"{name}zzz" for name in "abcdefgh"] == [each.split(": ")[1][-4:] for each in said]


def test_of_a_map_all_mistakes_are_told() -> None:
    """A name that is wrong hides nothing of its value, nor of the names behind it."""
    rules = "Serverr = { agian = 1 }, Busy = { again = 1 }, RateLimited = { agian = 1 }, Busi = 3"
    rule = "routes.chat.layers[0].rules"
    layer = f'{{ use = "retry", rules = {{ {rules} }} }}'

    assert [
        f"line 4: {rule}.Serverr: 'Serverr' is no class of errors; did you mean 'ServerError'?",
        f"line 4: {rule}.Serverr.agian: is no setting here; did you mean 'again'?",
        f"line 4: {rule}.RateLimited.agian: is no setting here; did you mean 'again'?",
        f"line 4: {rule}.Busi: 'Busi' is no class of errors; did you mean 'Busy'?",
        f"line 4: {rule}.Busi: must be a table, not 3",
    ] == mistakes_of(LAYERED.format(f"{layer}, {ROBIN}"))


EU_CHAT: Final = "unknown endpoint 'eu'; the only one is chat"
TWO: Final = f"a stack has one router: {ONE_ROUTER}"
LATE: Final = "retry must be below deadline: waiting must not outlive the caller"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("", "3: routes.chat.layers: must not be empty"),
        (
            '{ use = "retry" }',
            "3: routes.chat.layers: a route has one router, and this has no router",
        ),
        (
            f'{ROBIN}, {{ use = "fallback", endpoints = ["us"] }}',
            f"4: routes.chat.layers[1]: wrong order of layers: {TWO}",
        ),
        (
            f'{{ use = "retry" }},\n{ROBIN},\n{{ use = "deadline", seconds = 3 }}',
            f"6: routes.chat.layers[2]: wrong order of layers: {LATE}",
        ),
    ],
    ids=["none", "no router", "two routers", "order"],
)
def test_a_route(layers: str, expected: str) -> None:
    """One router, in an order that works; the place is that of the layer below."""
    assert [f"line {expected}"] == mistakes_of(LAYERED.format(layers))


WRONG_SETTINGS: Final = {
    "deadline": ("seconds = 0", ".seconds: must be > 0.0, not 0"),
    "retry": ("attempts = 0", ".attempts: must be >= 1, not 0"),
    "timeout": ("total = 0", ".total: must be > 0.0, not 0"),
}


@pytest.mark.parametrize("wrong", [("retry",), ("deadline",), ("retry", "deadline")])
def test_a_wrong_setting_hides_no_wrong_order(wrong: tuple[str, ...]) -> None:
    """The place of a layer is that of its name, whatever its settings are, and told once."""
    right = {"retry": "attempts = 2", "deadline": "seconds = 3"}
    settings = right | {name: WRONG_SETTINGS[name][0] for name in wrong}
    layers = [f'{{ use = "{name}", {settings[name]} }}' for name in ("retry", "deadline")]
    places = {"retry": (5, 0), "deadline": (7, 2)}
    expected = [
        f"line {places[name][0]}: routes.chat.layers[{places[name][1]}]{WRONG_SETTINGS[name][1]}"
        for name in wrong
    ]
    order = f"line 7: routes.chat.layers[2]: wrong order of layers: {LATE}"

    text = LAYERED.format(f"\n{layers[0]},\n{ROBIN},\n{layers[1]}")
    assert [*expected, order] == mistakes_of(text)


def test_a_wrong_setting_hides_no_missing_router() -> None:
    """If all layers have a name that is known; else one of them may be the router."""
    layer = f'{{ use = "timeout", {WRONG_SETTINGS["timeout"][0]} }}'
    told = f"line 4: routes.chat.layers[0]{WRONG_SETTINGS['timeout'][1]}"
    missing = "line 3: routes.chat.layers: a route has one router, and this has no router"

    assert [missing, told] == mistakes_of(LAYERED.format(layer))
    for other in ("3", "{ use = 3 }", '{ use = "robin" }'):
        said = mistakes_of(LAYERED.format(f"{layer}, {other}"))
        assert (2, told) == (len(said), said[0])


def test_a_right_order_with_wrong_settings_is_right() -> None:
    """Two limits whose seconds are not known cannot be compared, and are not."""
    layers = [
        f'{{ use = "deadline", {WRONG_SETTINGS["deadline"][0]} }}',
        ROBIN,
        f'{{ use = "timeout", {WRONG_SETTINGS["timeout"][0]} }}',
    ]

    assert [
        "line 4: routes.chat.layers[0].seconds: must be > 0.0, not 0",
        "line 4: routes.chat.layers[2].total: must be > 0.0, not 0",
    ] == mistakes_of(LAYERED.format(", ".join(layers)))


@pytest.mark.parametrize(("value", "said"), [("5", "5"), ("false", "true or false")])
@pytest.mark.parametrize("section", ["endpoints", "routes"])
def test_a_section_that_is_no_table(section: str, value: str, said: str) -> None:
    """It is there, so it is not missing."""
    told = mistakes_of(f"{section} = {value}\n")

    assert f"line 1: {section}: must be a table, not {said}" in told
    assert 2 == len(told)


def test_an_endpoint_that_is_listed_twice_has_its_own_line() -> None:
    """That of the second time, also where another name is wrong."""
    text = LAYERED.format('{ use = "round_robin", endpoints = [\n"eu",\n"us",\n"eu",\n"x"] }')

    assert [
        "line 7: routes.chat.layers[0].endpoints[2]: 'eu' is listed already",
        "line 8: routes.chat.layers[0].endpoints[3]: unknown endpoint 'x'; there are chat, eu, us",
    ] == mistakes_of(text)


def test_a_name_is_not_listed_twice() -> None:
    """Where an endpoint and a route have the same one."""
    text = f"{RIGHT.replace('.eu', '.chat')}".replace('"eu"', '"zzz"')

    assert mistakes_of(text)[1].endswith("unknown endpoint 'zzz'; the only one is chat")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            [
                "1: endpoints: there must be at least one [endpoints.NAME]",
                "1: routes: there must be at least one [routes.NAME]",
            ],
        ),
        (
            f"server = 3\nendpoints = 3\n{ROUTE}",
            [
                "1: server: must be a table, not 3",
                "2: endpoints: must be a table, not 3",
                f"4: routes.chat.layers[0].endpoints[0]: {EU_CHAT}",
            ],
        ),
        (
            "routes = {}\n[endpoints]\neu = 3\n[x]\n",
            [
                "1: routes: there must be at least one [routes.NAME]",
                "3: endpoints.eu: must be a table, not 3",
                "4: x: is no table here; there are admin, endpoints, routes, server",
            ],
        ),
        (
            f'[endpoints.""]\n{RIGHT}[route]\n',
            [
                '1: endpoints."": a name must have at least one character',
                "7: route: is no table here; did you mean 'routes'?",
            ],
        ),
        (
            f"{RIGHT.replace('.eu', '.chat')}[endpoints.eu]",
            [
                "4: routes.chat: an endpoint has that name too",
                "6: endpoints.eu.provider: is missing",
                "6: endpoints.eu.base_url: is missing",
            ],
        ),
        (
            f"{RIGHT}[endpoints.us]\nmodels = {{a = 'b'}}\nmodel = 'a'\n{BASICS}",
            ["6: endpoints.us: models and model exclude each other: a map, or one name for all"],
        ),
        (
            f"{RIGHT}[endpoints.us]\nasks_usage = false\n{BASICS}".replace("openai", "anthropic"),
            ["6: endpoints.us: asks_usage and done_is_terminal are for openai only"],
        ),
        (
            f"{RIGHT}[endpoints.us]\nspeaks = ['chat', 'messages']\n{BASICS}",
            ["7: endpoints.us.speaks: openai has chat, embeddings, models, responses"],
        ),
    ],
    ids=[
        "empty",
        "no tables",
        "wrong tables",
        "names",
        "missing",
        "exclusive",
        "of openai",
        "format",
    ],
)
def test_the_whole(text: str, expected: list[str]) -> None:
    """What is missing has the line of the nearest thing that is there."""
    assert [f"line {each}" for each in expected] == mistakes_of(text)


MANY: Final = """\
[routes.one]
layers = [{ use = "round_robin", endpoints = ["two", "two", "eux"] }]
[routes.two]
layers = [
  { use = "timeout", idle = 0, total = 0, x = 1 },
  "retry",
  { use = "retry" },
  { use = "deadline", seconds = 0 },
  { use = "fallback", endpoints = ["three", "eu"] },
  { use = "deadline", seconds = 1 },
]
[routes.three]
layers = [{ use = "round_robin", endpoints = ["two"] }]
[routes.four]
layer = 1
[endpoints.eu]
weight = -1
base_url = 3
[server]
listen = ""
"""
BOUNDS: Final = Timeout.below["retry"]
SLOW: Final = Timeout.below["router"]
WRONG: Final = f"""\
2: routes.one.layers[0].endpoints[1]: 'two' is listed already
2: routes.one.layers[0].endpoints[2]: unknown endpoint 'eux'; did you mean 'eu'?
5: routes.two.layers[0].idle: must be > 0.0, not 0
5: routes.two.layers[0].total: must be > 0.0, not 0
5: routes.two.layers[0].x: is no setting here; there are first_token, idle, rate, total, within
6: routes.two.layers[1]: must be a table with use = "…", not a string
7: routes.two.layers[2]: wrong order of layers: timeout must be below retry: {BOUNDS}
8: routes.two.layers[3].seconds: must be > 0.0, not 0
8: routes.two.layers[3]: wrong order of layers: {LATE}
9: routes.two.layers[4]: wrong order of layers: timeout must be below router: {SLOW}
10: routes.two.layers[5]: wrong order of layers: {LATE}
13: routes.three.layers[0].endpoints[0]: the route leads back to itself: two > three > two
14: routes.four.layers: is missing
15: routes.four.layer: is no setting here; did you mean 'layers'?
16: endpoints.eu.provider: is missing
17: endpoints.eu.weight: must be a finite number >= 0, not -1
18: endpoints.eu.base_url: must be a string, not 3
20: server.listen: must be HOST:PORT, not ''
"""


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    """One wrong value hides no other one; a route with mistakes is no mistake of its users."""
    assert [f"line {each}" for each in WRONG.splitlines()] == mistakes_of(MANY)


def chain(length: int) -> str:
    """So many routes, each of which names the next two."""
    routes = (
        f'[routes.r{n}]\nlayers = [{{ use = "fallback", endpoints = ["r{n + 1}", "r{n + 2}"] }}]\n'
        for n in range(length)
    )
    last = (f"[routes.r{n}]\nlayers = [{ROBIN}]\n" for n in (length, length + 1))
    return f"{''.join(routes)}{''.join(last)}{RIGHT}"


def test_a_route_that_others_name_is_built_once() -> None:
    """Or the time would double with each route, and here it would be 2 ** 30 times one."""
    config = parse(chain(30))
    broken = chain(30).replace('"eu"', '"eux"')

    assert 33 == len(config.routes)
    assert 3 == len(mistakes_of(broken))


def test_a_long_chain_of_routes_is_told() -> None:
    """A limit, and not the end of Python's stack."""
    assert [
        "line 66: routes.r32.layers[0].endpoints[0]: more than 32 routes name one another in a row",
        "line 66: routes.r32.layers[0].endpoints[1]: more than 32 routes name one another in a row",
    ] == mistakes_of(chain(300))[:2]


def test_the_example_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests above would test something else."""
    monkeypatch.setenv("EU_KEY", "sk-123")

    assert {"chat", "*"} == set(parse(EXAMPLE).routes)
