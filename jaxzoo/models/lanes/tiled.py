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

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.devices import FUSED_OPERANDS, TILE
from jaxzoo.models.lanes.tiled_gradients import image_gradient, kernel_gradient, largest_divisor

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
    kernel, bias = kernel_gradient(images_BHWCM, winner_BHWOM, cotangent_BHWOM, kernel_KKCOM.shape[0])
    return image_gradient(images_BHWCM.shape, winner_BHWOM, cotangent_BHWOM, kernel_KKCOM), kernel, bias


convolve_pool.defvjp(_forward, _backward)


def _pooled_and_winners(
    images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window with the bias added, and which corner it was, as a number of the same type."""
    height, width = _windows(images_BHWCM, kernel_KKCOM)
    pairs, rows = _in_pairs(images_BHWCM, kernel_KKCOM), _rows_at_once(images_BHWCM, kernel_KKCOM)

    def block(first: jax.Array) -> tuple[jax.Array, jax.Array]:
        best, winner = _first_best(_corners(pairs, kernel_KKCOM, first, rows, width))
        return best + bias_OM, winner

    def add_block(first: jax.Array, arrays: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        put = functools.partial(lax.dynamic_update_slice_in_dim, start_index=first, axis=1)
        pooled, winner = (put(array, values) for array, values in zip(arrays, block(first), strict=True))
        return pooled, winner

    if rows == height:
        return block(jnp.int32(0))
    # rows are put where they belong: XLA stores what `lax.map` stacks at thirty times the cycles for CNN-l
    empty = lax.empty((len(images_BHWCM), height, width, *bias_OM.shape), bias_OM.dtype)
    return lax.fori_loop(0, height, add_block, (empty, empty))


def _windows(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> tuple[int, int]:
    """Rows and columns of pooling windows."""
    height, width = ((size - len(kernel_KKCOM) + 1) // 2 for size in images_BHWCM.shape[1:3])
    return height, width


def _rows_at_once(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> int:
    """How many rows of windows a trip computes: all, if their values are few, as every operation has its price."""
    height, width = _windows(images_BHWCM, kernel_KKCOM)
    outputs, *models = kernel_KKCOM.shape[3:]
    registers = len(images_BHWCM) * height * width * outputs * math.prod(models) / math.prod(TILE)
    return height if registers <= MOST_REGISTERS else 1


def _in_pairs(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """The images that windows cover, rows and columns in pairs, (B, H / 2, 2, W / 2, 2, C, M).

    A slice of every second column is then one without gaps. The compiler stops on some of the others.
    """
    B, H, W, *rest = images_BHWCM.shape
    pairs = [count + len(kernel_KKCOM) // 2 for count in _windows(images_BHWCM, kernel_KKCOM)]
    # under a kernel with an even number of columns the last pair may have but one
    more = [(0, max(0, 2 * count - size)) for count, size in zip(pairs, (H, W), strict=True)]
    covered = jnp.pad(images_BHWCM, ((0, 0), *more, *((0, 0),) * len(rest)))[:, : 2 * pairs[0], : 2 * pairs[1]]
    return covered.reshape(B, pairs[0], 2, pairs[1], 2, *rest)


def _corners(pairs: jax.Array, kernel_KKCOM: jax.Array, first: jax.Array, rows: int, width: int) -> list[jax.Array]:
    """The convolution at the four corners of `rows` rows of windows from `first` on, each (B, rows, width, O, M)."""
    K, _, C, *outputs = kernel_KKCOM.shape
    # as many channels at a time as leave the four sums one operation
    group = largest_divisor(C, (FUSED_OPERANDS - len(CORNERS)) // ((K + 1) ** 2 + K**2))
    band = lax.dynamic_slice_in_dim(pairs, first, rows + K // 2, axis=1)

    def add_group(number: jax.Array | int, sums: list[jax.Array] | None) -> list[jax.Array]:
        if group == C:
            channels, kernel = band, kernel_KKCOM
        else:
            channels = lax.dynamic_slice_in_dim(band, number * group, group, axis=5)
            kernel = lax.dynamic_slice_in_dim(kernel_KKCOM, number * group, group, axis=2)

        def pixels(y: int, x: int, channel: int) -> jax.Array:
            return channels[:, y // 2 : y // 2 + rows, y % 2, x // 2 : x // 2 + width, x % 2, channel, None]

        def corner(down: int, right: int) -> jax.Array:
            terms = [
                pixels(down + i, right + j, channel) * kernel[i, j, channel]
                for channel in range(group)
                for i in range(K)
                for j in range(K)
            ]
            return sum(terms[1:], start=terms[0])

        added = [corner(*offset) for offset in CORNERS]
        return added if sums is None else [total + more for total, more in zip(sums, added, strict=True)]

    if group == C:
        return add_group(0, None)
    zeros = jnp.zeros((len(pairs), rows, width, *outputs), kernel_KKCOM.dtype)
    return lax.fori_loop(0, C // group, add_group, [zeros] * len(CORNERS))


def _first_best(corners: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window, and the number of the first corner that has it."""
    first, second, third, fourth = corners
    top, bottom = jnp.maximum(first, second), jnp.maximum(third, fourth)
    # > and not >=: among equals the first one in reading order wins
    winner = jnp.where(bottom > top, jnp.where(fourth > third, 3.0, 2.0), jnp.where(second > first, 1.0, 0.0))
    # a float: results of one type are computed by one operation
    return jnp.maximum(top, bottom), winner
