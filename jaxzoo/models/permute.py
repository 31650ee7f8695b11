"""Puts the units of models into another order, in all variables at once: the models compute the same as before."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxzoo.errors import InputError, nearest
from jaxzoo.models.permutations import PermutationSpec
from jaxzoo.models.variables import each_leaf

Axes = tuple[int, ...]


def permute(variables: Mapping[str, Any], orders: Mapping[str, Any], spec: PermutationSpec) -> dict[str, Any]:
    """Variables with the units of some groups in another order: unit i of a result is unit orders[group][i] of before.

    `variables` are Flax's collections, or the parameters alone, of one model or of a stack of models: leaves
    (..., *shape), NumPy or JAX. `orders` has an array (..., size) of whole numbers for a group. Groups that it leaves
    out stay as they are. The first axes of orders and variables broadcast. `numpy.argsort(order, axis=-1)` is the order
    that undoes an order.

    Networks with batch normalisation compute the same only if their statistics move too, so give them `batch_stats`.
    Raises InputError for an unknown group, for an order that is no permutation, and for variables of another shape.

    >>> params = {layer: {kind: leaf[0] for kind, leaf in kinds.items()} for layer, kinds in zoo.params(2).items()}
    >>> from jaxzoo.models.permutations import permutation_spec
    >>> spec = permutation_spec(zoo)
    >>> moved = permute(params, {"conv1": [7, 6, 5, 4, 3, 2, 1, 0]}, spec)
    >>> bool((moved["conv1"]["bias"] == params["conv1"]["bias"][::-1]).all())
    True
    """
    indices = {name: _checked_order(name, order, spec) for name, order in orders.items()}
    bare = "params" not in variables
    collections = {"params": variables} if bare else variables
    leaves = dict(each_leaf(collections))
    axes = _first_axes(leaves, indices, spec)
    moves: dict[tuple[str, ...], list[tuple[int, np.ndarray]]] = {}
    for name, index in indices.items():
        for collection, path, axis, repeats in spec.groups[name].axes:
            moves.setdefault((collection, *path), []).append((axis, _repeated(index, repeats)))
    shapes = dict(each_leaf(spec.shapes))
    with jax.transfer_guard("allow"):  # orders go to the device where the variables are
        moved = {path: _moved(leaf, shapes[path], axes, moves.get(path, [])) for path, leaf in leaves.items()}
    result = _nested(collections, iter(moved.values()))
    return result["params"] if bare else result


def _checked_order(name: str, order: Any, spec: PermutationSpec) -> np.ndarray:
    if name not in spec.groups:
        raise InputError(f"orders has {name!r}, expected groups of the spec: {nearest(str(name), spec.groups)}")
    size = spec.groups[name].size
    try:
        index = np.asarray(jax.device_get(order))
    except ValueError:  # lists of different lengths
        index = np.empty(0, object)
    if index.ndim == 0 or index.shape[-1] != size or index.dtype.kind not in "iu":
        got = f"{index.dtype} of shape {index.shape}"
        raise InputError(f"the order of {name} is {got}, expected whole numbers of shape (..., {size})")
    if (np.sort(index, axis=-1) != np.arange(size)).any():
        raise InputError(f"the order of {name} is no permutation, expected each of 0..{size - 1} once")
    return index.astype(np.int32)


def _first_axes(
    leaves: Mapping[tuple[str, ...], Any], indices: Mapping[str, np.ndarray], spec: PermutationSpec
) -> Axes:
    """The axes before those of one model. Raises InputError unless the leaves are the spec's, and all axes fit."""
    shapes = {path: shape for path, shape in each_leaf(spec.shapes) if path[0] in {other[0] for other in leaves}}
    strange = sorted(shapes.keys() ^ leaves.keys())
    if strange:
        what = "missing" if strange[0] in shapes else "no variable of these networks"
        raise InputError(f"{'/'.join(strange[0])} is {what}, expected the variables of {spec.architecture or 'them'}")
    found: dict[Axes, str] = {}
    for path, leaf in leaves.items():
        first, own = np.shape(leaf)[: np.ndim(leaf) - len(shapes[path])], np.shape(leaf)[-len(shapes[path]) :]
        if own != shapes[path]:
            wanted = ", ".join(map(str, shapes[path]))
            raise InputError(f"{'/'.join(path)} is of shape {np.shape(leaf)}, expected (..., {wanted})")
        found.setdefault(first, f"the stack of {'/'.join(path)}")
    if len(found) > 1:
        names = " and ".join(f"{name} is {first}" for first, name in [*found.items()][:2])
        raise InputError(f"{names}, expected variables of the same models")
    stacks = {f"the orders of {name}": index.shape[:-1] for name, index in indices.items()}
    axes = next(iter(found), ())
    for name, own in stacks.items():
        try:
            axes = np.broadcast_shapes(axes, own)
        except ValueError as error:
            raise InputError(f"{name} are {own}, expected ones that fit models of {axes}") from error
    return axes


def _repeated(index: np.ndarray, repeats: int) -> np.ndarray:
    """Units' indices (..., size) as those of the entries of an axis that has every unit `repeats` times."""
    size = index.shape[-1]
    entries = np.arange(repeats, dtype=np.int32)[:, None] * size + index[..., None, :]
    return entries.reshape(*index.shape[:-1], repeats * size)


def _moved(leaf: Any, shape: Axes, axes: Axes, moves: list[tuple[int, np.ndarray]]) -> Any:
    array = jnp if isinstance(leaf, jax.Array) else np
    if leaf.shape != (*axes, *shape):  # one model in many orders
        leaf = array.array(array.broadcast_to(leaf, (*axes, *shape)))
    for axis, index in moves:
        if index.ndim == 1:
            leaf = array.take(leaf, index, axis=len(axes) + axis)
            continue
        first = (1,) * (len(axes) + 1 - index.ndim) + index.shape[:-1]
        ones = [1] * len(shape)
        ones[axis] = index.shape[-1]
        leaf = array.take_along_axis(leaf, array.asarray(index.reshape(*first, *ones)), axis=len(axes) + axis)
    return leaf


def _nested(tree: Mapping[str, Any], leaves: Iterator[Any]) -> dict[str, Any]:
    """The leaves, in the order of `each_leaf`, nested as in `tree`."""
    return {
        name: _nested(inner, leaves) if isinstance(inner, Mapping) else next(leaves) for name, inner in tree.items()
    }
