"""Puts one model's hidden units, which have no order of their own, into the order of another's."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxzoo.errors import InputError
from jaxzoo.models.permutations import PermutationSpec, UnitAxis, WithSpec, permutation_spec
from jaxzoo.reading.layout import LayoutEntry, build_layout, layout_width
from jaxzoo.spec.imported_spec import AnySpec

SWEEPS = 20  # a limit that is rarely reached: a sweep that changes nothing is the last


class _Block(NamedTuple):
    """Where the units of one group lie in flattened parameters: a row of columns for each unit, (size, F)."""

    columns: np.ndarray  # of all axes of the group, one axis after the other
    incoming: np.ndarray  # of what leads to the units from groups that come before
    parts: tuple[slice, ...]  # of `columns` along F, one for each axis


class Match(NamedTuple):
    """Models with their hidden units in another order, `aligned` (..., D) float32.

    `orders` has an array (..., size) for each group of units, as `jaxzoo.permute` takes it: unit i of an aligned model
    is unit orders[group][i] of the model. It moves the running statistics of batch normalisation likewise.
    """

    aligned: np.ndarray
    orders: dict[str, np.ndarray]


class Alignment:
    """Puts the hidden units of models into the order in which they are most like those of another.

    A network computes the same function when the units of a group are permuted wherever they lie (see
    `jaxzoo.permutation_spec`). `match` finds such permutations by coordinate descent (Ainsworth, Hayase, Srinivasa
    2023, arXiv 2209.04836, algorithm 1). Group by group it takes the assignment of units with the largest inner
    products of all parameters that lead to a unit or away from it (scipy's linear assignment), until no assignment
    changes. The running statistics of batch normalisation are no parameters and do not enter.
    """

    def __init__(self, spec: PermutationSpec) -> None:
        layout = build_layout(spec.shapes["params"])
        self._width = layout_width(layout)
        self._sizes = {name: group.size for name, group in spec.groups.items()}
        self._blocks = _blocks({entry.path: entry for entry in layout}, spec)

    @classmethod
    def of(cls, zoo_or_spec: AnySpec | WithSpec) -> Self:
        """The alignment of a zoo's models. Raises InputError for what is neither a zoo nor a `ZooSpec`."""
        return cls(permutation_spec(zoo_or_spec))

    def match(self, target: Any, weights: Any) -> Match:
        """`weights` (..., D) with their hidden units in the order most like that of `target`, (D,) or (..., D).

        A result is never farther from its target than the weights were. Arrays may be NumPy's or JAX's. Raises
        InputError for weights of another length or shape, and for weights that are not finite.
        """
        models, targets = self._checked("weights", weights), self._checked("target", target)
        try:
            targets = np.broadcast_to(targets, models.shape)
        except ValueError as error:
            got = f"{targets.shape}, and weights of {models.shape}"
            raise InputError(f"target is of shape {got}, expected one target, or one for each model") from error
        rows, wanted = (array.reshape(-1, self._width) for array in (models, targets))
        found = [self._best(*pair) for pair in zip(wanted, rows, strict=True)]
        aligned = np.array([moved for moved, _ in found], np.float32)
        axes = models.shape[:-1]
        orders = {
            name: np.array([each[index] for _, each in found], int).reshape(*axes, size)
            for index, (name, size) in enumerate(self._sizes.items())
        }
        return Match(aligned.reshape(models.shape), orders)

    def _checked(self, name: str, weights: Any) -> np.ndarray:
        values = np.asarray(jax.device_get(weights))
        if not values.size or values.shape[-1] != self._width or values.dtype.kind not in "fiu":
            raise InputError(f"{name} is {values.dtype} of shape {values.shape}, expected numbers (..., {self._width})")
        if not np.isfinite(values).all():
            raise InputError(f"{name} has numbers that are not finite, expected finite models, as select(finite=True)")
        return values

    def _best(self, target: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """One model (D,) with its units moved, and the order of every group."""
        # the descent ends in a local optimum, so it starts twice. The model as it is stays in the choice: a descent may
        # lead away from the target where a parameter has one group on two axes
        unmoved = [np.arange(size) for size in self._sizes.values()]
        wanted = [target[block.columns] for block in self._blocks]
        starts = [(weights, unmoved), self._greedy(target, weights, unmoved)]
        ends = [(weights, unmoved), *(self._descend(wanted, *start) for start in starts)]
        return min(ends, key=lambda end: float(np.linalg.norm(end[0] - target)))

    def _greedy(
        self, target: np.ndarray, weights: np.ndarray, orders: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Units assigned in one pass from the first group on, by the weights that lead to them alone."""
        moved, orders = weights.copy(), list(orders)
        for index, block in enumerate(self._blocks):
            order = _assign(target[block.incoming] @ moved[block.incoming].T)
            orders[index] = orders[index][order]
            _move(moved, block, order)
        return moved, orders

    def _descend(
        self, wanted: list[np.ndarray], weights: np.ndarray, orders: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Units assigned group by group, while all other groups stay; `wanted` has the target's weights by group."""
        moved, orders = weights.copy(), list(orders)
        for _ in range(SWEEPS):
            changed = False
            for index, block in enumerate(self._blocks):
                # how like the target's unit (row) and the model's, as it is moved by now (column), are
                likeness = wanted[index] @ moved[block.columns].T
                order = _assign(likeness)
                units = np.arange(len(order))
                # only for a gain beyond rounding, or equal assignments could take turns for ever
                if likeness[units, order].sum() > likeness.trace() + 1e-9 * np.abs(likeness).sum():
                    orders[index], changed = orders[index][order], True
                    _move(moved, block, order)
            if not changed:
                break
        return moved, orders


def _blocks(entries: dict[tuple[str, ...], LayoutEntry], spec: PermutationSpec) -> tuple[_Block, ...]:
    blocks: list[_Block] = []
    before: set[UnitAxis] = set()
    everywhere = {axis for group in spec.groups.values() for axis in group.axes}
    for group in spec.groups.values():
        axes = [axis for axis in group.axes if axis.collection == "params"]
        columns = [_columns(entries[axis.path], axis, group.size) for axis in axes]
        ends = np.cumsum([0, *(part.shape[1] for part in columns)]).tolist()
        later = {axis.path for axis in everywhere - before - {*axes}}
        leading = [
            part
            for axis, part in zip(axes, columns, strict=True)
            if axis.axis == len(entries[axis.path].shape) - 1 and axis.path not in later  # outputs are the last axis
        ]
        parts = tuple(itertools.starmap(slice, itertools.pairwise(ends)))
        blocks.append(_Block(np.concatenate(columns, axis=1), np.concatenate(leading, axis=1), parts))
        before |= {*axes}
    return tuple(blocks)


def _columns(entry: LayoutEntry, axis: UnitAxis, size: int) -> np.ndarray:
    """The columns of a parameter among flattened ones, with a row for each unit that lies along an axis of it."""
    own = np.arange(entry.columns.start, entry.columns.stop).reshape(entry.shape)
    split = own.reshape(*entry.shape[: axis.axis], axis.repeats, size, *entry.shape[axis.axis + 1 :])
    return np.moveaxis(split, axis.axis + 1, 0).reshape(size, -1)


def _move(moved: np.ndarray, block: _Block, order: np.ndarray) -> None:
    """Puts the units of a group of one model (D,) into an order, in place."""
    for part in block.parts:  # one by one: a parameter may have the group on two axes
        columns = block.columns[:, part]
        moved[columns] = moved[columns[order]]


def _assign(likeness: np.ndarray) -> np.ndarray:
    """For every unit of the target, the number of the model's unit that is to stand at its position."""
    return linear_sum_assignment(likeness, maximize=True)[1]
