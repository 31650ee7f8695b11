"""The settings of a Flax module as texts that are alike in every process."""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxzoo.errors import InputError

OF_FLAX = ("parent", "name")  # fields that every module has
ADDRESS = re.compile(r" at 0x[0-9a-f]+", re.IGNORECASE)


def settings_of(module: nn.Module) -> tuple[tuple[str, str], ...]:
    """The fields of a module, (name, text). Functions are written by their names: what they compute has no digest.

    Raises InputError for a field whose text would not be the same in another process.
    """
    return tuple((each.name, _text(f"network.{each.name}", getattr(module, each.name))) for each in _fields(module))


def _fields(value: Any) -> list[dataclasses.Field[Any]]:
    left_out = OF_FLAX if isinstance(value, nn.Module) else ()
    return [each for each in dataclasses.fields(value) if each.name not in left_out]


def _text(field: str, value: Any) -> str:
    inner = functools.partial(_text, field)
    if isinstance(value, tuple | list):
        return f"({', '.join(map(inner, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name!r}: {inner(each)}' for name, each in sorted(value.items()))}}}"
    if isinstance(value, np.ndarray | jax.Array) and np.ndim(value):
        raise InputError(f"{field} is an array of shape {np.shape(value)}, expected a value that a line can say")
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return repr(value.item())
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # those that a later Flax may add to its layers have defaults
        given = {each.name: (inner(getattr(value, each.name)), each.default) for each in _fields(value)}
        changed = (f"{name}={text}" for name, (text, default) in given.items() if not _is_default(text, default))
        return f"{type(value).__name__}({', '.join(changed)})"
    if callable(value) and isinstance(getattr(value, "__name__", None), str):
        return str(value.__name__)
    text = repr(value)
    if ADDRESS.search(text):
        got = f"a {type(value).__name__} that is written with its address in memory"
        raise InputError(f"{field} is {got}, expected a value that is written alike in every process")
    return text


def _is_default(text: str, default: Any) -> bool:
    return default is not dataclasses.MISSING and text == _text("default", default)
