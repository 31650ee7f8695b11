"""Linear layer of a population, the model axis last."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def multiply(values_BIM: jax.Array, kernel_IOM: jax.Array) -> jax.Array:
    """Each model's values times its own kernel, (B, O, M)."""
    return _sum_of_products(values_BIM[:, :, None], kernel_IOM, axis=(1, 0))


def _multiply_forward(values_BIM: jax.Array, kernel_IOM: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return multiply(values_BIM, kernel_IOM), (values_BIM, kernel_IOM)


def _multiply_backward(saved: tuple[jax.Array, jax.Array], cotangent_BOM: jax.Array) -> tuple[jax.Array, jax.Array]:
    values_BIM, kernel_IOM = saved
    values_gradient = _sum_of_products(cotangent_BOM[:, None], kernel_IOM, axis=(2, 1))
    kernel_gradient = _sum_of_products(values_BIM[:, :, None], cotangent_BOM[:, None], axis=(0, 0))
    return values_gradient, kernel_gradient


multiply.defvjp(_multiply_forward, _multiply_backward)


def _sum_of_products(left: jax.Array, right: jax.Array, axis: tuple[int, int]) -> jax.Array:
    """Sum over one axis of each, unrolled: one fused expression whose innermost loop runs over models."""
    total: jax.Array | float = 0.0
    for place in range(right.shape[axis[1]]):
        total += jnp.take(left, place, axis[0]) * jnp.take(right, place, axis[1])
    return jnp.asarray(total)
