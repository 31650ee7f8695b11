"""The fields of a spec take one type when the spec is built, wherever the values come from.

Specs are compared, hashed and written as JSON. A NumPy float, an integer in the place of a float or a list in the place
of a tuple would do one of these otherwise than the value that is read back.
"""

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxzoo.errors import InputError, nearest, require, shown

LARGEST = 2**63 - 1  # what NumPy and readers of JSON hold
MOST_VALUES = 100_000
NAME_BYTES = 100  # a zoo's name is that of its folder

# the metadata of a field that came later: zoo.json leaves it out at its default, and stays as it was
LATER = {"later": True}

Kind = Any  # a type, or an annotation such as tuple[float, ...] | None


def settle_fields(spec: Any) -> None:
    """Gives every field of a frozen dataclass exactly the type of its annotation. Raises InputError where it cannot."""
    spec_class: Any = type(spec)
    for name, kind in _kinds(spec_class).items():
        object.__setattr__(spec, name, settled(name, getattr(spec, name), kind))


@functools.cache
def _kinds(spec_class: Any) -> dict[str, Kind]:
    hints = typing.get_type_hints(spec_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(spec_class)}


def settled(name: str, value: Any, kind: Kind) -> Any:
    """The value in exactly the type of an annotation. Raises InputError where it cannot be that."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _settled_choice(name, value, inner)
    if origin is tuple:
        return _settled_tuple(name, value, inner)
    if kind in SETTLED:
        return SETTLED[kind](name, value)
    of_word = getattr(kind, "of_word", None)
    if of_word is not None and isinstance(value, str):
        return of_word(name, value)
    if type(value) is not kind:  # a subclass would not come back as itself from zoo.json
        raise _wrong(name, value, f"a {kind.__name__}" if of_word is None else f"a name or {kind.__name__}(...)")
    return value


def _settled_choice(name: str, value: Any, kinds: tuple[Kind, ...]) -> Any:
    """Either None and one kind, or plain kinds (a text, or numbers of one kind) and dataclasses."""
    if value is None and types.NoneType in kinds:
        return None
    rest = tuple(kind for kind in kinds if kind is not types.NoneType)
    if len(rest) == 1:
        return settled(name, value, rest[0])
    if type(value) in rest and dataclasses.is_dataclass(value):
        return value
    plain = [kind for kind in rest if kind in SETTLED and (kind is str) == isinstance(value, str)]
    plain = plain or [kind for kind in rest if typing.get_origin(kind) is tuple]
    if not plain:
        raise _wrong(name, value, f"one of: {', '.join(kind.__name__ for kind in rest)}")
    return settled(name, value, plain[0])


def _settled_tuple(name: str, value: Any, inner: tuple[Kind, ...]) -> tuple[Any, ...]:
    if inner[-1] is Ellipsis and (isinstance(value, str) or not isinstance(value, Iterable)):
        value = (value,)  # a text is one value, and no sequence of letters
    # neither a set, which has no order, nor a generator, which can be read once
    if not isinstance(value, tuple | list | range) and not (isinstance(value, np.ndarray) and value.ndim == 1):
        raise _wrong(name, value, "a value, or a list of values")
    if len(value) > MOST_VALUES:
        raise _wrong(name, value, f"at most {MOST_VALUES} values")
    if inner[-1] is Ellipsis:
        return tuple(settled(name, item, inner[0]) for item in value)
    if len(value) != len(inner):
        raise _wrong(name, value, f"{len(inner)} values")
    return tuple(settled(name, item, kind) for item, kind in zip(value, inner, strict=True))


def _settled_int(name: str, value: Any) -> int:
    """Whole floats such as 50.0 are whole numbers."""
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    if (_is_integer(value) or whole) and abs(int(value)) <= LARGEST:
        return int(value)
    raise _wrong(name, value, "a whole number")


def _is_integer(value: Any) -> bool:
    """Booleans are integers to Python, and time differences are to NumPy; neither is meant as a number."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def _settled_float(name: str, value: Any) -> float:
    if _is_integer(value) or isinstance(value, float | np.floating):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number + 0.0  # -0.0 equals 0.0 and is written otherwise
    raise _wrong(name, value, "a finite number")


def _settled_bool(name: str, value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise _wrong(name, value, "true or false")


def _settled_str(name: str, value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value)  # of NumPy's strings, and of others' subclasses, too, a plain one
    raise _wrong(name, value, "a text")


SETTLED = {int: _settled_int, float: _settled_float, bool: _settled_bool, str: _settled_str}


def _wrong(name: str, value: Any, wanted: str) -> InputError:
    return InputError(f"{name} is {shown(value)}, expected {wanted}", (name,))


def require_name(field: str, text: str, pattern: str, wanted: str) -> None:
    """Raises InputError for a text that does not fit the pattern, or is too long for the name of a folder."""
    fits = re.fullmatch(pattern, text) is not None and len(text.encode("utf-8", "replace")) <= NAME_BYTES
    require(fits, field, text, f"a name of {wanted}, at most {NAME_BYTES} bytes")


def require_choices(field: str, values: Iterable[str], known: Iterable[str]) -> None:
    """Raises InputError, which says the nearest ones, for the first value that is not one of the known."""
    known = tuple(known)
    for value in values:
        if value not in known:  # to look for the nearest takes longer than all else
            raise _wrong(field, value, f"one of: {nearest(value, known)}")
