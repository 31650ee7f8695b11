"""Specs as tables of plain values: for digests, for zoo.json, and back from TOML and JSON."""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from jaxzoo.errors import InputError, nearest, require, shown

Spec = TypeVar("Spec")

MISSING = object()  # a name that one of two mappings does not have


@typing.runtime_checkable
class Written(Protocol):
    """A dataclass that says itself how it stands in a table, as the dataclass that holds it takes it back."""

    def written(self) -> Any:
        """The plain value."""


def full_table(value: Any) -> Any:
    """Every field of a dataclass by name, but those that came later and are at their default (see `LATER`).

    In a tuple, dataclasses are tagged with their `kind`, unless they are `Written`.
    """
    return _table(value, lambda field, value: "later" not in field.metadata or value != field.default)


def digest_of(value: Any) -> str:
    """SHA-256 of a dataclass, in hexadecimal digits.

    A field at its default does not count, so that a field that is added later leaves earlier digests as they are.
    """
    changed = _table(value, lambda field, value: value != field.default)
    text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_table(table: Any, kind: type[Spec]) -> Spec:
    """The dataclass of that kind from its table, as TOML or JSON hold it.

    Raises InputError, whose path leads to the key that is wrong. What a leaf may be the dataclass itself says.
    """
    require(isinstance(table, dict), kind.__name__, table, "a table")  # zoo.json may hold anything
    spec: Spec = _read(table, kind, ())
    return spec


def differences(first: Any, second: Any, word: str = "got") -> str:
    """What differs between two dataclasses, or two mappings, and no more; "" where nothing does.

    >>> differences({"train": 1257, "test": 360}, {"train": 1000, "test": 360})
    'train is 1257, got 1000'
    """
    return "; ".join(f"{name} is {one}, {word} {other}" for name, one, other in _differing(first, second, ""))


def _table(value: Any, counts: Callable[[Any, Any], bool]) -> Any:
    if isinstance(value, tuple):
        return [_tagged(item, counts) for item in value]
    if isinstance(value, Written):
        return value.written()
    if not dataclasses.is_dataclass(value):
        return value
    fields = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return {field.name: _table(inner, counts) for field, inner in fields if counts(field, inner)}


def _tagged(item: Any, counts: Callable[[Any, Any], bool]) -> Any:
    """Without its kind, an item of a tuple that may hold several kinds could not be told from another's."""
    if not dataclasses.is_dataclass(item) or isinstance(item, Written):
        return _table(item, counts)
    return {"kind": getattr(type(item), "TAG", type(item).__name__), **_table(item, counts)}


def _read(table: dict[str, Any], kind: Any, where: tuple[str, ...]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in table:
        if key not in fields:
            dotted = ".".join((*where, key))
            raise InputError(f"unknown key {dotted!r}, expected one of: {nearest(key, fields)}", (*where, key))
    for name, field in fields.items():
        if name not in table and field.default is dataclasses.MISSING:
            raise InputError(f"{'.'.join((*where, name))} is missing, expected {_wanted(field)}", (*where, name))
    values = {key: _read_field(fields[key], value, where) for key, value in table.items()}
    try:
        return kind(**values)
    except InputError as error:
        inside = "".join(f"{name}." for name in where)
        raise InputError(f"{inside}{error}", (*where, *error.path)) from error


def _read_field(field: dataclasses.Field[Any], value: Any, where: tuple[str, ...]) -> Any:
    """Nested dataclasses from their tables; everything else is left to the dataclass that has the field."""
    inner = _dataclass_in(field.type)
    if "kinds" in field.metadata and isinstance(value, dict):
        inner = next((kind for key, kind in field.metadata["kinds"].items() if key in value), inner)
    if inner is None or value is None:
        return value
    path = (*where, field.name)
    if typing.get_origin(field.type) is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_read(_untagged(item, inner), inner, path) if isinstance(item, dict) else item for item in items)
    by_word = isinstance(value, str | list) and "allowed" in field.metadata
    plain = not isinstance(value, dict) and {int, float, str} & {*typing.get_args(field.type)}
    if by_word or plain:
        return value
    if not isinstance(value, dict):
        raise InputError(f"{'.'.join(path)} is {shown(value)}, expected a table", path)
    return _read(value, inner, path)


def _untagged(item: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """The table without the kind that `_tagged` gave it."""
    return {key: value for key, value in item.items() if (key, value) != ("kind", kind.__name__)}


def _wanted(field: dataclasses.Field[Any]) -> str:
    """What to write for a key that is missing."""
    allowed = field.metadata.get("allowed")
    if allowed is not None:
        return f"one of: {', '.join(allowed)}" if isinstance(allowed, tuple) else str(allowed.text(field.name))
    inner = _dataclass_in(field.type)
    if inner is not None:
        needed = [each.name for each in dataclasses.fields(inner) if each.default is dataclasses.MISSING]
        return f"a table of {', '.join(needed)}"
    return "a whole number" if field.type is int else "a text"


def _differing(first: Any, second: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """(dotted name, text of the first, text of the second) of every leaf that differs."""
    one, other = _parts(first), _parts(second)
    if one is not None and other is not None:
        for name in dict.fromkeys((*one, *other)):
            inner = f"{path}.{name}" if path else str(name)
            yield from _differing(one.get(name, MISSING), other.get(name, MISSING), inner)
    elif first is not second and first != second:
        yield path, _text(first), _text(second)


def _parts(value: Any) -> Mapping[str, Any] | None:
    """What a value is made of, by name; None for a leaf."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.compare}
    return value if isinstance(value, Mapping) else None


def _text(value: Any) -> str:
    return "missing" if value is MISSING else shown(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.written() if isinstance(value, Written) else value


def _dataclass_in(annotation: Any) -> type[Any] | None:
    """The dataclass of an annotation such as `Grid` or `SeedRange | None`."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((kind for kind in candidates if isinstance(kind, type) and dataclasses.is_dataclass(kind)), None)
