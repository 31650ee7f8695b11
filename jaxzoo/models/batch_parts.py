"""What convolutions by matrix products are made of.

A batch is worked on in parts of a few images, so that what is made of them in between stays in a core's cache.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Result = TypeVar("Result")

POSITIONS = 1024  # of a result's images: fewer make matrices too flat to multiply fast, more leave the cache


def map_parts(function: Callable[[jax.Array], jax.Array], images_BHWC: jax.Array, positions: int) -> jax.Array:
    """What the function makes of images, part by part. `positions` are those of one image of the result."""
    batch = len(images_BHWC)
    at_once = _images_at_once(batch, positions)
    if at_once == batch:
        return function(images_BHWC)
    results = lax.map(function, _parts(images_BHWC, at_once))
    return results.reshape(batch, *results.shape[2:])


def sum_parts(function: Callable[..., Result], positions: int, *arrays_B: jax.Array) -> Result:
    """The sum over parts of what the function makes of them. `positions` are those of one image of the result."""
    batch = len(arrays_B[0])
    at_once = _images_at_once(batch, positions)
    if at_once == batch:
        return function(*arrays_B)
    parts = [_parts(array, at_once) for array in arrays_B]
    shapes = jax.eval_shape(function, *(part[0] for part in parts))
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def add(total: Result, own: list[jax.Array]) -> tuple[Result, None]:
        return jax.tree.map(jnp.add, total, function(*own)), None

    return lax.scan(add, nothing, parts)[0]


def pad(images_BHWC: jax.Array, padding: int) -> jax.Array:
    """The images with zeros on all sides."""
    return jnp.pad(images_BHWC, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def strided(images_BHWC: jax.Array, first: Sequence[int], counts: Sequence[int], stride: int) -> jax.Array:
    """So many rows and columns, each a stride after the other, from the first ones on: (B * rows * columns, C)."""
    batch, _, _, channels = images_BHWC.shape
    ends = (start + stride * (count - 1) + 1 for start, count in zip(first, counts, strict=True))
    chosen = lax.slice(images_BHWC, (0, *first, 0), (batch, *ends, channels), (1, stride, stride, 1))
    return chosen.reshape(-1, channels)


def contract(one: jax.Array, other: jax.Array, axis: int, other_axis: int) -> jax.Array:
    """The product of two matrices, summed over an axis of each."""
    return lax.dot_general(one, other, (((axis,), (other_axis,)), ((), ())))


def _parts(array_B: jax.Array, at_once: int) -> jax.Array:
    return array_B.reshape(-1, at_once, *array_B.shape[1:])


def _images_at_once(batch: int, positions: int) -> int:
    """The fewest images that fill the positions, out of those that divide the batch."""
    divisors = (size for size in range(1, batch + 1) if batch % size == 0)
    return next((size for size in divisors if size * positions >= POSITIONS), batch)
