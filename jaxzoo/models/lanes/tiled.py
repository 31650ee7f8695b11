"""Convolution and max pooling in one, for populations whose model axis is folded to the registers of a TPU.

M in a name stands for two axes, (8, M / 8): a register holds a value of 1,024 models, so that slices and shifts move
whole registers. Every loop runs over rows of pooling windows with a whole batch in each, because an operation costs
some 2,000 cycles before it does anything. The sums inside are unrolled. The convolution's own values, four for each
that pooling keeps, never reach the memory: the corners of the windows are computed side by side and compared at once.

The optimization barriers hold that form: without them XLA computes a sum anew for each of its readers.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models.lanes.pooling import unpool_by_stacking

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a window, (down, right) in reading order; a winner is an index in it
MOST_TERMS = 48  # in one of the image gradient's sums; with 60 the compiler takes fifteen times as long
MOST_BYTES = 40e6  # of a loop's totals, a third of the vector memory: they are read and written in every trip


@jax.custom_vjp
def convolve_pool(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array) -> jax.Array:
    """`max_pool(convolve(images, kernel, bias))`, and its gradients."""
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
    kernel, bias = _kernel_gradient(images_BHWCM, winner_BHWOM, cotangent_BHWOM, kernel_KKCOM.shape[0])
    return _image_gradient(images_BHWCM.shape, winner_BHWOM, cotangent_BHWOM, kernel_KKCOM), kernel, bias


convolve_pool.defvjp(_forward, _backward)


def _pooled_and_winners(
    images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window with the bias added, and which corner it was."""
    K, _, C = kernel_KKCOM.shape[:3]
    height, width = ((size - K + 1) // 2 for size in images_BHWCM.shape[1:3])

    def row(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        band = lax.optimization_barrier(lax.dynamic_slice_in_dim(images_BHWCM, 2 * number, K + 1, axis=1))

        def corner(down: int, right: int) -> jax.Array:
            terms = [
                band[:, down + i, right + j : right + j + 2 * width - 1 : 2, channel, None]
                * kernel_KKCOM[i, j, channel]
                for channel in range(C)
                for i in range(K)
                for j in range(K)
            ]
            return sum(terms[1:], start=terms[0])

        first, second, third, fourth = lax.optimization_barrier([corner(*offset) for offset in CORNERS])
        top, bottom = jnp.maximum(first, second), jnp.maximum(third, fourth)
        # > and not >=: among equals the first one in reading order wins
        winner = jnp.where(bottom > top, jnp.where(fourth > third, 3, 2), jnp.where(second > first, 1, 0))
        return lax.optimization_barrier((jnp.maximum(top, bottom) + bias_OM, winner))

    pooled, winner = lax.map(row, jnp.arange(height))
    return jnp.moveaxis(pooled, 0, 1), jnp.moveaxis(winner, 0, 1)


def _image_gradient(
    shape: tuple[int, ...], winner_BHWOM: jax.Array, cotangent_BHWOM: jax.Array, kernel_KKCOM: jax.Array
) -> jax.Array:
    """Every row of windows adds to the K + 1 rows of the images that it was computed from."""
    B, _, W, *channels = shape
    K, O = kernel_KKCOM.shape[0], kernel_KKCOM.shape[3]
    height, width = cotangent_BHWOM.shape[1:3]
    # the most outputs at a time that keep a sum short enough
    group = max(n for n in range(1, O + 1) if O % n == 0 and (n == 1 or 2 * K * n <= MOST_TERMS))
    zeros = jnp.zeros((B, W, *channels), cotangent_BHWOM.dtype)

    def add_row(number: jax.Array, total: jax.Array) -> jax.Array:
        winner, cotangent = (_cut(array, 0, B, number, 1)[:, 0] for array in (winner_BHWOM, cotangent_BHWOM))
        rows = lax.optimization_barrier(_unpool(winner, cotangent, (K - 1, W - 2 * width)))

        def add_group(number: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
            cut = functools.partial(lax.dynamic_slice_in_dim, start_index=number * group, slice_size=group)
            values, weights = [cut(row, axis=2) for row in rows], cut(kernel_KKCOM, axis=3)

            def term(down: int, i: int, j: int, output: int) -> jax.Array:
                return values[down][:, K - 1 - j : K - 1 - j + W, output, None] * weights[i, j, :, output]

            added = list(sums)
            for down in (0, 1):
                for i in range(K):
                    terms = [term(down, i, j, output) for j in range(K) for output in range(group)]
                    added[down + i] = sum(terms, start=added[down + i])
            return added

        sums = lax.optimization_barrier(lax.fori_loop(0, O // group, add_group, [zeros] * (K + 1)))
        for row, added in enumerate(sums):
            before = lax.dynamic_index_in_dim(total, 2 * number + row, axis=1, keepdims=False)
            total = lax.dynamic_update_index_in_dim(total, before + added, 2 * number + row, axis=1)
        return total

    return lax.fori_loop(0, height, add_row, jnp.zeros(shape, cotangent_BHWOM.dtype))


def _unpool(winner_BWOM: jax.Array, cotangent_BWOM: jax.Array, border: tuple[int, int]) -> list[jax.Array]:
    """The two rows that a row of windows covers, with each window's cotangent at its winner and zero elsewhere.

    `border` is the number of columns of zeros that are added on the left and on the right.
    """
    rows = unpool_by_stacking(winner_BWOM[:, None], cotangent_BWOM[:, None])
    return [jnp.pad(rows[:, down], ((0, 0), border, *((0, 0),) * (rows.ndim - 3))) for down in (0, 1)]


def _kernel_gradient(
    images_BHWCM: jax.Array, winner_BHWOM: jax.Array, cotangent_BHWOM: jax.Array, K: int
) -> tuple[jax.Array, jax.Array]:
    """The gradients by kernel and bias, a row of windows of some images at a time.

    A window takes from the images only the pixels that its winner was computed from, which saves three quarters of the
    multiply-adds. The images at a time are as many as leave the totals in vector memory.
    """
    B, height, width, *outputs = cotangent_BHWOM.shape
    C = images_BHWCM.shape[3]
    size = K * K * C * math.prod(outputs) * cotangent_BHWOM.dtype.itemsize
    at_once = max(n for n in range(1, B + 1) if B % n == 0 and (n == 1 or n * size <= MOST_BYTES))

    def add_row(trip: jax.Array, totals: list[jax.Array]) -> list[jax.Array]:
        first, number = trip // height * at_once, trip % height
        band = _cut(images_BHWCM, first, at_once, 2 * number, K + 1)
        # by column, the pixels for winners in the upper row of their windows, and for winners in the lower row
        upper = [band[:, :K, x, :, None] for x in range(2 * width + K - 1)]
        lower = [band[:, 1:, x, :, None] for x in range(2 * width + K - 1)]
        rows = [_cut(array, first, at_once, number, 1)[:, 0] for array in (winner_BHWOM, cotangent_BHWOM)]
        winner, cotangent = lax.optimization_barrier(rows)

        def term(x: int, j: int) -> jax.Array:
            corner, left = winner[:, x, None, None], 2 * x + j
            above = jnp.where(corner == 1, upper[left + 1], upper[left])
            below = jnp.where(corner == 3, lower[left + 1], lower[left])
            return jnp.where(corner >= 2, below, above) * cotangent[:, x, None, None]

        *columns, bias = totals
        columns = [sum((term(x, j) for x in range(width)), start=total) for j, total in enumerate(columns)]
        return [*columns, sum((cotangent[:, x] for x in range(width)), start=bias)]

    totals = [jnp.zeros((at_once, K, C, *outputs), cotangent_BHWOM.dtype)] * K
    totals.append(jnp.zeros((at_once, *outputs), cotangent_BHWOM.dtype))
    *columns, bias = lax.fori_loop(0, B // at_once * height, add_row, totals)
    return jnp.stack(columns, axis=2).sum(0), bias.sum(0)


def _cut(array: jax.Array, image: jax.Array | int, images: int, row: jax.Array, rows: int) -> jax.Array:
    """`rows` rows from `row` on, of `images` images from `image` on."""
    rest = array.shape[2:]
    return lax.dynamic_slice(array, (image, row, *(0,) * len(rest)), (images, rows, *rest))
