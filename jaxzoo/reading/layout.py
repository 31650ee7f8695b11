"""Parameters of a model, or of many, as one row of numbers, and back: which column is what."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.models.variables import Shapes, each_leaf


class LayoutEntry(NamedTuple):
    """One parameter, under `path`: its columns among flattened parameters, and its shape in one model."""

    path: tuple[str, ...]
    columns: slice
    shape: tuple[int, ...]

    @property
    def layer(self) -> str:
        """The name of the layer, joined by slashes where layers are nested."""
        return "/".join(self.path[:-1])

    @property
    def kind(self) -> str:
        """What the parameter is to its layer, such as kernel or bias."""
        return self.path[-1]


Layout = tuple[LayoutEntry, ...]


def build_layout(shapes: Shapes) -> Layout:
    """The layout of parameters nested as in `shapes`, leaf by leaf in that order, each in row-major order."""
    leaves = list(each_leaf(shapes))
    ends = itertools.accumulate((math.prod(shape) for _, shape in leaves), initial=0)
    columns = itertools.starmap(slice, itertools.pairwise(ends))
    return tuple(LayoutEntry(path, next(columns), shape) for path, shape in leaves)


def layout_width(layout: Layout) -> int:
    """D, the columns of a row."""
    return layout[-1].columns.stop if layout else 0


def flatten(layout: Layout, params: Mapping[str, Any]) -> Any:
    """Parameters with leaves (..., *shape) as rows (..., D), NumPy or JAX as they are; also under `jax.jit`.

    Raises InputError where a parameter is missing, is of another shape, or has no column.
    """
    leaves = dict(each_leaf(params))
    strangers = leaves.keys() - {entry.path for entry in layout}
    if strangers:
        raise InputError(f"{' '.join(min(strangers))} is no parameter of this layout, expected only those it has")
    parts = []
    for entry in layout:
        leaf, shape = leaves.get(entry.path), entry.shape
        if leaf is None or leaf.shape[leaf.ndim - len(shape) :] != shape:
            got = "missing" if leaf is None else f"of shape {leaf.shape}"
            raise InputError(f"{' '.join(entry.path)} is {got}, expected (..., {', '.join(map(str, shape))})")
        parts.append(leaf.reshape(*leaf.shape[: leaf.ndim - len(shape)], entry.columns.stop - entry.columns.start))
    return _namespace(parts).concatenate(parts, axis=-1)


def unflatten(layout: Layout, weights: Any) -> dict[str, Any]:
    """Rows (..., D) as parameters with leaves (..., *shape): exactly what `flatten` was given.

    Raises InputError for rows of another length.
    """
    wanted = layout_width(layout)
    if weights.ndim == 0 or weights.shape[-1] != wanted:
        raise InputError(f"weights are of shape {weights.shape}, expected (..., {wanted})")
    params: dict[str, Any] = {}
    for entry in layout:
        inner = params
        for name in entry.path[:-1]:
            inner = inner.setdefault(name, {})
        inner[entry.kind] = weights[..., entry.columns].reshape(*weights.shape[:-1], *entry.shape)
    return params


def _namespace(leaves: Sequence[Any]) -> Any:
    if all(isinstance(leaf, np.ndarray) for leaf in leaves):
        return np
    import jax.numpy as jnp  # imported late: for NumPy arrays JAX is not needed

    return jnp
