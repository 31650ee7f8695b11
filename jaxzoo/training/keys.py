"""Random keys of members: folded by role and time, never split by position, so that company changes nobody's draws."""

from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np


class Role(IntEnum):
    """What a member draws random numbers for."""

    INITIALIZATION = 0
    SHUFFLE = 1
    DROPOUT = 2
    AUGMENTATION = 3
    SAMPLING = 4
    TWIN = 5  # the root of all that its sparse twin draws


def member_keys(seeds: np.ndarray | jax.Array) -> jax.Array:
    """The root key of each member, (M,) keys, from its seed, (M,) integers below 2**32."""
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


def fold(key: jax.Array, role: Role, *times: jax.Array | int) -> jax.Array:
    """The key for one role at one time (an epoch, or a step and a layer) of the member with that root key."""
    key = jax.random.fold_in(key, role)
    for time in times:
        key = jax.random.fold_in(key, time)
    return key
