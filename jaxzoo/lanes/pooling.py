"""Max pooling of a population, the model axis last."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def max_pool(values_BHWCM: jax.Array) -> jax.Array:
    """Maximum of 2 x 2 windows; a last odd row or column is left out.

    The gradient goes to the first maximum of a window in reading order, as PyTorch's and XLA's do.
    """
    first, *others = _corners(values_BHWCM)
    for corner in others:
        first = jnp.maximum(first, corner)
    return first


def _max_pool_forward(values_BHWCM: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    maximum = max_pool(values_BHWCM)
    return maximum, (values_BHWCM, maximum)


def _max_pool_backward(saved: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array]:
    values_BHWCM, maximum = saved
    open_ = jnp.ones(maximum.shape, bool)
    parts = []
    for corner in _corners(values_BHWCM):
        here = open_ & (corner == maximum)
        parts.append(jnp.where(here, cotangent, 0.0))
        open_ &= ~here
    B, height, width, C, M = maximum.shape
    rows = [jnp.stack(parts[:2], axis=3), jnp.stack(parts[2:], axis=3)]
    gradient = jnp.stack(rows, axis=2).reshape(B, 2 * height, 2 * width, C, M)
    odd_row, odd_column = values_BHWCM.shape[1] % 2, values_BHWCM.shape[2] % 2
    return (jnp.pad(gradient, ((0, 0), (0, odd_row), (0, odd_column), (0, 0), (0, 0))),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _corners(values_BHWCM: jax.Array) -> list[jax.Array]:
    """The four places of every window, in reading order."""
    height, width = values_BHWCM.shape[1] // 2 * 2, values_BHWCM.shape[2] // 2 * 2
    return [values_BHWCM[:, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
