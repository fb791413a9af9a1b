"""From what `tomllib` gives to attrs classes: strict about types, and exact about places.

`cattrs` does the work; here is what it must not do (turn a string into a number), what it
cannot know (secrets, names that stand for things), and where each of its complaints is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path as File
from typing import Any, Final, TypeVar, final

import attrs
from attrs import define, field
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from llmstack.config.lines import Path
from llmstack.config.mistakes import Mistakes, did_you_mean
from llmstack.providers.secret import Secret


__all__ = ["Reader", "Wrong"]

T = TypeVar("T")

#: Settings that are Python objects and cannot be said in TOML.
NOT_IN_TOML: Final = frozenset({"allow", "classify", "idempotent", "recorder", "rng"})


class Wrong(ValueError):
    """A mistake with words of ours: shown as it is."""


def _number(value: object, _type: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Wrong(f"must be a number, not {_kind(value)}")
    return value


def _integer(value: object, _type: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong(f"must be a whole number, not {_kind(value)}")
    return value


def _text(value: object, _type: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be a string, not {_kind(value)}")
    return value


def _truth(value: object, _type: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, not {_kind(value)}")
    return value


def _secret(value: object, _type: object) -> Secret:
    """Read a secret from where it is; the text of a wrong one is never repeated."""
    kind, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind == "env" and name:
        if not os.environ.get(name):
            raise Wrong(f"the environment variable {name} is not set")
        return Secret(os.environ[name])
    if kind == "file" and name:
        try:
            return Secret(File(name).read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise Wrong(f"the file {name} cannot be read: {type(error).__name__}") from None
    raise Wrong('must be "env:NAME" or "file:PATH", so that no key stands in this file')


def _kind(value: object) -> str:
    names = {dict: "a table", list: "an array", bool: "true or false", str: "a string"}
    return names.get(type(value), f"{value}")


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _truth)
    converter.register_structure_hook(Secret, _secret)
    converter.register_structure_hook_factory(attrs.has, _settings_hook(converter))
    return converter


def _settings_hook(converter: Converter) -> Callable[[type[Any]], Callable[..., Any]]:
    def hook(cls: type[Any]) -> Callable[..., Any]:
        left_out: dict[str, Any] = {
            a.name: override(omit=True) for a in attrs.fields(cls) if a.name in NOT_IN_TOML
        }
        structure = make_dict_structure_fn(cls, converter, **left_out)

        def table(value: object, kind: type[Any]) -> Any:  # noqa: ANN401 -- what *kind* says
            if not isinstance(value, Mapping):
                raise Wrong(f"must be a table, not {_kind(value)}")
            return structure(value, kind)

        return table

    return hook


@final
@define(eq=False)
class Reader:
    """Reads tables into classes, and notes every mistake with its place."""

    mistakes: Mistakes
    converter: Converter = field(factory=_converter, init=False)

    def names(self, kind: object, by_name: Mapping[str, object], what: str) -> None:
        """Read values of the type *kind* from a name in *by_name*; *what* it is the name of."""

        def read(value: object) -> object:
            if not isinstance(value, str) or value not in by_name:
                hint = did_you_mean(str(value), by_name)
                raise Wrong(f"{value!r} is no {what}; {hint}")
            return by_name[value]

        self.by(kind, read)

    def by(self, kind: object, make: Callable[[object], object]) -> None:
        """Read values of the type *kind* by calling *make* on what the file has there."""
        self.converter.register_structure_hook_func(
            lambda given: given == kind, lambda value, _type: make(value)
        )

    def chosen(self, kind: object, classes: Mapping[str, type[Any]], what: str) -> None:
        """Read values of the type *kind* from a table whose ``use`` is a name in *classes*."""

        def read(value: object) -> object:
            cls, settings = self.use(value, classes, what)
            return self.converter.structure(settings, cls)

        self.by(kind, read)

    def use(
        self, value: object, classes: Mapping[str, T], what: str
    ) -> tuple[T, dict[str, object]]:
        """Split a table into what its ``use`` names and its other settings."""
        if not isinstance(value, Mapping) or not isinstance(value.get("use"), str):
            raise Wrong(f'must be a table with use = "…", the name of a {what}')
        name = value["use"]
        if name not in classes:
            raise Wrong(f"{name!r} is no {what}; {did_you_mean(name, classes)}")
        return classes[name], {key: each for key, each in value.items() if key != "use"}

    def read(self, value: object, kind: type[T], path: Path) -> T | None:
        """Read *value* as *kind*; None, and the mistakes noted, if it is not right.

        A mistake can hide others behind it, so what is wrong is taken out and the rest is
        read again, until nothing new is found.
        """
        value, told = deepcopy(value), dict[Path, str]()
        read, new = self._try(value, kind)
        while new:
            told |= new
            taken = [_taken_out(value, place) for place in new]
            again = self._try(value, kind)[1] if any(taken) else {}
            new = {place: says for place, says in again.items() if place not in told}
        for place, says in told.items():
            self.mistakes.add(path + place, says)
        return None if told else read

    def _try(self, value: object, kind: type[T]) -> tuple[T | None, dict[Path, str]]:
        try:
            return self.converter.structure(value, kind), {}
        except Exception as error:  # noqa: BLE001 -- each is told, with its place, to the user
            return None, dict(_told(error, ()))


def _taken_out(value: Any, place: Path) -> bool:  # noqa: ANN401 -- what TOML holds
    """Delete what is at *place*, or the array that it is in; return whether it was there."""
    for depth, step in enumerate(place):
        if not isinstance(value, dict) or step not in value:
            return False
        if depth == len(place) - 1 or isinstance(value[step], list):
            del value[step]
            return True
        value = value[step]
    return False


def _told(error: BaseException, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the place and the words of each mistake in *error*."""
    if isinstance(error, (ClassValidationError, IterableValidationError)):
        for each, step in _parts(error):
            yield from _told(each, path + step)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [a.alias for a in attrs.fields(error.cl) if a.alias not in NOT_IN_TOML]
        for extra in sorted(error.extra_fields):
            yield (*path, extra), f"is no setting here; {did_you_mean(extra, known)}"
    elif isinstance(error, KeyError):
        yield (*path, str(error.args[0])), "is missing"
    else:
        yield _blamed(error, path), _words(error)


def _parts(
    error: ClassValidationError | IterableValidationError,
) -> Iterator[tuple[Exception, Path]]:
    """Yield what is in a group of errors, each with its step down from the group."""
    if isinstance(error, IterableValidationError):
        for each, item in error.group_exceptions()[0]:
            yield each, (item.index,)
        return
    noted, others = error.group_exceptions()
    for each, note in noted:
        # What is missing has no place of its own; its name comes with the error.
        yield each, () if isinstance(each, KeyError) else (note.name,)
    for each in others:
        yield each, ()


def _blamed(error: BaseException, path: Path) -> Path:
    """Return the place of the field that a validator's message begins with."""
    first = str(error).partition(" ")[0].strip("'")
    return (*path, first) if first.isidentifier() and not isinstance(error, Wrong) else path


def _words(error: BaseException) -> str:
    """Return what a validator says, without the attribute and value that attrs adds."""
    said = error.args[0] if error.args else ""
    return str(said) if isinstance(said, str) and said else f"is not right ({type(error).__name__})"
