"""Puts one model's hidden units, which have no order of their own, into the order of another's."""

from typing import Any, NamedTuple, Self

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxzoo.errors import InputError
from jaxzoo.reading.layout import Layout, LayoutEntry

SWEEPS = 20  # a limit that is rarely reached: a sweep that changes nothing is the last


class _Block(NamedTuple):
    """One layer with weights: kernel (positions, I, O) and bias (O,) as columns of flattened parameters."""

    kernel: slice
    bias: slice
    inputs: int
    outputs: int

    def kernel_of(self, weights: np.ndarray) -> np.ndarray:
        return weights[self.kernel].reshape(-1, self.inputs, self.outputs)


class Match(NamedTuple):
    """Models with their hidden units in another order, `aligned` (..., D) float32.

    `orders` has an array (..., O) per layer with weights: unit i of an aligned model is unit orders[i] of the model.
    """

    aligned: np.ndarray
    orders: tuple[np.ndarray, ...]


class Alignment:
    """Puts the hidden units of models into the order in which they are most like those of another.

    A network computes the same function when a layer's units, its biases and the next layer's inputs are permuted
    together. `match` finds such permutations by coordinate descent (Ainsworth, Hayase, Srinivasa 2023, arXiv
    2209.04836, algorithm 1). Layer by layer it takes the assignment of units with the largest inner products of
    incoming and outgoing weights (scipy's linear assignment), until no assignment changes.
    """

    def __init__(self, blocks: tuple[_Block, ...]) -> None:
        self._blocks = blocks
        self._width = blocks[-1].bias.stop

    @classmethod
    def of(cls, layout: Layout, channels: int | None = None) -> Self:
        """The alignment for models of a layout whose layers follow each other, on images of so many `channels`.

        Units lie along the last axis of a kernel and inputs along the one before, even if pooled maps are flattened in
        between. The channels need to be given only where the first layer is a dense one. Raises InputError for other
        channels than the first kernel has, and for other layouts: a residual network adds units to others, which fixes
        their order.
        """
        columns = {(entry.layer, entry.kind): entry for entry in layout}
        strangers = [entry for entry in layout if entry.kind == "scale" or (entry.layer, "bias") not in columns]
        if strangers or not layout:
            what = strangers[0].layer if strangers else "nothing"
            raise InputError(f"{what} is no layer of a plain chain, expected kernels with biases alone")
        kernels = [entry for entry in layout if entry.kind == "kernel"]
        inputs = _channels(kernels[0], channels)
        blocks = []
        for entry in kernels:
            outputs = entry.shape[-1]
            blocks.append(_Block(entry.columns, columns[entry.layer, "bias"].columns, inputs, outputs))
            inputs = outputs
        return cls(tuple(blocks))

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
        found = [self._best_orders(*pair) for pair in zip(wanted, rows, strict=True)]
        aligned = np.array([self.permute(row, orders) for row, orders in zip(rows, found, strict=True)], np.float32)
        orders = [np.array([each[index] for each in found], int) for index in range(len(self._blocks))]
        axes = models.shape[:-1]
        return Match(aligned.reshape(models.shape), tuple(order.reshape(*axes, order.shape[-1]) for order in orders))

    def _checked(self, name: str, weights: Any) -> np.ndarray:
        values = np.asarray(jax.device_get(weights))
        if not values.size or values.shape[-1] != self._width or values.dtype.kind not in "fiu":
            raise InputError(f"{name} is {values.dtype} of shape {values.shape}, expected numbers (..., {self._width})")
        if not np.isfinite(values).all():
            raise InputError(f"{name} has numbers that are not finite, expected finite models, as select(finite=True)")
        return values

    def _best_orders(self, target: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
        # the descent ends in a local optimum, so it starts twice; with the first start the result is never
        # farther from the target than the weights were
        unmoved = [np.arange(block.outputs) for block in self._blocks]
        starts = (unmoved, self._greedy(target, weights, unmoved))
        ends = [self._descend(target, weights, start) for start in starts]
        return min(ends, key=lambda orders: float(np.linalg.norm(self.permute(weights, orders) - target)))

    def permute(self, weights: np.ndarray, orders: list[np.ndarray]) -> np.ndarray:
        """`weights` (D,) with the units of every layer in the given order.

        The last layer's units are the classes, so its order is to be `np.arange`.
        """
        moved = weights.copy()
        before = np.arange(self._blocks[0].inputs)
        for block, order in zip(self._blocks, orders, strict=True):
            moved[block.kernel] = block.kernel_of(weights)[:, before][:, :, order].ravel()
            moved[block.bias] = weights[block.bias][order]
            before = order  # the next layer's inputs move with these units
        return moved

    def _greedy(self, target: np.ndarray, weights: np.ndarray, orders: list[np.ndarray]) -> list[np.ndarray]:
        """Orders found in one pass from the first layer on, by incoming weights alone."""
        orders = list(orders)
        for index in range(len(self._blocks) - 1):
            orders[index] = _assign(self._incoming(target, weights, orders, index))
        return orders

    def _descend(self, target: np.ndarray, weights: np.ndarray, orders: list[np.ndarray]) -> list[np.ndarray]:
        orders = list(orders)
        for _ in range(SWEEPS):
            changed = False
            for index in range(len(self._blocks) - 1):
                incoming = self._incoming(target, weights, orders, index)
                likeness = incoming + self._outgoing(target, weights, orders, index)
                order = _assign(likeness)
                units = np.arange(len(order))
                # only for a gain beyond rounding, or equal assignments could take turns for ever
                if likeness[units, order].sum() > likeness[units, orders[index]].sum() + 1e-9 * np.abs(likeness).sum():
                    orders[index], changed = order, True
            if not changed:
                break
        return orders

    def _incoming(self, target: np.ndarray, weights: np.ndarray, orders: list[np.ndarray], index: int) -> np.ndarray:
        """How like the target's unit (row) and the model's (column) are by their incoming weights and biases."""
        block = self._blocks[index]
        before = orders[index - 1] if index else np.arange(block.inputs)
        kernel = block.kernel_of(weights)[:, before]
        received = np.tensordot(block.kernel_of(target), kernel, axes=([0, 1], [0, 1]))
        return received + np.outer(target[block.bias], weights[block.bias])

    def _outgoing(self, target: np.ndarray, weights: np.ndarray, orders: list[np.ndarray], index: int) -> np.ndarray:
        """How like the target's unit (row) and the model's (column) are by their outgoing weights."""
        block = self._blocks[index + 1]
        kernel = block.kernel_of(weights)[:, :, orders[index + 1]]
        return np.tensordot(block.kernel_of(target), kernel, axes=([0, 2], [0, 2]))


def _channels(first: LayoutEntry, given: int | None) -> int:
    """The channels of the images: the inputs of a first convolution's kernel, or as given before a dense layer."""
    inputs = first.shape[-2]
    dense = len(first.shape) == 2  # then an input is a channel of a pixel
    if given not in (None, inputs) and not (dense and given >= 1 and inputs % given == 0):
        raise InputError(f"channels is {given}, expected {inputs}, those of {first.layer}'s kernel")
    return inputs if given is None else given


def _assign(likeness: np.ndarray) -> np.ndarray:
    """For every unit of the target, the number of the model's unit that is to stand at its position."""
    return linear_sum_assignment(likeness, maximize=True)[1]
