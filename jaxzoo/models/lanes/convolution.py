"""Convolution of a population: stride 1, no padding, no bias, the model axis last.

Each is a sum over the kernel's taps of elementwise multiply-adds whose innermost loop runs over models. On a CPU the
loops are cut so that some 12 to 30 terms stand in one fused expression, measured with AVX-512: of fewer terms the
compiler unrolls the loop over models instead of vectorizing it, 6 GFLOP/s a core where others reach 100; more do not
fit the registers.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

FEWEST_TERMS = 12
CHAINS = 3


@jax.custom_vjp
def convolve(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """Cross-correlation, (B, H - K + 1, W - K + 1, O, M). Images with one model are shared by all."""
    return _correlate(images_BHWCM, kernel_KKCOM)


def _convolve_forward(
    images_BHWCM: jax.Array, kernel_KKCOM: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(images_BHWCM, kernel_KKCOM), (images_BHWCM, kernel_KKCOM)


def _convolve_backward(saved: tuple[jax.Array, jax.Array], cotangent_BHWOM: jax.Array) -> tuple[jax.Array, jax.Array]:
    images_BHWCM, kernel_KKCOM = saved
    kernel = _kernel_gradient(images_BHWCM, cotangent_BHWOM, kernel_KKCOM.shape[0])
    return _image_gradient(kernel_KKCOM, cotangent_BHWOM), kernel


convolve.defvjp(_convolve_forward, _convolve_backward)


def _correlate(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """The sum over taps and input channels, in the form that suits the device it is lowered for."""
    forms = {"cpu": _correlate_by_channels, "default": _correlate_by_rows}
    return lax.platform_dependent(images_BHWCM, kernel_KKCOM, **forms)


def _correlate_by_rows(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """A loop over the kernel's rows, all terms of a row unrolled; one channel in a single expression."""
    K, _, C, *outputs = kernel_KKCOM.shape
    B, H, W, *_ = images_BHWCM.shape
    if C == 1:
        return add_in_chains(_terms(images_BHWCM, kernel_KKCOM))

    def add_row(row: jax.Array, total_BHWOM: jax.Array) -> jax.Array:
        images = lax.dynamic_slice_in_dim(images_BHWCM, row, H - K + 1, axis=1)
        return add_in_chains([total_BHWOM, *_terms(images, lax.dynamic_slice_in_dim(kernel_KKCOM, row, 1))])

    return lax.fori_loop(0, K, add_row, jnp.zeros((B, H - K + 1, W - K + 1, *outputs), kernel_KKCOM.dtype))


def _correlate_by_channels(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """A loop over groups of input channels, or over images where one group is all; in it the terms are unrolled.

    Without a loop XLA fuses a convolution into the pooling that follows and computes it anew for each of its inputs.
    """
    K, _, C, *outputs = kernel_KKCOM.shape
    B, H, W, *_ = images_BHWCM.shape
    group = next(size for size in range(1, C + 1) if C % size == 0 and (size * K * K >= FEWEST_TERMS or size == C))
    if group == C:
        return lax.map(lambda image: add_in_chains(_terms(image[None], kernel_KKCOM))[0], images_BHWCM)

    def add_group(number: jax.Array, total_BHWOM: jax.Array) -> jax.Array:
        images = lax.dynamic_slice_in_dim(images_BHWCM, number * group, group, axis=3)
        kernel = lax.dynamic_slice_in_dim(kernel_KKCOM, number * group, group, axis=2)
        return add_in_chains([total_BHWOM, *_terms(images, kernel)])

    zeros = jnp.zeros((B, H - K + 1, W - K + 1, *outputs), kernel_KKCOM.dtype)
    return lax.fori_loop(0, C // group, add_group, zeros)


def _terms(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> list[jax.Array]:
    """The rows * columns * C terms whose sum is the correlation."""
    rows, columns, C = kernel_KKCOM.shape[:3]
    height, width = images_BHWCM.shape[1] - rows + 1, images_BHWCM.shape[2] - columns + 1
    return [
        images_BHWCM[:, row : row + height, column : column + width, channel, None] * kernel_KKCOM[row, column, channel]
        for channel in range(C)
        for row in range(rows)
        for column in range(columns)
    ]


def add_in_chains(terms: Sequence[jax.Array]) -> jax.Array:
    """The sum, as three chains of multiply-adds side by side: one chain waits for the latency of each."""
    chains = [sum(terms[start + CHAINS :: CHAINS], start=terms[start]) for start in range(min(CHAINS, len(terms)))]
    return sum(chains[1:], start=chains[0])


def _image_gradient(kernel_KKCOM: jax.Array, cotangent_BHWOM: jax.Array) -> jax.Array:
    """The padded cotangent correlated with the turned kernel, its channels exchanged."""
    K, _, _, _, *models = kernel_KKCOM.shape
    border = ((0, 0), (K - 1, K - 1), (K - 1, K - 1), *((0, 0),) * (1 + len(models)))
    padded = jnp.pad(cotangent_BHWOM, border)
    return _correlate(padded, kernel_KKCOM[::-1, ::-1].swapaxes(2, 3))


def _kernel_gradient(images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array, K: int) -> jax.Array:
    """Gradient by kernel, in the form that suits the device the program is lowered for."""
    forms = {"cpu": _kernel_gradient_by_blocks, "default": _kernel_gradient_by_taps}
    forms = {device: functools.partial(form, K) for device, form in forms.items()}
    return lax.platform_dependent(images_BHWCM, cotangent_BHWOM, **forms)


def _kernel_gradient_by_taps(K: int, images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array) -> jax.Array:
    """A multiply-reduce per tap: few, large fusions."""
    height, width = cotangent_BHWOM.shape[1:3]
    taps = [
        jnp.sum(
            images_BHWCM[:, row : row + height, column : column + width, :, None] * cotangent_BHWOM[:, :, :, None],
            axis=(0, 1, 2),
        )
        for row in range(K)
        for column in range(K)
    ]
    return jnp.stack(taps).reshape(K, K, *taps[0].shape)


def _kernel_gradient_by_blocks(K: int, images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array) -> jax.Array:
    """A loop over images and blocks of rows, a block's positions unrolled: the total stays in a core's cache.

    Each term cuts its own window: such a slice is fused into the sum, one that serves many terms would be copied.
    """
    B, height, width, O, *models = cotangent_BHWOM.shape
    rest = (0,) * (1 + len(models))
    C = images_BHWCM.shape[3]
    rows = next(n for n in range(1, height + 1) if height % n == 0 and (n * width >= FEWEST_TERMS or n == height))
    blocks = height // rows
    cut = functools.partial(lax.dynamic_slice, allow_negative_indices=False)  # no wrapping of an index, step by step

    def add_block(image: jax.Array, number: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
        terms = [
            cut(images_BHWCM, (image, number * rows + row, column, *rest), (1, K, K, C, *models))[0, :, :, :, None]
            * cut(cotangent_BHWOM, (image, number * rows + row, column, *rest), (1, 1, 1, O, *models))[0, :, :, None]
            for row in range(rows)
            for column in range(width)
        ]
        return add_in_chains([kernel_KKCOM, *terms])

    def add_image(image: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
        return lax.fori_loop(0, blocks, functools.partial(add_block, image), kernel_KKCOM)

    zeros = jnp.zeros((K, K, C, O, *models), cotangent_BHWOM.dtype)
    return lax.fori_loop(0, B, add_image, zeros)
