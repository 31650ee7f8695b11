"""Puts one model's hidden units, which have no order of their own, into the order of another's."""

from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxzoo.errors import InputError
from jaxzoo.reading.layout import Layout

SWEEPS = 20  # a limit that is rarely reached: a sweep that changes nothing is the last


class _Block(NamedTuple):
    """One layer with weights: kernel (positions, I, O) and bias (O,) as columns of flattened parameters."""

    kernel: slice
    bias: slice
    inputs: int
    outputs: int

    def kernel_of(self, weights: np.ndarray) -> np.ndarray:
        return weights[self.kernel].reshape(-1, self.inputs, self.outputs)


class Alignment:
    """Puts the hidden units of one model into the order in which they are most like those of another.

    A network computes the same function when a layer's units, its biases and the next layer's inputs are permuted
    together. `align` finds such permutations by coordinate descent (Ainsworth, Hayase, Srinivasa 2023, arXiv
    2209.04836, algorithm 1). Layer by layer it takes the assignment of units with the largest inner products of
    incoming and outgoing weights (scipy's linear assignment), until no assignment changes.
    """

    def __init__(self, blocks: tuple[_Block, ...]) -> None:
        self._blocks = blocks

    @classmethod
    def of(cls, layout: Layout, channels: int) -> Self:
        """The alignment for models of a layout whose layers follow each other, on images of `channels` channels.

        Units lie along the last axis of a kernel and inputs along the one before, even if pooled maps are flattened in
        between. Raises InputError for other layouts: a residual network adds units to others, which fixes their order.
        """
        columns = {(entry.layer, entry.kind): entry for entry in layout}
        strangers = [entry for entry in layout if entry.kind == "scale" or (entry.layer, "bias") not in columns]
        if strangers:
            raise InputError(f"{strangers[0].layer} is no layer of a plain chain, expected kernels with biases alone")
        blocks = []
        inputs = channels
        for entry in layout:
            if entry.kind == "kernel":
                outputs = entry.shape[-1]
                blocks.append(_Block(entry.columns, columns[entry.layer, "bias"].columns, inputs, outputs))
                inputs = outputs
        return cls(tuple(blocks))

    def align(self, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """`weights` (D,) with the hidden units in the order most like that of `target` (D,)."""
        # the descent ends in a local optimum, so it starts twice; with the first start the result is never
        # farther from the target than the weights were
        unmoved = [np.arange(block.outputs) for block in self._blocks]
        starts = (unmoved, self._greedy(target, weights, unmoved))
        ends = [self.permute(weights, self._descend(target, weights, start)) for start in starts]
        return min(ends, key=lambda end: float(np.linalg.norm(end - target)))

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


def _assign(likeness: np.ndarray) -> np.ndarray:
    """For every unit of the target, the number of the model's unit that is to stand at its position."""
    return linear_sum_assignment(likeness, maximize=True)[1]
