"""Max pooling of a population, the model axis last."""

import jax
import jax.numpy as jnp
from jax import lax


def max_pool(values_BHWCM: jax.Array) -> jax.Array:
    """Maximum of 2 x 2 windows; a last odd row or column is left out.

    The gradient goes to the first maximum of a window in reading order, as PyTorch's and XLA's do.
    """
    return _pool(whole_windows(values_BHWCM))


def whole_windows(values_BHWCM: jax.Array) -> jax.Array:
    """Without a last odd row or column."""
    return values_BHWCM[:, : values_BHWCM.shape[1] // 2 * 2, : values_BHWCM.shape[2] // 2 * 2]


@jax.custom_vjp
def _pool(values_BHWCM: jax.Array) -> jax.Array:
    return pool_with_winner(values_BHWCM)[0]


def pool_with_winner(values_BHWCM: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The maxima of windows of an even number of rows and columns, and which place of its window each had: a byte.

    With the winners kept, the values themselves may leave the cache.
    """
    first, second, third, fourth = _corners(values_BHWCM)
    top, bottom = _larger(first, second), _larger(third, fourth)
    winner = jnp.where(top >= bottom, jnp.where(first >= second, 0, 1), jnp.where(third >= fourth, 2, 3))
    return _larger(top, bottom), winner.astype(jnp.int8)


def pool_by_winner(values_BHWCM: jax.Array, winner: jax.Array) -> jax.Array:
    """The values at the winners of their windows."""
    first, second, third, fourth = _corners(values_BHWCM)
    return jnp.where(winner < 2, jnp.where(winner == 0, first, second), jnp.where(winner == 2, third, fourth))


def unpool(winner: jax.Array, cotangent: jax.Array) -> jax.Array:
    """Each window's cotangent at its winner, zero elsewhere; in the form that suits the device it is lowered for."""
    return lax.platform_dependent(winner, cotangent, cpu=_unpool_by_place, default=unpool_by_stacking)


def _unpool_by_place(winner: jax.Array, cotangent: jax.Array) -> jax.Array:
    """Every place of the result asks whether it won."""
    B, height, width, *outputs = cotangent.shape
    place = jnp.arange(4, dtype=winner.dtype).reshape(2, 1, 2, *(1,) * len(outputs))
    gradient = jnp.where(winner[:, :, None, :, None] == place, cotangent[:, :, None, :, None], 0.0)
    return gradient.reshape(B, 2 * height, 2 * width, *outputs)


def unpool_by_stacking(winner: jax.Array, cotangent: jax.Array) -> jax.Array:
    """The same, from four parts: a TPU's estimate is 1,200 cycles a sample lower for CNN-s."""
    B, height, width, *outputs = cotangent.shape
    parts = [jnp.where(winner == place, cotangent, 0.0) for place in range(4)]
    rows = [jnp.stack(parts[:2], axis=3), jnp.stack(parts[2:], axis=3)]
    return jnp.stack(rows, axis=2).reshape(B, 2 * height, 2 * width, *outputs)


_pool.defvjp(pool_with_winner, lambda winner, cotangent: (unpool(winner, cotangent),))


def _corners(values_BHWCM: jax.Array) -> list[jax.Array]:
    """The four places of every window, in reading order."""
    return [values_BHWCM[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]


def _larger(left: jax.Array, right: jax.Array) -> jax.Array:
    """`jnp.maximum`, not-a-number winning, but for the order of zeros; that order costs XLA:CPU half the rate."""
    return jnp.where((left > right) | jnp.isnan(left), left, right)
