"""Settings that check themselves: frozen pydantic dataclasses, read from YAML in JSON's terms.

A class with `@section` is a part of a configuration or of a card: no key but its fields, ranges in
`Field`, contradictions between its fields as a ValueError of `__post_init__`.
"""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from omgsr.core import wording
from omgsr.core.wording import Fault

T = TypeVar("T")
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


class ConfigError(ValueError):
    """What cannot be used: a line a fault with the file, the key, what was got and is allowed."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def section(cls: type[T]) -> type[T]:
    """A frozen dataclass whose values are checked whenever one is made; else a ConfigError."""
    checked: Any = pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=_CONFIG)
    create = checked.__init__

    def __init__(self: Any, /, **values: Any) -> None:
        try:
            create(self, **values)
        except pydantic.ValidationError as error:
            raise ConfigError(_lines(cls.__name__, _faults(checked, error))) from None

    checked.__init__ = __init__
    return cast(type[T], checked)


def one_of(kind: str, names: Callable[[], Collection[str]]) -> AfterValidator:
    """Accepts a name of a set that is known only at run time; `kind` says of what."""

    def check(value: str) -> str:
        if value not in (allowed := names()):
            raise ValueError(wording.unknown(f"unknown {kind}", value, allowed))
        return value

    return AfterValidator(check)


def once(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuses a value that comes twice."""
    if len(set(values)) < len(values):
        raise ValueError(f"got {list(values)}, allowed: each of them once")
    return values


def one_or_more(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuses an empty tuple, and a value that comes twice."""
    if not values or len(set(values)) < len(values):
        raise ValueError(f"got {list(values)}, allowed: at least one, each of them once")
    return values


def read(cls: Any, value: object) -> tuple[Any, list[Fault]]:
    """(a `cls` made of plain `value`, no fault), or (None, every fault of it).

    Strict JSON: `steps: true` is no number, a list is a tuple, a whole number may be a float's.
    """
    faults = _beyond_json(value, ())
    if faults:
        return None, faults
    adapter: TypeAdapter[Any] = TypeAdapter(cls)
    try:
        return adapter.validate_json(json.dumps(value), strict=True), []
    except pydantic.ValidationError as error:
        return None, _faults(cls, error)


def parse(cls: type[T], value: object, where: str) -> T:
    """A `cls` of plain `value`; a ConfigError names every fault of the file or thing `where`."""
    made, faults = read(cls, value)
    if faults:
        raise ConfigError(_lines(where, faults))
    return cast(T, made)


def read_yaml(path: Path, name: str) -> dict[str, Any]:
    """A YAML 1.2 file: 5e-5 is a number there, which PyYAML's YAML 1.1 reads as text."""
    try:
        value = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{name}: missing in {path.parent.resolve()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 text at byte {error.start}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join((error.problem or "not valid YAML").split())
        raise ConfigError(f"{name}{line}: {problem}") from error
    except YAMLError as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: got {type(value).__name__}, allowed: a mapping (key: value)")
    return value


def line_of(path: Path, keys: wording.Keys) -> int | None:
    """The line of a YAML file that `keys` lead to, or of the deepest of them that is there."""
    node, line = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8")), None
    for key in keys:
        try:
            row, _ = node.lc.item(key) if isinstance(key, int) else node.lc.key(key)
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
        line = row + 1
    return line


def _faults(cls: Any, error: pydantic.ValidationError) -> list[Fault]:
    schema = TypeAdapter(cls).json_schema()
    return [wording.fault(one, schema) for one in error.errors()]


def _lines(where: str, faults: list[Fault]) -> str:
    return "\n".join(wording.line(where, fault) for fault in faults)


def _beyond_json(value: object, path: wording.Keys) -> list[Fault]:
    """What YAML has and JSON has not: keys that are no text, dates and other kinds of values."""
    found: list[Fault] = []
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str):
                found += _beyond_json(inner, (*path, key))
            else:
                found.append((path, f"the key {key!r} must be text; put it in quotes"))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            found += _beyond_json(inner, (*path, index))
    elif not isinstance(value, str | int | float | None):
        found.append((path, f"got {value!r}, allowed: text, a number, true or false; quote text"))
    return found
