"""Convolution of a population: stride 1, no padding, no bias, the model axis last; and what all convolutions share.

The convolution and its gradients are sums over the kernel's taps of elementwise multiply-adds whose innermost loop runs
over models. On a CPU the loops are cut so that one fused expression has some 12 to 30 terms (measured with AVX-512).
With fewer terms the compiler unrolls the loop over models instead of vectorizing it, and reaches 6 GFLOP/s a core
instead of 100. More terms do not fit the registers.
"""

import functools
import itertools
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
    return correlate(images_BHWCM, kernel_KKCOM)


def _convolve_forward(
    images_BHWCM: jax.Array, kernel_KKCOM: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(images_BHWCM, kernel_KKCOM), (images_BHWCM, kernel_KKCOM)


def _convolve_backward(saved: tuple[jax.Array, jax.Array], cotangent_BHWOM: jax.Array) -> tuple[jax.Array, jax.Array]:
    images_BHWCM, kernel_KKCOM = saved
    kernel = kernel_gradient(images_BHWCM, cotangent_BHWOM, kernel_KKCOM.shape[0])
    return sum_to_shape(image_gradient(kernel_KKCOM, cotangent_BHWOM), images_BHWCM.shape), kernel


convolve.defvjp(_convolve_forward, _convolve_backward)


def correlate(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array) -> jax.Array:
    """The sum over taps and input channels, in the form that suits the device it is lowered for."""
    # on a TPU the CPU's form, here and in the kernel gradient, takes twice the cycles by the compiler's estimate
    forms = {"cpu": correlate_by_channels, "default": correlate_by_rows}
    return lax.platform_dependent(images_BHWCM, kernel_KKCOM, **forms)


def correlate_by_rows(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, stride: int = 1) -> jax.Array:
    """Loops over the kernel's rows and unrolls a row's terms; images of one channel take a single expression."""
    rows, columns, C, *outputs = kernel_KKCOM.shape
    height, width = window_counts(images_BHWCM.shape[1:3], (rows, columns), stride)
    if C == 1:
        return add_in_chains(terms_of(images_BHWCM, kernel_KKCOM, stride))

    def add_row(row: jax.Array, total_BHWOM: jax.Array) -> jax.Array:
        images = lax.dynamic_slice_in_dim(images_BHWCM, row, (height - 1) * stride + 1, axis=1)
        return add_in_chains([total_BHWOM, *terms_of(images, lax.dynamic_slice_in_dim(kernel_KKCOM, row, 1), stride)])

    zeros = jnp.zeros((images_BHWCM.shape[0], height, width, *outputs), kernel_KKCOM.dtype)
    return lax.fori_loop(0, rows, add_row, zeros)


def correlate_by_channels(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, stride: int = 1) -> jax.Array:
    """Loops over groups of input channels, or over images if one group has all channels, and unrolls the terms inside.

    Without a loop XLA fuses a convolution into the pooling that follows and computes it anew for each of its inputs.
    """
    rows, columns, C, *outputs = kernel_KKCOM.shape
    height, width = window_counts(images_BHWCM.shape[1:3], (rows, columns), stride)
    # the smallest group of channels that gives an expression enough terms
    enough = -(-FEWEST_TERMS // (rows * columns))
    group = next(size for size in range(1, C + 1) if C % size == 0 and (size >= enough or size == C))
    if group == C:
        return lax.map(lambda image: add_in_chains(terms_of(image[None], kernel_KKCOM, stride))[0], images_BHWCM)

    def add_group(number: jax.Array, total_BHWOM: jax.Array) -> jax.Array:
        images = lax.dynamic_slice_in_dim(images_BHWCM, number * group, group, axis=3)
        kernel = lax.dynamic_slice_in_dim(kernel_KKCOM, number * group, group, axis=2)
        return add_in_chains([total_BHWOM, *terms_of(images, kernel, stride)])

    zeros = jnp.zeros((images_BHWCM.shape[0], height, width, *outputs), kernel_KKCOM.dtype)
    return lax.fori_loop(0, C // group, add_group, zeros)


def terms_of(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, stride: int = 1) -> list[jax.Array]:
    """The rows * columns * C terms whose sum is the correlation."""
    rows, columns, C = kernel_KKCOM.shape[:3]
    counts = window_counts(images_BHWCM.shape[1:3], (rows, columns), stride)
    return [
        images_BHWCM[(slice(None), *every(stride, (row, column), counts), channel, None)]
        * kernel_KKCOM[row, column, channel]
        for channel in range(C)
        for row in range(rows)
        for column in range(columns)
    ]


def window_counts(sizes: Sequence[int], window: Sequence[int], stride: int) -> tuple[int, int]:
    """How many windows fit into so many rows and columns."""
    rows, columns = ((size - each) // stride + 1 for size, each in zip(sizes, window, strict=True))
    return rows, columns


def every(stride: int, first: Sequence[int], counts: Sequence[int]) -> tuple[slice, slice]:
    """The rows and columns that begin with the first ones and are `stride` apart, so many of them."""
    rows, columns = (
        slice(start, start + (count - 1) * stride + 1, stride) for start, count in zip(first, counts, strict=True)
    )
    return rows, columns


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


def image_gradient(kernel_KKCOM: jax.Array, cotangent_BHWOM: jax.Array) -> jax.Array:
    """The padded cotangent, correlated with the kernel turned by half a turn, inputs and outputs exchanged."""
    K, _, _, _, *models = kernel_KKCOM.shape
    border = ((0, 0), (K - 1, K - 1), (K - 1, K - 1), *((0, 0),) * (1 + len(models)))
    padded = jnp.pad(cotangent_BHWOM, border)
    return correlate(padded, kernel_KKCOM[::-1, ::-1].swapaxes(2, 3))


def kernel_gradient(images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array, K: int) -> jax.Array:
    """The gradient by kernel, in the form that suits the device it is lowered for."""
    _, height, width, *_ = cotangent_BHWOM.shape
    rows = next(n for n in range(1, height + 1) if height % n == 0 and (n * width >= FEWEST_TERMS or n == height))
    by_blocks = functools.partial(kernel_gradient_by_blocks, K, block=(1, rows, width))
    by_taps = functools.partial(kernel_gradient_by_taps, K)
    return lax.platform_dependent(images_BHWCM, cotangent_BHWOM, cpu=by_blocks, default=by_taps)


def kernel_gradient_by_taps(K: int, images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array, stride: int = 1) -> jax.Array:
    """A multiply-reduce per tap. A TPU prefers few, large fusions to a loop that carries a total."""
    counts = cotangent_BHWOM.shape[1:3]
    taps = [
        jnp.sum(
            images_BHWCM[(slice(None), *every(stride, (row, column), counts), slice(None), None)]
            * cotangent_BHWOM[:, :, :, None],
            axis=(0, 1, 2),
        )
        for row in range(K)
        for column in range(K)
    ]
    return jnp.stack(taps).reshape(K, K, *taps[0].shape)


def kernel_gradient_by_blocks(
    K: int, images_BHWCM: jax.Array, cotangent_BHWOM: jax.Array, stride: int = 1, *, block: tuple[int, int, int]
) -> jax.Array:
    """Loops over blocks of images, rows and columns and unrolls a block's positions.

    So the total stays in a core's cache. `block` says how many images, rows and columns; they divide those there are.
    Each term cuts its own window. XLA fuses such a slice into the sum, and would copy a slice that serves many terms.
    """
    *_, O = cotangent_BHWOM.shape[:4]
    models = cotangent_BHWOM.shape[4:]
    rest = (0,) * (1 + len(models))
    window = (1, K, K, *images_BHWCM.shape[3:])  # its model axis has length 1 where models share the images
    # no index is negative, and handling negative ones would take operations in every trip of the loop
    cut = functools.partial(lax.dynamic_slice, allow_negative_indices=False)

    def place(numbers: tuple[jax.Array, ...], more: tuple[int, ...], step: int) -> tuple[jax.Array | int, ...]:
        image = numbers[0] if block[0] == 1 else numbers[0] * block[0] + more[0]
        row = numbers[1] * block[1] + more[1]
        # there is no third number where a block has all columns
        column = numbers[2] * block[2] + more[2] if len(numbers) == 3 else more[2]
        return (image, row, column) if step == 1 else (image, step * row, step * column)

    def term(numbers: tuple[jax.Array, ...], more: tuple[int, ...]) -> jax.Array:
        pixels = cut(images_BHWCM, (*place(numbers, more, stride), *rest), window)[0, :, :, :, None]
        return pixels * cut(cotangent_BHWOM, (*place(numbers, more, 1), *rest), (1, 1, 1, O, *models))[0, :, :, None]

    def add_block(numbers: tuple[jax.Array, ...], kernel_KKCOM: jax.Array) -> jax.Array:
        terms = [term(numbers, more) for more in itertools.product(*(range(size) for size in block))]
        return add_in_chains([kernel_KKCOM, *terms])

    # loops inside of loops: a single one would divide its counter for image and block
    trips = [count // size for count, size in zip(cotangent_BHWOM.shape[1:3], block[1:], strict=True)]
    trips = [cotangent_BHWOM.shape[0] // block[0], *(trips if trips[1] > 1 else trips[:1])]

    def loop(numbers: tuple[jax.Array, ...], kernel_KKCOM: jax.Array) -> jax.Array:
        if len(numbers) == len(trips):
            return add_block(numbers, kernel_KKCOM)
        return lax.fori_loop(
            0, trips[len(numbers)], lambda number, total: loop((*numbers, number), total), kernel_KKCOM
        )

    return loop((), jnp.zeros((K, K, images_BHWCM.shape[3], O, *models), cotangent_BHWOM.dtype))
