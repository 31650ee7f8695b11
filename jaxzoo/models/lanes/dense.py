"""Linear layer of a population, the model axis last."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models.lanes.convolution import sum_to_shape

MOST_TERMS = 16  # in one fused expression on a CPU


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
    kernel_gradient = _sum_of_products(values_BIM[:, :, None], cotangent_BOM[:, None], axis=(0, 0))
    return sum_to_shape(values_gradient, values_BIM.shape), kernel_gradient


multiply.defvjp(_multiply_forward, _multiply_backward)


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
