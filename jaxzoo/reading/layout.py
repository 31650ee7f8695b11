"""Parameters of a model, or of many, as one row of numbers, and back: which column is what."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxzoo.errors import InputError


class LayoutEntry(NamedTuple):
    """Which columns of flattened parameters are which parameter, and its shape in one model."""

    layer: str
    kind: str
    columns: slice
    shape: tuple[int, ...]


Layout = tuple[LayoutEntry, ...]


def build_layout(shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> Layout:
    """Layer by layer and kind by kind in the order given, each in row-major order."""
    kinds = [(layer, kind, shape) for layer, of_layer in shapes.items() for kind, shape in of_layer.items()]
    ends = itertools.accumulate((math.prod(shape) for _, _, shape in kinds), initial=0)
    columns = itertools.starmap(slice, itertools.pairwise(ends))
    return tuple(LayoutEntry(layer, kind, next(columns), shape) for layer, kind, shape in kinds)


def flatten(layout: Layout, params: Mapping[str, Mapping[str, Any]]) -> Any:
    """Parameters with leaves (..., *shape) as rows (..., D), NumPy or JAX as they are; also under `jax.jit`.

    Raises InputError where a parameter is missing or of another shape.
    """
    parts = []
    for layer, kind, columns, shape in layout:
        leaf = params.get(layer, {}).get(kind)
        if leaf is None or leaf.shape[leaf.ndim - len(shape) :] != shape:
            got = "missing" if leaf is None else f"of shape {leaf.shape}"
            raise InputError(f"{layer} {kind} is {got}, expected (..., {', '.join(map(str, shape))})")
        parts.append(leaf.reshape(*leaf.shape[: leaf.ndim - len(shape)], columns.stop - columns.start))
    return _namespace(parts).concatenate(parts, axis=-1)


def unflatten(layout: Layout, weights: Any) -> dict[str, dict[str, Any]]:
    """Rows (..., D) as parameters with leaves (..., *shape): exactly what `flatten` was given.

    Raises InputError for rows of another length.
    """
    wanted = layout[-1].columns.stop
    if weights.ndim == 0 or weights.shape[-1] != wanted:
        raise InputError(f"weights are of shape {weights.shape}, expected (..., {wanted})")
    params: dict[str, dict[str, Any]] = {}
    for layer, kind, columns, shape in layout:
        params.setdefault(layer, {})[kind] = weights[..., columns].reshape(*weights.shape[:-1], *shape)
    return params


def _namespace(leaves: Sequence[Any]) -> Any:
    if all(isinstance(leaf, np.ndarray) for leaf in leaves):
        return np
    import jax.numpy as jnp  # here: who has NumPy arrays needs no JAX

    return jnp
