"""Max pooling of a population, the model axis last."""

import jax
import jax.numpy as jnp
from jax import lax


def max_pool(values_BHWCM: jax.Array) -> jax.Array:
    """The maximum of each 2 x 2 window; a last odd row or column is left out.

    The gradient goes to the first maximum of a window in reading order, as PyTorch's and XLA's do.
    """
    return _pool(whole_windows(values_BHWCM))


def whole_windows(values_BHWCM: jax.Array) -> jax.Array:
    """The values without a last odd row or column."""
    return values_BHWCM[:, : values_BHWCM.shape[1] // 2 * 2, : values_BHWCM.shape[2] // 2 * 2]


@jax.custom_vjp
def _pool(values_BHWCM: jax.Array) -> jax.Array:
    return pool_with_winner(values_BHWCM)[0]


def pool_with_winner(values_BHWCM: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window, and the winner: which corner of the window it was, 0..3 in reading order, one byte.

    The numbers of rows and columns are even. With the winners kept for the gradient, the values may leave the cache.
    """
    first, second, third, fourth = _corners(values_BHWCM)
    top, bottom = _larger(first, second), _larger(third, fourth)
    # >= and not >: among equals the first one wins
    winner = jnp.where(top >= bottom, jnp.where(first >= second, 0, 1), jnp.where(third >= fourth, 2, 3))
    return _larger(top, bottom), winner.astype(jnp.int8)


def pool_by_winner(values_BHWCM: jax.Array, winner: jax.Array) -> jax.Array:
    """The value at each window's winner."""
    first, second, third, fourth = _corners(values_BHWCM)
    return jnp.where(winner < 2, jnp.where(winner == 0, first, second), jnp.where(winner == 2, third, fourth))


def unpool(winner: jax.Array, cotangent: jax.Array) -> jax.Array:
    """Puts each window's cotangent at its winner and zero elsewhere, in the form that suits the device."""
    return lax.platform_dependent(winner, cotangent, cpu=_unpool_by_place, default=unpool_by_stacking)


def _unpool_by_place(winner: jax.Array, cotangent: jax.Array) -> jax.Array:
    """Compares every position of the result with its window's winner."""
    B, height, width, *outputs = cotangent.shape
    corner = jnp.arange(4, dtype=winner.dtype).reshape(2, 1, 2, *(1,) * len(outputs))
    gradient = jnp.where(winner[:, :, None, :, None] == corner, cotangent[:, :, None, :, None], 0.0)
    return gradient.reshape(B, 2 * height, 2 * width, *outputs)


def unpool_by_stacking(winner: jax.Array, cotangent: jax.Array) -> jax.Array:
    """As `_unpool_by_place`, put together from four parts, one per corner of the windows."""
    B, height, width, *outputs = cotangent.shape
    # for a TPU the compiler estimates 1,200 cycles a sample less for CNN-s than by comparing positions
    parts = [jnp.where(winner == corner, cotangent, 0.0) for corner in range(4)]
    rows = [jnp.stack(parts[:2], axis=3), jnp.stack(parts[2:], axis=3)]
    return jnp.stack(rows, axis=2).reshape(B, 2 * height, 2 * width, *outputs)


_pool.defvjp(pool_with_winner, lambda winner, cotangent: (unpool(winner, cotangent),))


def _corners(values_BHWCM: jax.Array) -> list[jax.Array]:
    """The four corners of every window, each as an array of its own, in reading order."""
    return [values_BHWCM[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]


def _larger(left: jax.Array, right: jax.Array) -> jax.Array:
    """As `jnp.maximum`, not-a-number wins. Unlike it, of two zeros with different signs `right` wins."""
    # the order of signed zeros, which jnp.maximum keeps, costs XLA:CPU half the rate
    return jnp.where((left > right) | jnp.isnan(left), left, right)
