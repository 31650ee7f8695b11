"""Random keys of members.

They are folded by role and time and never split by position, so that no member's draws depend on who trains beside it.
"""

from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np


class Role(IntEnum):
    """The purposes for which a member draws random numbers."""

    # the values go into every draw: another value makes other zoos
    INITIALIZATION = 0
    SHUFFLE = 1
    DROPOUT = 2
    AUGMENTATION = 3
    SAMPLING = 4
    TWIN = 5  # the root of its sparse twin's keys
    SUBSET = 6  # these, of examples, are the same for a twin
    EXCLUDED = 7
    LABEL_NOISE = 8
    OTHER_LABEL = 9
    TRIGGER = 10


def member_keys(seeds: np.ndarray | jax.Array) -> jax.Array:
    """The members' root keys, (M,) keys, from their seeds, (M,) integers below 2**32."""
    seed_M = jnp.asarray(seeds, jnp.uint32)
    # the bits of `jax.random.key(seed)`, but whatever the process's default generator and offset of seeds
    return jax.random.wrap_key_data(jnp.stack([jnp.zeros_like(seed_M), seed_M], axis=-1), impl="threefry2x32")


def fold(key: jax.Array, role: Role, *times: jax.Array | int) -> jax.Array:
    """The key for one role at one time (an epoch, or a step and a layer) of the member with the root key `key`."""
    key = jax.random.fold_in(key, role)
    for time in times:
        key = jax.random.fold_in(key, time)
    return key
