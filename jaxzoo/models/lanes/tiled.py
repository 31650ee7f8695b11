"""Convolution and max pooling in one, for populations whose model axis is folded to the registers of a TPU.

M in a name stands for two axes of at least (8, 128). With (8, M / 8) a register holds a value of 1,024 models, so that
slices and shifts move whole registers. Where there are fewer models, it holds a value of 8 images and 128 models: see
`fold_batch`.

What the compiler estimates decides the form (v5e, libtpu 0.0.42). An operation costs some 2,000 cycles before it does
anything, and 9 for every register of an operand that has the shape of the result. An operand that is repeated along an
axis costs nothing to read, a multiply-add 0.7, but a slice that is repeated is copied before, at 10 a register. So sums
are unrolled, and as many of them as read the same slices are one fused operation, with no barrier between them; see
`FUSED_OPERANDS`.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.devices import FUSED_OPERANDS, TILE
from jaxzoo.models.lanes.tiled_gradients import image_gradient, kernel_gradients, largest_divisor

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a window, (down, right) in reading order; a winner is an index in it
MOST_REGISTERS = 2400  # of a layer's pooled values that are computed without a loop over rows


@jax.custom_vjp
def convolve_pool(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array) -> jax.Array:
    """`max_pool(convolve(images, kernel)) + bias`, and its gradients."""
    return _pooled_and_winners(images_BHWCM, kernel_KKCOM, bias_OM)[0]


def _forward(
    images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    pooled, winner = _pooled_and_winners(images_BHWCM, kernel_KKCOM, bias_OM)
    return pooled, (images_BHWCM, kernel_KKCOM, winner)


def _backward(
    saved: tuple[jax.Array, jax.Array, jax.Array], cotangent_BHWOM: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    images_BHWCM, kernel_KKCOM, winner_BHWOM = saved
    ((kernel, bias),) = kernel_gradients(images_BHWCM, winner_BHWOM, (cotangent_BHWOM,), kernel_KKCOM.shape[0])
    return image_gradient(images_BHWCM.shape, winner_BHWOM, cotangent_BHWOM, kernel_KKCOM), kernel, bias


convolve_pool.defvjp(_forward, _backward)


def _pooled_and_winners(
    images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window with the bias added, and which corner it was, as a number of the same type."""
    pairs, width = in_pairs(images_BHWCM, kernel_KKCOM), windows(images_BHWCM, kernel_KKCOM)[1]

    def block(first: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
        ((*values,),) = corners(pairs, (kernel_KKCOM,), first, rows, width)
        best, winner = first_best(values)
        return best + bias_OM, winner

    pooled, winner = by_rows(block, 2, images_BHWCM, kernel_KKCOM)
    return pooled, winner


def windows(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> tuple[int, int]:
    """Rows and columns of pooling windows."""
    height, width = ((size - len(kernel_KKCOM) + 1) // 2 for size in images_BHWCM.shape[1:3])
    return height, width


def by_rows(
    block: Callable[[jax.Array, int], tuple[jax.Array, ...]],
    count: int,
    images_BHWCM: jax.Array,
    kernel_KKCOM: jax.Array,
) -> tuple[jax.Array, ...]:
    """`count` arrays (B, H, W, O, M) of all windows. `block(first, rows)` computes rows of them, from `first` on.

    All rows at once where their values are few, as every operation has its price; else row by row.
    """
    height, width = windows(images_BHWCM, kernel_KKCOM)
    shape = (len(images_BHWCM), height, width, *kernel_KKCOM.shape[3:])
    if math.prod(shape) / math.prod(TILE) <= MOST_REGISTERS or height == 1:
        return block(jnp.int32(0), height)

    def add_row(number: jax.Array, arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        put = functools.partial(lax.dynamic_update_slice_in_dim, start_index=number, axis=1)
        return tuple(put(array, values) for array, values in zip(arrays, block(number, 1), strict=True))

    # rows are put where they belong: XLA stores what `lax.map` stacks at thirty times the cycles for CNN-l
    return lax.fori_loop(0, height, add_row, (lax.empty(shape, kernel_KKCOM.dtype),) * count)


def in_pairs(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """The images that windows cover, rows and columns in pairs, (B, H / 2, 2, W / 2, 2, C, M).

    A slice of every second column is then one without gaps. The compiler stops on some of the others.
    """
    B, H, W, *rest = images_BHWCM.shape
    pairs = [count + len(kernel_KKCOM) // 2 for count in windows(images_BHWCM, kernel_KKCOM)]
    # under a kernel with an even number of columns the last pair may have but one
    more = [(0, max(0, 2 * count - size)) for count, size in zip(pairs, (H, W), strict=True)]
    covered = jnp.pad(images_BHWCM, ((0, 0), *more, *((0, 0),) * len(rest)))[:, : 2 * pairs[0], : 2 * pairs[1]]
    return covered.reshape(B, pairs[0], 2, pairs[1], 2, *rest)


def corners(
    pairs: jax.Array, kernels: Sequence[jax.Array], first: jax.Array, rows: int, width: int
) -> list[list[jax.Array]]:
    """Convolutions at the four corners of `rows` rows of windows from `first` on, each (B, rows, width, O, M).

    The first kernel is of the images, a second of their squares. Both have one shape, and read the same slices.
    """
    K, _, C, *outputs = kernels[0].shape
    count = len(kernels) * len(CORNERS)
    # as many channels at a time as leave the sums one operation
    group = largest_divisor(C, (FUSED_OPERANDS - count) // ((K + 1) ** 2 + len(kernels) * K**2))
    band = lax.dynamic_slice_in_dim(pairs, first, rows + K // 2, axis=1)

    def add_group(number: jax.Array | int, sums: list[list[jax.Array]] | None) -> list[list[jax.Array]]:
        if group == C:
            channels, parts = band, [*kernels]
        else:
            channels = lax.dynamic_slice_in_dim(band, number * group, group, axis=5)
            parts = [lax.dynamic_slice_in_dim(kernel, number * group, group, axis=2) for kernel in kernels]

        def pixels(y: int, x: int, channel: int, power: int) -> jax.Array:
            values = channels[:, y // 2 : y // 2 + rows, y % 2, x // 2 : x // 2 + width, x % 2, channel, None]
            return values if power == 1 else values * values

        def corner(power: int, down: int, right: int) -> jax.Array:
            terms = [
                pixels(down + i, right + j, channel, power) * parts[power - 1][i, j, channel]
                for channel in range(group)
                for i in range(K)
                for j in range(K)
            ]
            return sum(terms[1:], start=terms[0])

        added = [[corner(power, *offset) for offset in CORNERS] for power in range(1, len(kernels) + 1)]
        return added if sums is None else jax.tree.map(operator.add, sums, added)

    if group == C:
        return add_group(0, None)
    zeros = jnp.zeros((len(pairs), rows, width, *outputs), kernels[0].dtype)
    return lax.fori_loop(0, C // group, add_group, [[zeros] * len(CORNERS)] * len(kernels))


def first_best(values: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window, and the number of the first corner that has it."""
    first, second, third, fourth = values
    top, bottom = jnp.maximum(first, second), jnp.maximum(third, fourth)
    # > and not >=: among equals the first one in reading order wins
    winner = jnp.where(bottom > top, jnp.where(fourth > third, 3.0, 2.0), jnp.where(second > first, 1.0, 0.0))
    # a float: results of one type are computed by one operation
    return jnp.maximum(top, bottom), winner
