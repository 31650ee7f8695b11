"""Linear layer of a population, the model axis last."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models.lanes.convolution import add_in_chains, sum_to_shape

MOST_TERMS = 16  # in one fused expression on a CPU
LARGE = 2**15  # weights of a kernel whose gradient is computed in parts that stay in a core's cache
MOST_INPUTS = 16  # of such a part
FEWEST_IMAGES = 16  # of one fused expression in it; measured: with 12 the compiler unrolls it, at a tenth of the rate
MOST_IMAGES = 24


@jax.custom_vjp
def multiply(values_BIM: jax.Array, kernel_IOM: jax.Array) -> jax.Array:
    """The product of each model's values and its own kernel, (B, O, M).

    Values with a model axis of 1 are shared by all models; their gradient is then the sum over the models.
    """
    return _sum_of_products(values_BIM[:, :, None], kernel_IOM, axis=(1, 0))


def _multiply_forward(values_BIM: jax.Array, kernel_IOM: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return multiply(values_BIM, kernel_IOM), (values_BIM, kernel_IOM)


def _multiply_backward(saved: tuple[jax.Array, jax.Array], cotangent_BOM: jax.Array) -> tuple[jax.Array, jax.Array]:
    values_BIM, kernel_IOM = saved
    values_gradient = _sum_of_products(cotangent_BOM[:, None], kernel_IOM, axis=(2, 1))
    return sum_to_shape(values_gradient, values_BIM.shape), _kernel_gradient(values_BIM, cotangent_BOM)


multiply.defvjp(_multiply_forward, _multiply_backward)


def _kernel_gradient(values_BIM: jax.Array, cotangent_BOM: jax.Array) -> jax.Array:
    """The gradient by kernel, (I, O, M)."""
    if values_BIM.shape[1] * cotangent_BOM.shape[1] < LARGE:
        return _sum_of_products(values_BIM[:, :, None], cotangent_BOM[:, None], axis=(0, 0))
    at_once = functools.partial(_unrolled_sum, axis=(0, 0))
    return lax.platform_dependent(
        values_BIM,
        cotangent_BOM,
        cpu=_kernel_gradient_by_inputs,
        default=lambda values, cotangent: at_once(values[:, :, None], cotangent[:, None]),
    )


def _kernel_gradient_by_inputs(values_BIM: jax.Array, cotangent_BOM: jax.Array) -> jax.Array:
    """Loops over blocks of inputs and, inside, of images: a total that would not fit a cache is written once."""
    B, I, *_ = values_BIM.shape
    blocks = -(-B // MOST_IMAGES)
    images = max(FEWEST_IMAGES, -(-B // blocks))
    inputs = max(size for size in range(1, MOST_INPUTS + 1) if I % size == 0)
    # images of zeros fill up the last block
    values_BIM, cotangent_BOM = (
        jnp.pad(array, ((0, blocks * images - B), *((0, 0),) * (array.ndim - 1)))
        for array in (values_BIM, cotangent_BOM)
    )

    def one(number: jax.Array) -> jax.Array:
        values = lax.dynamic_slice_in_dim(values_BIM, number * inputs, inputs, axis=1)

        def add_block(block: jax.Array, total_IOM: jax.Array) -> jax.Array:
            left, right = (lax.dynamic_slice_in_dim(array, block * images, images) for array in (values, cotangent_BOM))
            return total_IOM + add_in_chains([left[image, :, None] * right[image] for image in range(images)])

        zeros = jnp.zeros((inputs, *cotangent_BOM.shape[1:]), cotangent_BOM.dtype)
        return add_block(jnp.int32(0), zeros) if blocks == 1 else lax.fori_loop(0, blocks, add_block, zeros)

    gradient = lax.map(one, jnp.arange(I // inputs))
    return gradient.reshape(I, *gradient.shape[2:])


def _sum_of_products(left: jax.Array, right: jax.Array, axis: tuple[int, int]) -> jax.Array:
    """The products of `left` and `right`, summed over the given axis of each, in the form that suits the device."""
    at_once = functools.partial(_unrolled_sum, axis=axis)
    return lax.platform_dependent(left, right, cpu=functools.partial(_looped_sum, axis=axis), default=at_once)


def _unrolled_sum(left: jax.Array, right: jax.Array, axis: tuple[int, int]) -> jax.Array:
    """One fused expression whose innermost loop runs over models."""
    count = right.shape[axis[1]]
    terms = [jnp.take(left, index, axis[0]) * jnp.take(right, index, axis[1]) for index in range(count)]
    return sum(terms[1:], start=terms[0])


def _looped_sum(left: jax.Array, right: jax.Array, axis: tuple[int, int]) -> jax.Array:
    """As `_unrolled_sum`, in a loop of two trips or more.

    Without a loop XLA fuses a layer that is cheap to compute into each of the sums that read it, and computes it anew
    for every term. With relu, two thirds of a training step went into that.
    """
    count = right.shape[axis[1]]
    # the largest divisor that leaves two trips or more: XLA dissolves a loop of one trip
    size = max(size for size in range(1, MOST_TERMS + 1) if count % size == 0 and (size < count or count == 1))

    def add_block(number: jax.Array, total: jax.Array) -> jax.Array:
        start = number * size
        left_block = lax.dynamic_slice_in_dim(left, start, size, axis[0])
        return total + _unrolled_sum(left_block, lax.dynamic_slice_in_dim(right, start, size, axis[1]), axis)

    result = jax.eval_shape(functools.partial(_unrolled_sum, axis=axis), left, right)
    return lax.fori_loop(0, count // size, add_block, jnp.zeros(result.shape, result.dtype))
