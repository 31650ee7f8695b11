"""Images of a batch in the place of models, where those are too few for the registers of a TPU."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxzoo.devices import TILE


def fold_batch(values: jax.Array) -> jax.Array:
    """Values (B, ..., 1, M) as (B / 8, ..., 8, M); values of zeros fill up the batch."""
    B, *own, _, M = values.shape
    blocks = -(-B // TILE[0])
    padded = jnp.pad(values, ((0, blocks * TILE[0] - B), *((0, 0),) * (values.ndim - 1)))
    return jnp.moveaxis(padded.reshape(blocks, TILE[0], *own, M), 1, -2)


def unfold_batch(folded: jax.Array, B: int) -> jax.Array:
    """Undoes `fold_batch` for B images."""
    values = jnp.moveaxis(folded, -2, 1)
    return values.reshape(-1, *values.shape[2:-1], 1, values.shape[-1])[:B]


def repeat_for_images(params: Any) -> Any:
    """Parameters (..., 1, M) for each image of a register, (..., 8, M). Their gradient is the sum over those images."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*leaf.shape[:-2], TILE[0], leaf.shape[-1])), params)
