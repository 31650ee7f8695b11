"""Convolutions with 3 x 3 kernels in 4 / 9 of the products: Winograd's F(2 x 2, 3 x 3).

A result is cut into tiles of 2 x 2. Each comes of a tile of 4 x 4 of the images, which overlaps its neighbours. Tiles
and kernel are transformed to grids of 4 x 4 numbers, multiplied entry by entry and summed over channels (for every
entry a matrix product), and transformed back (Lavin and Gray 2016, section 4.1). The transforms add, subtract and
halve, so a float32 result is as near to the exact one as a sum in the usual order. Tiles of 4 x 4 need fewer products,
but were ten times as far off, and no faster.

Shapes: images B, H, W, C; kernel K, K, C, O, with K = 3; T tiles of a part of a batch. H and W are even.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxzoo.models.batch_parts import contract, map_parts, pad, strided, sum_parts

Matrix = Sequence[Sequence[float]]
Grid = list[list[jax.Array]]  # arrays of the same shape, by row and column of a tile

# B^T, G and A^T in the paper
TO_IMAGES: Matrix = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
TO_KERNEL: Matrix = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
TO_RESULT: Matrix = ((1, 1, 1, 0), (0, 1, -1, -1))
TURNED = (3, 1, 2, 0)  # where the entries of a transformed kernel lie when the kernel is turned round


def convolve(images_BHWC: jax.Array, kernel_KKCO: jax.Array, padding: int) -> jax.Array:
    """The cross-correlation with stride 1, and `padding` zeros on all sides."""
    filtered = functools.partial(_filtered, _transformed(kernel_KKCO), 0, padding)
    return map_parts(filtered, images_BHWC, math.prod(images_BHWC.shape[1:3]))


def by_images(cotangent_BHWO: jax.Array, kernel_KKCO: jax.Array, padding: int) -> jax.Array:
    """The gradient by the images: the cotangent correlated with the turned kernel, over its outputs."""
    kernel = _transformed(kernel_KKCO)
    turned = [[kernel[row][column] for column in TURNED] for row in TURNED]
    filtered = functools.partial(_filtered, turned, 1, 2 - padding)
    return map_parts(filtered, cotangent_BHWO, math.prod(cotangent_BHWO.shape[1:3]))


def by_kernel(images_BHWC: jax.Array, cotangent_BHWO: jax.Array, padding: int) -> jax.Array:
    """The gradient by the kernel: transforms and products of `convolve` the other way round."""

    def products(images_BHWC: jax.Array, cotangent_BHWO: jax.Array) -> Grid:
        images = _on_both_axes(TO_IMAGES, _tiles(pad(images_BHWC, padding), 4))
        cotangents = _on_both_axes(_transposed(TO_RESULT), _tiles(cotangent_BHWO, 2))
        return _by_entry(lambda own_TC, other_TO: contract(own_TC, other_TO, 0, 0), images, cotangents)

    grid = sum_parts(products, math.prod(cotangent_BHWO.shape[1:3]), images_BHWC, cotangent_BHWO)
    return jnp.stack([jnp.stack(row) for row in _on_both_axes(_transposed(TO_KERNEL), grid)])


def _transformed(kernel_KKCO: jax.Array) -> Grid:
    return _on_both_axes(TO_KERNEL, [list(row_KCO) for row_KCO in kernel_KKCO])


def _filtered(kernel: Grid, contracted: int, padding: int, images_BHWC: jax.Array) -> jax.Array:
    """The images correlated with a transformed kernel, one axis of which is summed over."""
    batch, *sizes, _ = images_BHWC.shape
    high, wide = (size // 2 + padding - 1 for size in sizes)
    images = _on_both_axes(TO_IMAGES, _tiles(pad(images_BHWC, padding), 4))
    products = _by_entry(lambda own, other: contract(own, other, 1, contracted), images, kernel)
    grid = _on_both_axes(TO_RESULT, products)
    spread = [[entry.reshape(batch, high, 1, wide, 1, -1) for entry in row] for row in grid]
    rows = [jnp.concatenate(row, axis=4) for row in spread]
    return jnp.concatenate(rows, axis=2).reshape(batch, 2 * high, 2 * wide, -1)


def _tiles(images_BHWC: jax.Array, size: int) -> Grid:
    """The entries of all tiles of a size, (T, C). A tile begins at every second row and column."""
    counts = [(extent - size) // 2 + 1 for extent in images_BHWC.shape[1:3]]
    return [[strided(images_BHWC, (row, column), counts, 2) for column in range(size)] for row in range(size)]


def _by_entry(function: Callable[[jax.Array, jax.Array], jax.Array], one: Grid, other: Grid) -> Grid:
    return [[function(*both) for both in zip(*rows, strict=True)] for rows in zip(one, other, strict=True)]


def _on_both_axes(matrix: Matrix, grid: Grid) -> Grid:
    """`matrix @ grid @ matrix.T`"""
    rows = [[_combined(factors, column) for column in zip(*grid, strict=True)] for factors in matrix]
    return [[_combined(factors, row) for factors in matrix] for row in rows]


def _combined(factors: Sequence[float], entries: Sequence[jax.Array]) -> jax.Array:
    terms = [_times(factor, entry) for factor, entry in zip(factors, entries, strict=True) if factor]
    return functools.reduce(jnp.add, terms)


def _times(factor: float, entry: jax.Array) -> jax.Array:
    return entry if factor == 1 else -entry if factor == -1 else factor * entry


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))
