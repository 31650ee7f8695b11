"""How what windows give goes back to the positions that they cover, the model axis last.

A window covers every `stride`-th position by the same tap. So the positions fall into `stride` phases along an axis, by
their remainder, and those of one phase are reached by the same taps. Each phase is computed by itself, without the
zeros that a spread of the windows would multiply, and the phases are put together at the end.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Phase(NamedTuple):
    """Of the positions `first`, `first + stride`, ... of an axis: the taps that reach them, in ascending order.

    Position t of a phase is reached by tap number j of window t + len(taps) - 1 - j, where windows are counted after
    `border` zeros have been added before the first one and behind the last one (or, if negative, cut off).
    """

    taps: range
    border: tuple[int, int]

    @property
    def slice(self) -> slice:
        """The taps as an index."""
        return slice(self.taps.start, self.taps.stop, self.taps.step)


def phases(size: int, windows: int, taps: int, stride: int, padding: int = 0) -> list[Phase]:
    """The phases of an axis of that size, which windows of so many taps cover, with zeros on both sides."""
    length = -(-size // stride)
    found = []
    for first in range(stride):
        shift, tap = divmod(first + padding, stride)
        reach = range(tap, taps, stride)
        found.append(Phase(reach, (len(reach) - 1 - shift, shift + length - windows)))
    return found


def gather(
    rows: list[Phase],
    columns: list[Phase],
    part: Callable[[Phase, Phase], jax.Array],
    zeros: Callable[[], jax.Array],
    sizes: Sequence[int],
) -> jax.Array:
    """All positions (B, H, W, ...) of the `sizes` H and W.

    `part(row_phase, column_phase)` gives those of two phases; `zeros()` gives what no tap reaches.
    """
    parts = [[part(row, column) if row.taps and column.taps else zeros() for column in columns] for row in rows]
    if len(parts) == 1:
        return parts[0][0]
    stacked = jnp.stack([jnp.stack(row, axis=3) for row in parts], axis=2)
    B, height, stride, width, _, *rest = stacked.shape
    return stacked.reshape(B, height * stride, width * stride, *rest)[:, : sizes[0], : sizes[1]]


def with_borders(windows: jax.Array, row: Phase, column: Phase) -> jax.Array:
    """The windows (B, H, W, ...) with the zeros that two phases add around them."""
    borders = [(0, 0), row.border, column.border, *((0, 0),) * (windows.ndim - 3)]
    return lax.pad(windows, jnp.zeros((), windows.dtype), [(low, high, 0) for low, high in borders])
