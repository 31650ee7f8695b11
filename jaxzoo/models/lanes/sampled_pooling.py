"""Convolution of drawn values and max pooling in one: stride 1, no padding, 2 x 2 windows, the model axis last.

A convolution has a mean and a variance, its values are drawn from them, and pooling keeps one in four. The kernels'
gradients need nothing but those, and both read the same pixels: on a CPU that halves their time.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models.lanes.convolution import correlate, image_gradient, kernel_gradient, sum_to_shape
from jaxzoo.models.lanes.pooling import pool_by_winner, pool_with_winner, unpool, whole_windows
from jaxzoo.models.networks import SMALLEST_VARIANCE

FEWEST_WINDOWS = 4  # in one fused expression on a CPU, of four pixels each; measured with 2 to 15


@jax.custom_vjp
def convolve_sample_pool(
    images_BHWCM: jax.Array,
    kernel_KKCOM: jax.Array,
    spread_KKCOM: jax.Array,
    spread_OM: jax.Array,
    noise_BHWOM: jax.Array,
) -> jax.Array:
    """`max_pool(sample(mean, variance, noise))` without the bias of the mean; the noise has no gradient.

    The mean is the convolution with the kernel, the variance that of the squares with `spread_KKCOM`, plus `spread_OM`.
    The noise has the shape of the convolution's values.
    """
    return _forward(images_BHWCM, kernel_KKCOM, spread_KKCOM, spread_OM, noise_BHWOM)[0]


def _forward(
    images_BHWCM: jax.Array,
    kernel_KKCOM: jax.Array,
    spread_KKCOM: jax.Array,
    spread_OM: jax.Array,
    noise_BHWOM: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The pooled values, and what the gradients need: of the slopes by the variance those of the winners."""
    pixels = _pooled_pixels(images_BHWCM, kernel_KKCOM.shape[0])
    mean = correlate(pixels, kernel_KKCOM)
    raised = correlate(pixels * pixels, spread_KKCOM) + (spread_OM + SMALLEST_VARIANCE)
    slope = _slope(raised, whole_windows(noise_BHWOM))
    pooled, winner = pool_with_winner(mean + 2 * raised * slope)
    return pooled, (images_BHWCM, kernel_KKCOM, spread_KKCOM, winner, pool_by_winner(slope, winner))


def _slope(raised: jax.Array, noise: jax.Array) -> jax.Array:
    """The derivative of drawn values by their variance."""

    def at_once(raised: jax.Array, noise: jax.Array) -> jax.Array:
        return 0.5 * noise * lax.rsqrt(raised)

    # without a loop XLA fuses roots and noise into the maximum, the winner and its slope, and computes them thrice
    by_images = functools.partial(lax.map, lambda image: at_once(*image))
    return lax.platform_dependent(raised, noise, cpu=lambda raised, noise: by_images((raised, noise)), default=at_once)


def _backward(saved: tuple[jax.Array, ...], cotangent_BHWOM: jax.Array) -> tuple[jax.Array | None, ...]:
    images_BHWCM, kernel_KKCOM, spread_KKCOM, winner, slope = saved
    K = kernel_KKCOM.shape[0]
    pixels = _pooled_pixels(images_BHWCM, K)
    by_variance = cotangent_BHWOM * slope
    forms = {"cpu": kernel_gradients_by_winners, "default": _kernel_gradients_by_unpooling}
    forms = {name: functools.partial(form, K) for name, form in forms.items()}
    kernel, spread = lax.platform_dependent(pixels, winner, cotangent_BHWOM, by_variance, **forms)
    gradient = image_gradient(kernel_KKCOM, unpool(winner, cotangent_BHWOM))
    gradient += 2 * pixels * image_gradient(spread_KKCOM, unpool(winner, by_variance))
    gradient = sum_to_shape(gradient, pixels.shape)
    left_out = [(0, size - used) for size, used in zip(images_BHWCM.shape, pixels.shape, strict=True)]
    return jnp.pad(gradient, left_out), kernel, spread, by_variance.sum((0, 1, 2)), None


convolve_sample_pool.defvjp(_forward, _backward)


def _pooled_pixels(images_BHWCM: jax.Array, K: int) -> jax.Array:
    """The images without a last row or column whose values are in no pooling window."""
    height, width = ((size - K + 1) // 2 * 2 + K - 1 for size in images_BHWCM.shape[1:3])
    return images_BHWCM[:, :height, :width]


def _kernel_gradients_by_unpooling(
    K: int, images_BHWCM: jax.Array, winner: jax.Array, by_mean_BHWOM: jax.Array, by_variance_BHWOM: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The gradients by both kernels, each by itself: the obvious form."""
    kernel = kernel_gradient(images_BHWCM, unpool(winner, by_mean_BHWOM), K)
    return kernel, kernel_gradient(images_BHWCM * images_BHWCM, unpool(winner, by_variance_BHWOM), K)


def kernel_gradients_by_winners(
    K: int, images_BHWCM: jax.Array, winner: jax.Array, by_mean_BHWOM: jax.Array, by_variance_BHWOM: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """As `_kernel_gradients_by_unpooling`, of a window only the pixels that its winner was computed from.

    Loops over images and rows of windows, so that the totals stay in a core's cache, and unrolls the windows of a trip.
    A complex number carries both sums: XLA:CPU writes one array per loop, and two would read pixels and winners twice.
    """
    B, height, width, O, *models = by_mean_BHWOM.shape
    rows = next(n for n in range(1, height + 1) if height % n == 0 and (n * width >= FEWEST_WINDOWS or n == height))
    pixels_shape = (1, K, K, *images_BHWCM.shape[3:])
    # no index is negative, and handling negative ones would take operations in every trip of the loop
    cut = functools.partial(lax.dynamic_slice, allow_negative_indices=False)

    def terms(image: jax.Array, row: jax.Array | int, column: int) -> tuple[jax.Array, jax.Array]:
        rest = (0,) * (1 + len(models))

        def of_outputs(array: jax.Array) -> jax.Array:
            return cut(array, (image, row, column, *rest), (1, 1, 1, O, *models))[0, :, :, None]

        corners = [
            cut(images_BHWCM, (image, 2 * row + down, 2 * column + right, *rest), pixels_shape)[0, :, :, :, None]
            for down, right in itertools.product((0, 1), (0, 1))
        ]
        corner = of_outputs(winner)
        above = jnp.where(corner == 0, corners[0], corners[1])
        pixels = jnp.where(corner < 2, above, jnp.where(corner == 2, corners[2], corners[3]))
        return pixels * of_outputs(by_mean_BHWOM), pixels * pixels * of_outputs(by_variance_BHWOM)

    def add_windows(image: jax.Array, number: jax.Array, total_KKCOM: jax.Array) -> jax.Array:
        kernel, spread = lax.real(total_KKCOM), lax.imag(total_KKCOM)
        for more, column in itertools.product(range(rows), range(width)):
            by_mean, by_variance = terms(image, number * rows + more, column)
            kernel, spread = kernel + by_mean, spread + by_variance
        return lax.complex(kernel, spread)

    def add_image(image: jax.Array, total_KKCOM: jax.Array) -> jax.Array:
        return lax.fori_loop(0, height // rows, functools.partial(add_windows, image), total_KKCOM)

    zeros = jnp.zeros((K, K, images_BHWCM.shape[3], O, *models), by_mean_BHWOM.dtype)
    total_KKCOM = lax.fori_loop(0, B, add_image, lax.complex(zeros, zeros))
    return lax.real(total_KKCOM), lax.imag(total_KKCOM)
