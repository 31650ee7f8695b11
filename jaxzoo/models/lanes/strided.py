"""Convolution of a population with any stride and padding, the model axis last."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models.lanes.convolution import (
    FEWEST_TERMS,
    add_in_chains,
    correlate_by_channels,
    correlate_by_rows,
    kernel_gradient_by_blocks,
    kernel_gradient_by_taps,
    sum_to_shape,
    terms_of,
    window_counts,
)
from jaxzoo.models.lanes.phases import Phase, gather, phases, with_borders

MOST_TERMS = 30  # in one fused expression on a CPU: with the 49 of a 7 x 7 kernel it falls to a third of the rate

LEAST_FILLED = 18  # terms to which an expression of too few is filled up: the compiler unrolls one of 12 or 15 here
CACHED_BYTES = 30_000  # of the cotangent that the gradient by kernel reads again and again: a core's first cache


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve_strided(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, stride: int, padding: int) -> jax.Array:
    """The cross-correlation with `padding` zeros on each side, every `stride` positions.

    Images with a model axis of 1 are shared by all models; their gradient is then the sum over the models.
    """
    return _correlate(_padded(images_BHWCM, padding), kernel_KKCOM, stride)


def _forward(
    images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve_strided(images_BHWCM, kernel_KKCOM, stride, padding), (images_BHWCM, kernel_KKCOM)


def _backward(
    stride: int, padding: int, saved: tuple[jax.Array, jax.Array], cotangent_BHWOM: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images_BHWCM, kernel_KKCOM = saved
    by_kernel = _kernel_gradient(_padded(images_BHWCM, padding), cotangent_BHWOM, kernel_KKCOM.shape[0], stride)
    by_images = _image_gradient(images_BHWCM.shape[1:3], kernel_KKCOM, cotangent_BHWOM, stride, padding)
    return sum_to_shape(by_images, images_BHWCM.shape), by_kernel


convolve_strided.defvjp(_forward, _backward)


def _padded(images_BHWCM: jax.Array, padding: int) -> jax.Array:
    return jnp.pad(images_BHWCM, ((0, 0), *((padding, padding),) * 2, *((0, 0),) * (images_BHWCM.ndim - 3)))


def _image_gradient(
    sizes: Sequence[int], kernel_KKCOM: jax.Array, cotangent_BHWOM: jax.Array, stride: int, padding: int
) -> jax.Array:
    """For each phase the cotangent, correlated with the phase's taps turned by half a turn.

    The gradients of the zeros around the images are not computed.
    """
    turned_KKOCM = kernel_KKCOM.swapaxes(2, 3)
    rows, columns = (
        phases(size, windows, len(kernel_KKCOM), stride, padding)
        for size, windows in zip(sizes, cotangent_BHWOM.shape[1:3], strict=True)
    )

    def part(row: Phase, column: Phase) -> jax.Array:
        taps = turned_KKOCM[row.slice, column.slice][::-1, ::-1]
        return _correlate(with_borders(cotangent_BHWOM, row, column), taps)

    def zeros() -> jax.Array:
        height, width = (-(-size // stride) for size in sizes)
        return jnp.zeros((len(cotangent_BHWOM), height, width, *turned_KKOCM.shape[3:]), cotangent_BHWOM.dtype)

    return gather(rows, columns, part, zeros, sizes)


def _correlate(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, stride: int = 1) -> jax.Array:
    """As in `convolution`, with terms for a CPU that are neither too few nor too many."""
    return lax.platform_dependent(images_BHWCM, kernel_KKCOM, **_forms_of_correlation(stride))


@functools.cache  # the same functions for all calls: those of one shape are lowered once
def _forms_of_correlation(stride: int) -> dict[str, Callable[..., jax.Array]]:
    return {
        "cpu": functools.partial(_correlate_by_terms, stride=stride),
        "default": functools.partial(correlate_by_rows, stride=stride),
    }


def _correlate_by_terms(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, stride: int = 1) -> jax.Array:
    rows, columns, C = kernel_KKCOM.shape[:3]
    blocks = -(-rows * columns // MOST_TERMS)
    if blocks > 1:
        height = -(-rows // blocks)
        return _correlate_by_row_blocks(*_with_rows(images_BHWCM, kernel_KKCOM, height * blocks), height, stride)
    if rows * columns * C < FEWEST_TERMS:
        rows = -(-LEAST_FILLED // (columns * C))
    return correlate_by_channels(*_with_rows(images_BHWCM, kernel_KKCOM, rows), stride)


def _with_rows(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
    """The kernel with rows of zeros up to so many, and the images with rows for them: the correlation is the same."""
    more = rows - len(kernel_KKCOM)
    if more == 0:
        return images_BHWCM, kernel_KKCOM
    images = jnp.pad(images_BHWCM, ((0, 0), (0, more), *((0, 0),) * (images_BHWCM.ndim - 2)))
    return images, jnp.pad(kernel_KKCOM, ((0, more), *((0, 0),) * (kernel_KKCOM.ndim - 1)))


def _correlate_by_row_blocks(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, rows: int, stride: int) -> jax.Array:
    """Loops over input channels and blocks of so many rows of a large kernel."""
    K, columns, C, *outputs = kernel_KKCOM.shape
    height, width = window_counts(images_BHWCM.shape[1:3], (K, columns), stride)

    def add_block(channel: jax.Array, block: jax.Array, total_BHWOM: jax.Array) -> jax.Array:
        images = lax.dynamic_slice_in_dim(images_BHWCM, channel, 1, axis=3)
        images = lax.dynamic_slice_in_dim(images, block * rows, (height - 1) * stride + rows, axis=1)
        kernel = lax.dynamic_slice_in_dim(kernel_KKCOM, channel, 1, axis=2)
        return add_in_chains(
            [total_BHWOM, *terms_of(images, lax.dynamic_slice_in_dim(kernel, block * rows, rows), stride)]
        )

    def add_channel(channel: jax.Array, total_BHWOM: jax.Array) -> jax.Array:
        return lax.fori_loop(0, K // rows, functools.partial(add_block, channel), total_BHWOM)

    zeros = jnp.zeros((len(images_BHWCM), height, width, *outputs), kernel_KKCOM.dtype)
    return lax.fori_loop(0, C, add_channel, zeros)


def _kernel_gradient(images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array, K: int, stride: int) -> jax.Array:
    """The gradient by kernel, in the form that suits the device it is lowered for."""
    block = _block(cotangent_BHWOM)
    by_blocks = functools.partial(kernel_gradient_by_blocks, K, stride=stride, block=block)
    by_taps = functools.partial(kernel_gradient_by_taps, K, stride=stride)
    return lax.platform_dependent(images_BHWCM, cotangent_BHWOM, cpu=by_blocks, default=by_taps)


def _block(cotangent_BHWOM: jax.Array) -> tuple[int, int, int]:
    """Images, rows and columns that give enough terms, and a cotangent that stays in a core's cache."""
    B, height, width, *outputs = cotangent_BHWOM.shape
    most = CACHED_BYTES // (math.prod(outputs) * cotangent_BHWOM.dtype.itemsize)
    columns = max((n for n in _divisors(width) if FEWEST_TERMS <= n <= most), default=width)
    if columns < width:
        return 1, 1, columns
    rows = next(n for n in _divisors(height) if n * width >= FEWEST_TERMS or n == height)
    images = next(n for n in _divisors(B) if n * rows * width >= FEWEST_TERMS or n == B)
    return images, rows, width


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
