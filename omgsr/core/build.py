"""Checked construction of nested dataclasses from plain mappings, driven by their annotations."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from omgsr.core.limits import OneOf as OneOf
from omgsr.core.limits import Range as Range
from omgsr.core.limits import unknown as unknown

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used: one line with the file, the key, and what is allowed."""


def build(cls: type[T], value: object, where: str) -> T:
    """A dataclass from a mapping; `where` is 'file: key.path' or 'file:' for the top level."""
    mapping = _mapping(value, where)
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for key in mapping:
        if key not in names:
            raise ConfigError(f"{where}: {unknown('unknown key', key, names)}")
    values = {}
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name in mapping:
            values[field.name] = convert(
                hints[field.name], mapping[field.name], join(where, field.name)
            )
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(
                f"{join(where, field.name)}: missing; needed: {describe(hints[field.name])}"
            )
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def convert(kind: Any, value: object, where: str) -> Any:
    """`value` as the annotated type `kind`, or a ConfigError that says what was expected."""
    if is_dataclass(kind) and isinstance(kind, type):
        from_text = getattr(kind, "from_text", None)
        if from_text and isinstance(value, str):
            return from_text(value)
        return build(kind, value, where)
    origin = get_origin(kind)
    if origin is None:
        return _scalar(kind, value, where)
    return _GENERIC[origin](kind, value, where)


def describe(kind: Any) -> str:
    """A type as a person would say it."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        extra = [str(note) for note in args[1:] if isinstance(note, Range)]
        return " ".join([describe(args[0]), *extra])
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin is tuple:
        return f"a list ({describe(args[0])})"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, "null" if kind is type(None) else "a mapping")


def join(where: str, key: object) -> str:
    """'file:' + 'a' => 'file: a'; 'file: a' + 'b' => 'file: a.b'."""
    return f"{where} {key}" if where.endswith(":") else f"{where}.{key}"


def _scalar(kind: Any, value: object, where: str) -> Any:
    # bool is a subclass of int: `steps: true` must not become one step.
    is_bool = isinstance(value, bool)
    if kind is Any:
        return value
    if kind is float and isinstance(value, int | float) and not is_bool:
        return float(value)
    if kind is type(None) and value is None:
        return None
    if isinstance(value, kind) and is_bool == (kind is bool):
        return value
    raise ConfigError(f"{where}: got {_shown(value)}, allowed: {describe(kind)}")


def _annotated(kind: Any, value: object, where: str) -> Any:
    inner, *notes = get_args(kind)
    try:
        result = convert(inner, value, where)
        for note in notes:
            note.check(result)
    except ConfigError:
        if is_dataclass(inner) or get_origin(inner) is not None:
            raise
        raise ConfigError(f"{where}: got {_shown(value)}, allowed: {describe(kind)}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    return result


def _union(kind: Any, value: object, where: str) -> Any:
    args = get_args(kind)
    if value is None and type(None) in args:
        return None
    options = [arg for arg in args if arg is not type(None)]
    errors = []
    for option in options:
        try:
            return convert(option, value, where)
        except ConfigError as error:
            errors.append(error)
    # With one real alternative its own message says more than a list of kinds.
    if len(errors) == 1:
        raise errors[0]
    raise ConfigError(f"{where}: got {_shown(value)}, allowed: {describe(kind)}")


def _literal(kind: Any, value: object, where: str) -> Any:
    for option in get_args(kind):
        if option == value and type(option) is type(value):
            return option
    raise ConfigError(f"{where}: {unknown('got', value, [str(arg) for arg in get_args(kind)])}")


def _tuple(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: got {_shown(value)}, allowed: {describe(kind)}")
    args = get_args(kind)
    if args[-1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ConfigError(f"{where}: got {len(value)} values, allowed: {len(args)}")
    pairs = zip(args, value, strict=True)
    return tuple(convert(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(pairs))


def _dict(kind: Any, value: object, where: str) -> Any:
    of_key, of_value = get_args(kind)
    return {
        convert(of_key, key, where): convert(of_value, item, join(where, key))
        for key, item in _mapping(value, where).items()
    }


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: got {_shown(value)}, allowed: a mapping (key: value)")
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: the key {key!r} must be text; put it in quotes")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return "null" if value is None else text if len(text) <= 60 else text[:57] + "..."


_GENERIC: dict[Any, Callable[[Any, object, str], Any]] = {
    Annotated: _annotated,
    Union: _union,
    types.UnionType: _union,
    Literal: _literal,
    tuple: _tuple,
    dict: _dict,
}
