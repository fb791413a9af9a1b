"""A TOML file becomes a gateway: read, checked whole, and built.

Errors: `ConfigMistakes`, a `ConfigError` that lists every mistake with its path and line.
Secrets are named in the file (``env:NAME``, ``file:PATH``), never written into it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path as File
from typing import Any, Final, final

from attrs import frozen

from llmstack.builder import Stack
from llmstack.config.build import Routes
from llmstack.config.endpoints import Endpoints
from llmstack.config.lines import lines_of
from llmstack.config.mistakes import ConfigMistakes, Mistakes, did_you_mean
from llmstack.config.reading import Reader
from llmstack.config.tables import (
    AdminTable,
    ConstantTable,
    EndpointTable,
    RouteTable,
    ServerTable,
    address,
)
from llmstack.config.values import kind_of
from llmstack.estimators.cooling import CoolingBoard
from llmstack.messages import Request
from llmstack.recorder import MemoryRecorder, Recorder


__all__ = ["Config", "ConfigMistakes", "load", "parse"]

SECTIONS: Final = ("server", "admin", "endpoints", "routes")

_PLACE: Final = re.compile(
    r"(?P<says>.*) \(at (line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)


@final
@frozen(kw_only=True)
class Config:
    """A configuration that is right: the server's settings, and a stack for each route.

    *admin* are the settings of the admin API, None where there is to be none. *warnings* are
    doubts about the order of layers, each with its path and line.
    """

    server: ServerTable
    routes: Mapping[str, Stack[Request, Any]]
    warnings: tuple[str, ...] = ()
    admin: AdminTable | None = None

    @property
    def listen(self) -> tuple[str, int]:
        """The host and the port to listen at."""
        return address(self.server.listen)


def load(path: str, recorder: Recorder | None = None) -> Config:
    """Read, check and build the configuration in the file *path*."""
    try:
        raw = File(path).read_bytes()
    except OSError as error:
        raise ConfigMistakes(path, (f"it cannot be read: {error.strerror}",)) from None
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigMistakes(path, (f"line {line}: it is not UTF-8",)) from None
    return parse(text, path, recorder)


def parse(text: str, file: str = "the configuration", recorder: Recorder | None = None) -> Config:
    """Check and build the configuration *text*; *file* is what messages call it."""
    try:
        data = tomllib.loads(text)
        mistakes = Mistakes(lines_of(text))
    except (ValueError, RecursionError) as error:
        raise ConfigMistakes(file, (_syntax(error, text),)) from None
    for extra in sorted(data.keys() - SECTIONS):
        mistakes.add((extra,), f"is no table here; {did_you_mean(extra, SECTIONS)}")
    reader = Reader(mistakes)
    server = reader.read(data.get("server", {}), ServerTable, ("server",))
    admin = reader.read(data["admin"], AdminTable, ("admin",)) if "admin" in data else None
    if admin and server and admin.listen == server.listen and address(admin.listen)[1]:
        mistakes.add(("admin", "listen"), "the server listens there; give it another port")
    tables = _tables(reader, data, "endpoints", _endpoint_table)
    routes = _tables(reader, data, "routes", lambda _: RouteTable)
    for name in sorted(tables.keys() & routes.keys()):
        mistakes.add(("routes", name), "an endpoint has that name too")
    board = CoolingBoard()
    endpoints = Endpoints(board, mistakes).build(tables, data.get("endpoints", {}))
    building = Routes(routes, endpoints, recorder or MemoryRecorder(), reader, board)
    built = building.build()
    mistakes.raise_any(file)
    return Config(server=server, routes=built, warnings=building.doubts.texts, admin=admin)


def _tables(
    reader: Reader, data: Mapping[str, Any], section: str, kind: Callable[[object], type[Any]]
) -> dict[str, Any]:
    """Read each table of a section, as the *kind* that it is; None for one with mistakes."""
    tables: object = data.get(section)
    if not isinstance(tables, dict | None):
        reader.mistakes.add((section,), f"must be a table, not {kind_of(tables)}")
        return {}
    if not tables:
        reader.mistakes.add((section,), f"there must be at least one [{section}.NAME]")
        return {}
    if "" in tables:
        reader.mistakes.add((section, ""), "a name must have at least one character")
    return {
        name: reader.read(one, kind(one), (section, name)) for name, one in tables.items() if name
    }


def _endpoint_table(said: object) -> type[Any]:
    constant = isinstance(said, dict) and said.get("provider") == "constant"
    return ConstantTable if constant else EndpointTable


def _syntax(error: Exception, text: str) -> str:
    """Return the place of a mistake in the syntax, and what it is."""
    if isinstance(error, RecursionError):
        return "line 1: arrays and tables are nested too deeply"
    match = _PLACE.fullmatch(str(error))
    if match is None:
        return f"line 1: it is not TOML: {error}"
    line = match["line"] or text.count("\n") + 1
    column = f", column {match['column']}" if match["column"] else ""
    return f"line {line}{column}: it is not TOML: {match['says']}"
