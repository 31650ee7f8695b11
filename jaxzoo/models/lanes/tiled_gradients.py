"""The gradients of convolution and max pooling in one, see `tiled`."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.devices import FUSED_OPERANDS
from jaxzoo.models.lanes.pooling import unpool_by_stacking

MOST_BYTES = 40e6  # of a loop's totals, a third of the vector memory: they are read and written in every trip


class Totals(NamedTuple):
    """Sums of gradients by a kernel, for each of its columns, and by a bias."""

    columns: list[jax.Array]
    bias: jax.Array


def image_gradient(
    shape: tuple[int, ...], winner_BHWOM: jax.Array, cotangent_BHWOM: jax.Array, kernel_KKCOM: jax.Array
) -> jax.Array:
    """Every row of windows adds to the K + 1 rows of the images that it was computed from."""
    B, _, W, *_ = shape
    K, O = kernel_KKCOM.shape[0], kernel_KKCOM.shape[3]
    height, width = cotangent_BHWOM.shape[1:3]
    # as many outputs at a time as leave the sums one operation
    group = largest_divisor(O, (FUSED_OPERANDS - K - 1) // (2 * K + K**2))

    def add_row(number: jax.Array, total: jax.Array) -> jax.Array:
        winner, cotangent = (_cut(array, 0, B, number, 1)[:, 0] for array in (winner_BHWOM, cotangent_BHWOM))
        rows = lax.optimization_barrier(_unpool(winner, cotangent, (K - 1, W - 2 * width)))

        def term(down: int, i: int, j: int, output: int) -> jax.Array:
            return rows[down][:, K - 1 - j : K - 1 - j + W, output, None] * kernel_KKCOM[i, j, :, output]

        places = [2 * number + row for row in range(K + 1)]
        sums = [lax.dynamic_index_in_dim(total, place, axis=1, keepdims=False) for place in places]
        for first in range(0, O, group):
            outputs = range(first, first + group)
            for row in range(K + 1):
                downs = [down for down in (0, 1) if 0 <= row - down < K]
                terms = [term(down, row - down, j, output) for down in downs for j in range(K) for output in outputs]
                sums[row] = sum(terms, start=sums[row])
            # without it XLA makes longer sums than there are registers for
            sums = lax.optimization_barrier(sums)
        for place, added in zip(places, sums, strict=True):
            total = lax.dynamic_update_index_in_dim(total, added, place, axis=1)
        return total

    return lax.fori_loop(0, height, add_row, jnp.zeros(shape, cotangent_BHWOM.dtype))


def _unpool(winner_BWOM: jax.Array, cotangent_BWOM: jax.Array, border: tuple[int, int]) -> list[jax.Array]:
    """The two rows that a row of windows covers, with each window's cotangent at its winner and zero elsewhere.

    `border` is the number of columns of zeros that are added on the left and on the right.
    """
    rows = unpool_by_stacking(winner_BWOM[:, None], cotangent_BWOM[:, None])
    return [jnp.pad(rows[:, down], ((0, 0), border, *((0, 0),) * (rows.ndim - 3))) for down in (0, 1)]


def kernel_gradients(
    images_BHWCM: jax.Array, winner_BHWOM: jax.Array, cotangents_BHWOM: Sequence[jax.Array], K: int
) -> list[tuple[jax.Array, jax.Array]]:
    """The gradients by kernel and bias, a row of windows of some images at a time.

    The first cotangent is of the convolution of the images, a second of that of their squares.
    A window takes from the images only the pixels that its winner was computed from, which saves three quarters of the
    multiply-adds. The images are `groups` groups of `members` each: the totals have an axis of members, whose images
    are computed side by side, and the groups' terms are added up in one operation.
    """
    B, height, width, *outputs = winner_BHWOM.shape
    C, dtype, count = images_BHWCM.shape[3], winner_BHWOM.dtype, len(cotangents_BHWOM)
    size = count * K * K * C * math.prod(outputs) * dtype.itemsize
    # a window has its cotangents and two masks, and every column two slices of K pixels
    groups = largest_divisor(B, (FUSED_OPERANDS - count * K) // ((2 + count) * width + 2 * (2 * width + K - 1)))
    members = largest_divisor(B // groups, MOST_BYTES // size)
    images = groups * members
    of_groups = [slice(start, start + members) for start in range(0, images, members)]

    def add_row(trip: jax.Array, totals: list[Totals]) -> list[Totals]:
        first, number = trip // height * images, trip % height
        band = _cut(images_BHWCM, first, images, 2 * number, K + 1)
        winner, *cotangents = (_cut(each, first, images, number, 1)[:, 0] for each in (winner_BHWOM, *cotangents_BHWOM))

        def term(group: slice, x: int, j: int, power: int) -> jax.Array:
            chosen = _pixels_of_winner(band, winner, group, x, j)
            return (chosen if power == 1 else chosen * chosen) * cotangents[power - 1][group, x, None, None]

        return [
            Totals(
                [
                    sum((term(group, x, j, power) for group in of_groups for x in range(width)), start=total)
                    for j, total in enumerate(columns)
                ],
                bias + cotangents[power - 1].sum(1),
            )
            for power, (columns, bias) in enumerate(totals, start=1)
        ]

    columns = [jnp.zeros((members, K, C, *outputs), dtype)] * K
    totals = [Totals(columns, jnp.zeros((images, *outputs), dtype))] * count
    totals = lax.fori_loop(0, B // images * height, add_row, totals)
    return [(jnp.stack([column.sum(0) for column in columns], axis=1), bias.sum(0)) for columns, bias in totals]


def _pixels_of_winner(band_BHWCM: jax.Array, winner_BWOM: jax.Array, group: slice, x: int, j: int) -> jax.Array:
    """The pixels (images of the group, K, C, O, M) under column j of the kernel where it gave the winner of window x.

    The band has the K + 1 rows of the images that a row of windows was computed from.
    """
    K = band_BHWCM.shape[1] - 1
    corner, left = winner_BWOM[group, x, None, None], 2 * x + j
    right = (corner == 1) | (corner == 3)

    def pixels(down: int, column: int) -> jax.Array:
        return band_BHWCM[group, down : down + K, column, :, None]

    above, below = (jnp.where(right, pixels(down, left + 1), pixels(down, left)) for down in (0, 1))
    return jnp.where(corner >= 2, below, above)


def _cut(array: jax.Array, image: jax.Array | int, images: int, row: jax.Array, rows: int) -> jax.Array:
    """`rows` rows from `row` on, of `images` images from `image` on."""
    rest = array.shape[2:]
    return lax.dynamic_slice(array, (image, row, *(0,) * len(rest)), (images, rows, *rest))


def largest_divisor(number: int, most: float) -> int:
    """The largest divisor that is at most `most`, and at least 1."""
    return max(size for size in range(1, number + 1) if number % size == 0 and size <= max(1, most))
