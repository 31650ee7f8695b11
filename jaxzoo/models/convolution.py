"""A convolution of one model with gradients that XLA is quick at inside a loop, too.

XLA:CPU brings the convolutions that automatic differentiation makes into the order of axes that it has fast code for,
but not inside a loop, and a training epoch is one: a step of a narrow ResNet took eight times as long there. Here both
gradients are written in that order. For training on a CPU alone: there is no forward mode.

Shapes: images B, H, W, C; kernel K, K, C, O.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

ORDER = ("NHWC", "HWIO", "NHWC")
Pads = tuple[tuple[int, int], tuple[int, int]]


def conv_general_dilated(
    images_BHWC: jax.Array,
    kernel_KKCO: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **unused: Any,
) -> jax.Array:
    """As `jax.lax.conv_general_dilated`, for what this project's layers ask of it through `flax.linen.Conv`."""
    return convolve(images_BHWC, kernel_KKCO, strides[0], padding[0][0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(images_BHWC: jax.Array, kernel_KKCO: jax.Array, stride: int, padding: int) -> jax.Array:
    """Cross-correlation with square strides, and zeros on all sides."""
    pads: Pads = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(images_BHWC, kernel_KKCO, (stride, stride), pads, dimension_numbers=ORDER)


def _forward(
    images_BHWC: jax.Array, kernel_KKCO: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(images_BHWC, kernel_KKCO, stride, padding), (images_BHWC, kernel_KKCO)


def _backward(
    stride: int, padding: int, saved: tuple[jax.Array, jax.Array], cotangent_BHWO: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images_BHWC, kernel_KKCO = saved
    K = kernel_KKCO.shape[0]
    # the extent of the cotangent with its strides, and what is missing at the end to come to the shape wanted
    extents = [(size - 1) * stride + 1 for size in cotangent_BHWO.shape[1:3]]
    ends = [extent - size - padding for extent, size in zip(extents, images_BHWC.shape[1:3], strict=True)]
    turned_KKOC = jnp.transpose(kernel_KKCO[::-1, ::-1], (0, 1, 3, 2))
    pads: Any = [(K - 1 - padding, -end) for end in ends]
    by_images = lax.conv_general_dilated(
        cotangent_BHWO, turned_KKOC, (1, 1), pads, lhs_dilation=(stride, stride), dimension_numbers=ORDER
    )
    images_CHWB = jnp.transpose(images_BHWC, (3, 1, 2, 0))
    cotangent_HWBO = jnp.transpose(cotangent_BHWO, (1, 2, 0, 3))
    pads = [(padding, K - 1 + end) for end in ends]
    by_kernel_CKKO = lax.conv_general_dilated(
        images_CHWB, cotangent_HWBO, (1, 1), pads, rhs_dilation=(stride, stride), dimension_numbers=ORDER
    )
    return by_images, jnp.transpose(by_kernel_CKKO, (1, 2, 0, 3))


convolve.defvjp(_forward, _backward)
