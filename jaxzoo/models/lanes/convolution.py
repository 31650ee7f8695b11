"""Convolution of a population: stride 1, no padding, no bias, the model axis last.

The convolution and its gradients are sums over the kernel's taps of elementwise multiply-adds whose innermost loop runs
over models. On a CPU the loops are cut so that one fused expression has some 12 to 30 terms (measured with AVX-512).
With fewer terms the compiler unrolls the loop over models instead of vectorizing it, and reaches 6 GFLOP/s a core
instead of 100. More terms do not fit the registers.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

FEWEST_TERMS = 12  # in one fused expression on a CPU, see above
CHAINS = 3  # measured: 125 GFLOP/s a core, where a single chain reached 80


@jax.custom_vjp
def convolve(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """The cross-correlation, (B, H - K + 1, W - K + 1, O, M).

    Images with a model axis of 1 are shared by all models; their gradient is then the sum over the models.
    """
    return _correlate(images_BHWCM, kernel_KKCOM)


def _convolve_forward(
    images_BHWCM: jax.Array, kernel_KKCOM: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(images_BHWCM, kernel_KKCOM), (images_BHWCM, kernel_KKCOM)


def _convolve_backward(saved: tuple[jax.Array, jax.Array], cotangent_BHWOM: jax.Array) -> tuple[jax.Array, jax.Array]:
    images_BHWCM, kernel_KKCOM = saved
    kernel = _kernel_gradient(images_BHWCM, cotangent_BHWOM, kernel_KKCOM.shape[0])
    return sum_to_shape(_image_gradient(kernel_KKCOM, cotangent_BHWOM), images_BHWCM.shape), kernel


convolve.defvjp(_convolve_forward, _convolve_backward)


def _correlate(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """The sum over taps and input channels, in the form that suits the device it is lowered for."""
    # on a TPU the CPU's form, here and in the kernel gradient, takes twice the cycles by the compiler's estimate
    forms = {"cpu": _correlate_by_channels, "default": _correlate_by_rows}
    return lax.platform_dependent(images_BHWCM, kernel_KKCOM, **forms)


def _correlate_by_rows(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """Loops over the kernel's rows and unrolls a row's terms; images of one channel take a single expression."""
    K, _, C, *outputs = kernel_KKCOM.shape
    B, H, W, *_ = images_BHWCM.shape
    if C == 1:
        return add_in_chains(_terms(images_BHWCM, kernel_KKCOM))

    def add_row(row: jax.Array, total_BHWOM: jax.Array) -> jax.Array:
        images = lax.dynamic_slice_in_dim(images_BHWCM, row, H - K + 1, axis=1)
        return add_in_chains([total_BHWOM, *_terms(images, lax.dynamic_slice_in_dim(kernel_KKCOM, row, 1))])

    return lax.fori_loop(0, K, add_row, jnp.zeros((B, H - K + 1, W - K + 1, *outputs), kernel_KKCOM.dtype))


def _correlate_by_channels(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """Loops over groups of input channels, or over images if one group has all channels, and unrolls the terms inside.

    Without a loop XLA fuses a convolution into the pooling that follows and computes it anew for each of its inputs.
    """
    K, _, C, *outputs = kernel_KKCOM.shape
    B, H, W, *_ = images_BHWCM.shape
    # the smallest group of channels that gives an expression enough terms
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
    """The sum of the terms, as three independent chains of multiply-adds.

    In a single chain every multiply-add would wait for the one before.
    """
    chains = [sum(terms[start + CHAINS :: CHAINS], start=terms[start]) for start in range(min(CHAINS, len(terms)))]
    return sum(chains[1:], start=chains[0])


def sum_to_shape(gradient: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A gradient by values that were broadcast from `shape`: its sum over the axes that have length 1 there."""
    spread = [axis for axis, (length, before) in enumerate(zip(gradient.shape, shape, strict=True)) if length != before]
    return gradient.sum(spread, keepdims=True) if spread else gradient


def _image_gradient(kernel_KKCOM: jax.Array, cotangent_BHWOM: jax.Array) -> jax.Array:
    """The padded cotangent, correlated with the kernel turned by half a turn, inputs and outputs exchanged."""
    K, _, _, _, *models = kernel_KKCOM.shape
    border = ((0, 0), (K - 1, K - 1), (K - 1, K - 1), *((0, 0),) * (1 + len(models)))
    padded = jnp.pad(cotangent_BHWOM, border)
    return _correlate(padded, kernel_KKCOM[::-1, ::-1].swapaxes(2, 3))


def _kernel_gradient(images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array, K: int) -> jax.Array:
    """The gradient by kernel, in the form that suits the device it is lowered for."""
    forms = {"cpu": _kernel_gradient_by_blocks, "default": _kernel_gradient_by_taps}
    forms = {device: functools.partial(form, K) for device, form in forms.items()}
    return lax.platform_dependent(images_BHWCM, cotangent_BHWOM, **forms)


def _kernel_gradient_by_taps(K: int, images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array) -> jax.Array:
    """A multiply-reduce per tap. A TPU prefers few, large fusions to a loop that carries a total."""
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
    """Loops over images and blocks of rows and unrolls a block's positions, so that the total stays in a core's cache.

    Each term cuts its own window. XLA fuses such a slice into the sum, and would copy a slice that serves many terms.
    """
    B, height, width, O, *models = cotangent_BHWOM.shape
    rest = (0,) * (1 + len(models))
    window = (1, K, K, *images_BHWCM.shape[3:])  # its model axis has length 1 where models share the images
    rows = next(n for n in range(1, height + 1) if height % n == 0 and (n * width >= FEWEST_TERMS or n == height))
    blocks = height // rows
    # no index is negative, and handling negative ones would take operations in every trip of the loop
    cut = functools.partial(lax.dynamic_slice, allow_negative_indices=False)

    def add_block(image: jax.Array, number: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
        terms = [
            cut(images_BHWCM, (image, number * rows + row, column, *rest), window)[0, :, :, :, None]
            * cut(cotangent_BHWOM, (image, number * rows + row, column, *rest), (1, 1, 1, O, *models))[0, :, :, None]
            for row in range(rows)
            for column in range(width)
        ]
        return add_in_chains([kernel_KKCOM, *terms])

    # two loops, one inside the other: a single one would divide its counter for image and block
    def add_image(image: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
        return lax.fori_loop(0, blocks, functools.partial(add_block, image), kernel_KKCOM)

    zeros = jnp.zeros((K, K, images_BHWCM.shape[3], O, *models), cotangent_BHWOM.dtype)
    return lax.fori_loop(0, B, add_image, zeros)
