"""A convolution of one model whose gradients are quick on a CPU inside a loop, too.

XLA:CPU has fast code for one order of axes. It brings the convolutions that automatic differentiation makes into that
order, but not inside a loop, and a training epoch is a loop: a step of a narrow ResNet took eight times as long in it.
Here both gradients are written in that order. The function is for training on a CPU alone, and has no forward mode.

Convolutions of many channels are matrix products: Winograd's where a kernel is 3 x 3 and goes by single steps
(`winograd`), and else, for the gradient by the kernel, one product for each of its entries. For the layers of a
ResNet-18 these were measured to be the faster ways.

Shapes: images B, H, W, C; kernel K, K, C, O; P positions of a part of a batch.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models import winograd
from jaxzoo.models.batch_parts import contract, pad, strided, sum_parts

ORDER = ("NHWC", "HWIO", "NHWC")  # of images, kernel and result: the one that XLA:CPU has fast code for
Pads = tuple[tuple[int, int], tuple[int, int]]
WIDE = 64  # channels of images and result: with 32, products were as fast as XLA's convolutions, with fewer slower


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
    if _by_winograd(images_BHWC, kernel_KKCO, stride, padding):
        return winograd.convolve(images_BHWC, kernel_KKCO, padding)
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
    if _by_winograd(images_BHWC, kernel_KKCO, stride, padding):
        by_kernel = winograd.by_kernel(images_BHWC, cotangent_BHWO, padding)
        return winograd.by_images(cotangent_BHWO, kernel_KKCO, padding), by_kernel
    K = len(kernel_KKCO)
    by_kernel = (
        _by_kernel_entry(images_BHWC, cotangent_BHWO, K, stride, padding)
        if _multiplies(kernel_KKCO)
        else _by_kernel(images_BHWC, cotangent_BHWO, K, stride, padding)
    )
    return _by_images(images_BHWC, kernel_KKCO, cotangent_BHWO, stride, padding), by_kernel


def _by_winograd(images_BHWC: jax.Array, kernel_KKCO: jax.Array, stride: int, padding: int) -> bool:
    even = all(size % 2 == 0 for size in images_BHWC.shape[1:3])
    return len(kernel_KKCO) == 3 and stride == 1 and padding < 2 and even and _multiplies(kernel_KKCO)


def _multiplies(kernel_KKCO: jax.Array) -> bool:
    """Whether matrix products are the faster way, and as exact."""
    exact = kernel_KKCO.dtype != jnp.bfloat16  # whose eight bits transforms, and sums over parts of a batch, would lose
    return exact and (len(kernel_KKCO) == 1 or min(kernel_KKCO.shape[2:]) >= WIDE)


def _ends(images_BHWC: jax.Array, cotangent_BHWO: jax.Array, stride: int, padding: int) -> list[int]:
    """How far the cotangent, when it is spread by the strides, passes the end of the images, on both axes."""
    extents = [(size - 1) * stride + 1 for size in cotangent_BHWO.shape[1:3]]
    return [extent - size - padding for extent, size in zip(extents, images_BHWC.shape[1:3], strict=True)]


def _by_images(
    images_BHWC: jax.Array, kernel_KKCO: jax.Array, cotangent_BHWO: jax.Array, stride: int, padding: int
) -> jax.Array:
    """The spread cotangent correlated with the turned kernel."""
    K = len(kernel_KKCO)
    turned_KKOC = jnp.transpose(kernel_KKCO[::-1, ::-1], (0, 1, 3, 2))
    pads: Any = [(K - 1 - padding, -end) for end in _ends(images_BHWC, cotangent_BHWO, stride, padding)]
    return lax.conv_general_dilated(
        cotangent_BHWO, turned_KKOC, (1, 1), pads, lhs_dilation=(stride, stride), dimension_numbers=ORDER
    )


def _by_kernel(images_BHWC: jax.Array, cotangent_BHWO: jax.Array, K: int, stride: int, padding: int) -> jax.Array:
    """The images correlated with the spread cotangent, where examples take the role of input channels."""
    images_CHWB = jnp.transpose(images_BHWC, (3, 1, 2, 0))
    cotangent_HWBO = jnp.transpose(cotangent_BHWO, (1, 2, 0, 3))
    pads = [(padding, K - 1 + end) for end in _ends(images_BHWC, cotangent_BHWO, stride, padding)]
    by_kernel_CKKO = lax.conv_general_dilated(
        images_CHWB, cotangent_HWBO, (1, 1), pads, rhs_dilation=(stride, stride), dimension_numbers=ORDER
    )
    return jnp.transpose(by_kernel_CKKO, (1, 2, 0, 3))


def _by_kernel_entry(images_BHWC: jax.Array, cotangent_BHWO: jax.Array, K: int, stride: int, padding: int) -> jax.Array:
    """For each entry of the kernel, the pixels that it meets times the cotangent, summed over images and positions."""
    counts = cotangent_BHWO.shape[1:3]

    def products(images_BHWC: jax.Array, cotangent_BHWO: jax.Array) -> list[jax.Array]:
        padded_BHWC, cotangent_PO = pad(images_BHWC, padding), cotangent_BHWO.reshape(-1, cotangent_BHWO.shape[-1])
        entries = itertools.product(range(K), repeat=2)
        return [contract(strided(padded_BHWC, entry, counts, stride), cotangent_PO, 0, 0) for entry in entries]

    entries = sum_parts(products, math.prod(counts), images_BHWC, cotangent_BHWO)
    return jnp.stack(entries).reshape(K, K, *entries[0].shape)


convolve.defvjp(_forward, _backward)
