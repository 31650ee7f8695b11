"""Convolution of drawn values and max pooling in one, for populations whose model axis is folded: see `tiled`.

What `sampled_pooling` computes, by operations that a TPU's compiler estimates at few cycles. The mean and the variance
read the same slices of the images, and so do the gradients by the two kernels.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models.lanes.tiled import by_rows, corners, first_best, in_pairs, windows
from jaxzoo.models.lanes.tiled_gradients import image_gradient, kernel_gradients
from jaxzoo.models.networks import SMALLEST_VARIANCE


@jax.custom_vjp
def convolve_sample_pool(
    images_BHWCM: jax.Array,
    kernel_KKCOM: jax.Array,
    spread_KKCOM: jax.Array,
    spread_OM: jax.Array,
    noise_BHWOM: jax.Array,
) -> jax.Array:
    """As `sampled_pooling.convolve_sample_pool`."""
    return _forward(images_BHWCM, kernel_KKCOM, spread_KKCOM, spread_OM, noise_BHWOM)[0]


def _forward(
    images_BHWCM: jax.Array,
    kernel_KKCOM: jax.Array,
    spread_KKCOM: jax.Array,
    spread_OM: jax.Array,
    noise_BHWOM: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The pooled values, and what the gradients need: of the slopes by the variance those of the winners."""
    height, width = windows(images_BHWCM, kernel_KKCOM)
    pairs = in_pairs(images_BHWCM, kernel_KKCOM)
    noise = noise_BHWOM[:, : 2 * height, : 2 * width]
    noise = noise.reshape(len(noise), height, 2, width, 2, *noise.shape[3:])

    def block(first: jax.Array, rows: int) -> tuple[jax.Array, ...]:
        means, variances = corners(pairs, (kernel_KKCOM, spread_KKCOM), first, rows, width)
        own = lax.dynamic_slice_in_dim(noise, first, rows, axis=1)
        slopes = []
        for number, variance in enumerate(variances):
            raised = variance + (spread_OM + SMALLEST_VARIANCE)
            slopes.append(0.5 * own[:, :, number // 2, :, number % 2] * lax.rsqrt(raised))
            means[number] += 2 * raised * slopes[number]
        best, winner = first_best(means)
        above, below = (jnp.where(winner == left + 1, slopes[left + 1], slopes[left]) for left in (0, 2))
        return best, winner, jnp.where(winner >= 2, below, above)

    pooled, winner, slope = by_rows(block, 3, images_BHWCM, kernel_KKCOM)
    return pooled, (images_BHWCM, kernel_KKCOM, spread_KKCOM, winner, slope)


def _backward(saved: tuple[jax.Array, ...], cotangent_BHWOM: jax.Array) -> tuple[jax.Array | None, ...]:
    images_BHWCM, kernel_KKCOM, spread_KKCOM, winner, slope = saved
    by_variance = cotangent_BHWOM * slope
    (kernel, _), (spread, spread_bias) = kernel_gradients(
        images_BHWCM, winner, (cotangent_BHWOM, by_variance), len(kernel_KKCOM)
    )
    by_images = image_gradient(images_BHWCM.shape, winner, cotangent_BHWOM, kernel_KKCOM)
    by_squares = image_gradient(images_BHWCM.shape, winner, by_variance, spread_KKCOM)
    return by_images + 2 * images_BHWCM * by_squares, kernel, spread, spread_bias, None


convolve_sample_pool.defvjp(_forward, _backward)
