"""A convolution of one model whose gradients are quick on a CPU inside a loop, too.

XLA:CPU has fast code for one order of axes. It brings the convolutions that automatic differentiation makes into that
order, but not inside a loop, and a training epoch is a loop: a step of a narrow ResNet took eight times as long in it.
Here both gradients are written in that order. The function is for training on a CPU alone, and has no forward mode.

Shapes: images B, H, W, C; kernel K, K, C, O.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

ORDER = ("NHWC", "HWIO", "NHWC")  # of images, kernel and result: the one that XLA:CPU has fast code for
Pads = tuple[tuple[int, int], tuple[int, int]]


def conv_general_dilated(
    images_BHWC: jax.Array,
    kernel_KKCO: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **unused: Any,
) -> jax.Array:
    """As `jax.lax.conv_general_dilated`, for what this project's layers ask of it through `flax.linen.Conv`.

    Strides and padding must be the same on all axes and sides; all other arguments are ignored.
    """
    return convolve(images_BHWC, kernel_KKCO, strides[0], padding[0][0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(images_BHWC: jax.Array, kernel_KKCO: jax.Array, stride: int, padding: int) -> jax.Array:
    """The cross-correlation with equal strides, and `padding` zeros on all sides."""
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
    # the extent of the cotangent when it is spread by the strides, and how far that passes the end of the images
    extents = [(size - 1) * stride + 1 for size in cotangent_BHWO.shape[1:3]]
    ends = [extent - size - padding for extent, size in zip(extents, images_BHWC.shape[1:3], strict=True)]
    # by images: the spread cotangent correlated with the turned kernel
    turned_KKOC = jnp.transpose(kernel_KKCO[::-1, ::-1], (0, 1, 3, 2))
    pads: Any = [(K - 1 - padding, -end) for end in ends]
    by_images = lax.conv_general_dilated(
        cotangent_BHWO, turned_KKOC, (1, 1), pads, lhs_dilation=(stride, stride), dimension_numbers=ORDER
    )
    # by kernel: the images correlated with the spread cotangent, where examples take the role of input channels
    images_CHWB = jnp.transpose(images_BHWC, (3, 1, 2, 0))
    cotangent_HWBO = jnp.transpose(cotangent_BHWO, (1, 2, 0, 3))
    pads = [(padding, K - 1 + end) for end in ends]
    by_kernel_CKKO = lax.conv_general_dilated(
        images_CHWB, cotangent_HWBO, (1, 1), pads, rhs_dilation=(stride, stride), dimension_numbers=ORDER
    )
    return by_images, jnp.transpose(by_kernel_CKKO, (1, 2, 0, 3))


convolve.defvjp(_forward, _backward)
