"""From what `tomllib` gives to attrs classes: strict about types, and exact about places.

`cattrs` does the work; here is what it must not do (turn a string into a number, or into an
array of its letters), what it cannot know (secrets, names that stand for things), and where
each mistake is. Every value is read with the type, the converter and the validator of its
field, so that one wrong value hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, cast, final, get_args, get_origin

import attrs
from attrs import Attribute, define, field
from cattrs import (
    BaseValidationError,
    ClassValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from llmstack.config.lines import Path
from llmstack.config.mistakes import Mistakes, did_you_mean
from llmstack.config.values import PLAIN, Wrong, kind_of, text
from llmstack.errors import ConfigError


__all__ = ["NOT_IN_TOML", "Reader", "each"]

Read = Callable[[object], object]

#: Settings that are Python objects and cannot be said in TOML.
NOT_IN_TOML: Final = frozenset(
    {
        "accepts",
        "allow",
        "board",
        "classify",
        "idempotent",
        "normalise",
        "recorder",
        "rng",
        "translators",
        "transport",
    }
)

_SAID_BY_ATTRS: Final = re.compile(
    r"(?P<size>Length of )?'\w+' (?P<says>must be .*): (?P<value>.*)"
)
#: What attrs says in a way that is not said of TOML.
_BETTER: Final = MappingProxyType(
    {"Length of must be >= 1": "must not be empty", "must be < inf": "must be finite"}
)


def each(steps: Iterable[tuple[str | int, object]], read: Read) -> list[object]:
    """Read the value at each step; what is wrong is raised together, each with its step."""
    values, wrong = [], []
    for step, value in steps:
        try:
            values.append(read(value))
        except (ValueError, BaseValidationError) as error:
            error.add_note(IterableValidationNote("", step, object))
            wrong.append(error)
    if wrong:
        raise IterableValidationError("several values", wrong, list)
    return values


def _array(converter: Converter, kind: Any) -> Callable[..., object]:  # noqa: ANN401 -- a type
    make, item = get_origin(kind), get_args(kind)[0]

    def read(value: object, _type: object) -> object:
        if not isinstance(value, list):
            raise Wrong(f"must be an array, not {kind_of(value)}")
        return make(each(enumerate(value), lambda one: converter.structure(one, item)))

    return read


def _map(converter: Converter, kind: Any) -> Callable[..., object]:  # noqa: ANN401 -- a type
    name, item = get_args(kind)

    def read(value: object, _type: object) -> object:
        if not isinstance(value, dict):
            raise Wrong(f"must be a table, not {kind_of(value)}")
        # What is wrong with a name hides nothing of its value, nor of the others.
        parts = [part for key, one in value.items() for part in ((key, name), (one, item))]
        steps = zip((key for key in value for _ in range(2)), parts, strict=True)
        read = each(steps, lambda part: converter.structure(*cast("tuple[Any, Any]", part)))
        return dict(zip(read[::2], read[1::2], strict=True))

    return read


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else kind_of(value)


def _choice(_converter: Converter, kind: Any) -> Callable[..., object]:  # noqa: ANN401 -- a type
    choices = get_args(kind)

    def read(value: object, _type: object) -> object:
        if value not in choices:
            raise Wrong(f"must be {' or '.join(map(repr, choices))}, not {_shown(value)}")
        return value

    return read


def _settings(converter: Converter, kind: type[Any]) -> Callable[..., object]:
    overrides: dict[str, Any] = {
        a.name: override(omit=True)
        if a.name in NOT_IN_TOML
        else override(struct_hook=_setting(a, converter))
        for a in attrs.fields(kind)
        if a.init
    }
    structure = make_dict_structure_fn(kind, converter, **overrides)

    def read(value: object, _type: object) -> object:
        if not isinstance(value, dict):
            raise Wrong(f"must be a table, not {kind_of(value)}")
        return structure(value, kind)

    return read


def _setting(attribute: Attribute[Any], converter: Converter) -> Callable[..., object]:
    """Return how to read the value of one field, as it will be checked when it is used."""

    def read(value: object, kind: Any) -> object:  # noqa: ANN401 -- the field's type
        made = converter.structure(value, kind)
        try:
            if attribute.converter is not None:
                made = cast("Any", attribute.converter)(made)
            if attribute.validator is not None:
                attribute.validator(None, attribute, made)
        except ValueError as error:
            raise Wrong(_plain(str(error.args[0]), attribute.name)) from None
        return made

    return read


def _plain(says: str, name: str) -> str:
    """Return what a validator says, without the name, which is a part of the place."""
    match = _SAID_BY_ATTRS.fullmatch(says)
    if match is None:
        return re.sub(rf"^'?{name}'?:? ", "", says)
    said = f"{match['size'] or ''}{match['says']}"
    return _BETTER.get(said, f"{said}, not {match['value']}")


#: How to read types with parts, by what they are made with.
_MADE: Final = MappingProxyType({tuple: _array, frozenset: _array, Mapping: _map, Literal: _choice})


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for origin, make in _MADE.items():
        converter.register_structure_hook_factory(
            partial(_is_made_with, origin), partial(make, converter)
        )
    converter.register_structure_hook_factory(attrs.has, partial(_settings, converter))
    for kind, read in PLAIN.items():
        converter.register_structure_hook(kind, _of_value(read))
    return converter


def _of_value(read: Read) -> Callable[[object, object], Any]:
    return lambda value, _type: read(value)


def _is_made_with(origin: object, kind: object) -> bool:
    return get_origin(kind) is origin


@final
@define(eq=False)
class Reader:
    """Reads tables into classes, and notes every mistake with its place."""

    mistakes: Mistakes
    converter: Converter = field(factory=_converter, init=False)

    def by(self, kind: object, make: Read) -> None:
        """Read values of the type *kind* by calling *make* on what the file has there."""
        self.converter.register_structure_hook_func(lambda given: given == kind, _of_value(make))

    def names(self, kind: object, by_name: Mapping[str, object], what: str) -> None:
        """Read values of the type *kind* from a name in *by_name*; *what* it is the name of."""
        self.by(kind, lambda value: _known(value, by_name, what))

    def chosen(self, kind: object, classes: Mapping[str, type[Any]], what: str) -> None:
        """Read values of the type *kind* from a table whose ``use`` is a name in *classes*."""

        def read(value: object) -> object:
            if not isinstance(value, dict):
                raise Wrong(f'must be a table with use = "…", not {kind_of(value)}')
            steps = [("use", value.get("use", ""))]
            (chosen,) = each(steps, lambda name: _known(name, classes, what))
            settings = {key: value for key, value in value.items() if key != "use"}
            return self.converter.structure(settings, cast("type[Any]", chosen))

        self.by(kind, read)

    def read(self, value: object, kind: Any, path: Path) -> Any:  # noqa: ANN401 -- of that kind
        """Return *value* as *kind*; None, and the mistakes noted, if it is not right."""
        try:
            return self.converter.structure(value, kind)
        except (ValueError, BaseValidationError) as error:
            for place, says in _told(error, path):
                self.mistakes.add(place, says)
            return None


def _known(value: object, by_name: Mapping[str, object], what: str) -> object:
    """Return what the name *value* stands for."""
    name = text(value)
    if name not in by_name:
        named = f"{name!r} is no {what}" if name else f"must name a {what}"
        raise Wrong(f"{named}; {did_you_mean(name, by_name)}")
    return by_name[name]


def _step(note: IterableValidationNote | AttributeValidationNote) -> str | int:
    return note.index if isinstance(note, IterableValidationNote) else note.name


def _placed(error: Exception, path: Path, kind: Any) -> tuple[Exception, Path]:  # noqa: ANN401
    """Return what all settings of a *kind* together are not, at the one that it begins with."""
    name, colon, says = str(error).partition(": ")
    if isinstance(error, ConfigError) and colon and name in attrs.fields_dict(kind):
        return Wrong(says), (*path, name)
    return error, path


def _told(error: BaseException, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the place and the words of each mistake in *error*; what is no mistake is raised."""
    match error:
        case IterableValidationError() | ClassValidationError():
            noted, others = error.group_exceptions()
            for one, note in noted:
                # What is missing has no place of its own; its name comes with the error.
                yield from _told(one, path if isinstance(one, KeyError) else (*path, _step(note)))
            for one in others:
                yield from _told(*_placed(one, path, error.cl))
        case ForbiddenExtraKeysError():
            settings = [a.name for a in attrs.fields(error.cl) if a.init]
            known = [name for name in settings if name not in NOT_IN_TOML]
            for extra in sorted(error.extra_fields):
                yield (*path, extra), f"is no setting here; {did_you_mean(extra, known)}"
        case KeyError():
            yield (*path, str(error.args[0])), "is missing"
        case ValueError():
            yield path, str(error)
        case _:
            raise error
