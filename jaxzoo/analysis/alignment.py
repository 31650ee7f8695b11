"""Hidden units have no order: one model's put into that of another, by permutations found layer by layer."""

from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxzoo.errors import InputError
from jaxzoo.reading.layout import Layout

SWEEPS = 20  # few are used: a sweep that changes nothing is the last


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

    A network computes the same when a layer's units, its biases and the next layer's inputs are permuted together.
    `align` finds such permutations by coordinate descent: layer by layer the best assignment (scipy's linear
    assignment) of the inner products of incoming and outgoing weights, until none changes (Ainsworth, Hayase,
    Srinivasa 2023, arXiv 2209.04836, algorithm 1). It starts twice, once where the units are and once from a pass that
    looks at incoming weights alone, and keeps what is closer: never farther than unaligned.
    """

    def __init__(self, blocks: tuple[_Block, ...]) -> None:
        self._blocks = blocks

    @classmethod
    def of(cls, layout: Layout, channels: int) -> Self:
        """For models of a layout whose layers follow each other; `channels` of the images.

        Units lie along the last axis of a kernel, inputs along the one before, also where pooled maps are flattened
        in between. Raises InputError for other layouts: units that are added to others have no order of their own.
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
        """`weights` (D,) with its hidden units in the order most like `target`'s."""
        unmoved = [np.arange(block.outputs) for block in self._blocks]
        starts = (unmoved, self._greedy(target, weights, unmoved))
        ends = [self.permute(weights, self._descend(target, weights, start)) for start in starts]
        return min(ends, key=lambda end: float(np.linalg.norm(end - target)))

    def permute(self, weights: np.ndarray, orders: list[np.ndarray]) -> np.ndarray:
        """`weights` (D,) with the units of every layer in those orders; the last layer's are classes and stay."""
        moved = weights.copy()
        before = np.arange(self._blocks[0].inputs)
        for block, order in zip(self._blocks, orders, strict=True):
            moved[block.kernel] = block.kernel_of(weights)[:, before][:, :, order].ravel()
            moved[block.bias] = weights[block.bias][order]
            before = order
        return moved

    def _greedy(self, target: np.ndarray, weights: np.ndarray, orders: list[np.ndarray]) -> list[np.ndarray]:
        """Layer by layer from the images on, by incoming weights alone."""
        orders = list(orders)
        for place in range(len(self._blocks) - 1):
            orders[place] = _assign(self._incoming(target, weights, orders, place))
        return orders

    def _descend(self, target: np.ndarray, weights: np.ndarray, orders: list[np.ndarray]) -> list[np.ndarray]:
        orders = list(orders)
        for _ in range(SWEEPS):
            changed = False
            for place in range(len(self._blocks) - 1):
                likeness = self._incoming(target, weights, orders, place) + self._outgoing(
                    target, weights, orders, place
                )
                order = _assign(likeness)
                units = np.arange(len(order))
                # only for a gain beyond rounding, or equal assignments could take turns for ever
                if likeness[units, order].sum() > likeness[units, orders[place]].sum() + 1e-9 * np.abs(likeness).sum():
                    orders[place], changed = order, True
            if not changed:
                break
        return orders

    def _incoming(self, target: np.ndarray, weights: np.ndarray, orders: list[np.ndarray], place: int) -> np.ndarray:
        """(O, O): how like unit o of the target is to unit q, by what they receive."""
        block = self._blocks[place]
        before = orders[place - 1] if place else np.arange(block.inputs)
        kernel = block.kernel_of(weights)[:, before]
        received = np.tensordot(block.kernel_of(target), kernel, axes=([0, 1], [0, 1]))
        return received + np.outer(target[block.bias], weights[block.bias])

    def _outgoing(self, target: np.ndarray, weights: np.ndarray, orders: list[np.ndarray], place: int) -> np.ndarray:
        """(O, O): how like they are by what they send."""
        block = self._blocks[place + 1]
        kernel = block.kernel_of(weights)[:, :, orders[place + 1]]
        return np.tensordot(block.kernel_of(target), kernel, axes=([0, 2], [0, 2]))


def _assign(likeness: np.ndarray) -> np.ndarray:
    """For every unit of the target the unit that takes its place."""
    return linear_sum_assignment(likeness, maximize=True)[1]
