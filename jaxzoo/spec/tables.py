"""Specs as tables of plain values: for digests, for zoo.json, and back from TOML and JSON."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from jaxzoo.errors import InputError, nearest, require

Spec = TypeVar("Spec")


def full_table(value: Any) -> Any:
    """Every field of a dataclass by name. In a tuple, dataclasses are tagged with their `kind`."""
    return _table(value, lambda field, value: True)


def digest_of(value: Any) -> str:
    """SHA-256 of a dataclass, in hexadecimal digits.

    A field at its default does not count, so that a field that is added later leaves earlier digests as they are.
    """
    changed = _table(value, lambda field, value: value != field.default)
    text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_table(table: dict[str, Any], kind: type[Spec]) -> Spec:
    """The dataclass of that kind from its table, as TOML or JSON hold it. Raises InputError."""
    require(isinstance(table, dict), kind.__name__, table, "a table")  # zoo.json may hold anything
    _refuse_unknown_keys(table, kind, "")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise InputError(str(error).replace("`$.", "`")) from error


def _table(value: Any, counts: Callable[[Any, Any], bool]) -> Any:
    if isinstance(value, tuple):
        return [_tagged(item, counts) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    fields = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return {field.name: _table(inner, counts) for field, inner in fields if counts(field, inner)}


def _tagged(item: Any, counts: Callable[[Any, Any], bool]) -> Any:
    """Without its kind, an item of a tuple that may hold several kinds could not be told from another's."""
    if not dataclasses.is_dataclass(item):
        return _table(item, counts)
    return {"kind": type(item).__name__, **_table(item, counts)}


def _refuse_unknown_keys(table: dict[str, Any], kind: type[Any], where: str) -> None:
    known = {field.name: field.type for field in dataclasses.fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise InputError(f"unknown key {where + key!r}, expected one of: {nearest(key, known)}")
        inner = _dataclass_in(known[key])
        if inner is not None and isinstance(value, dict):
            _refuse_unknown_keys(value, inner, f"{where}{key}.")


def _dataclass_in(annotation: Any) -> type[Any] | None:
    """The dataclass of an annotation such as `Grid` or `SeedRange | None`."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((kind for kind in candidates if isinstance(kind, type) and dataclasses.is_dataclass(kind)), None)
