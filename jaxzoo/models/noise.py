"""Random numbers of members in a training step.

A member gets the same numbers alone, under `jax.vmap`, or with M keys at once. The generator is counter-based: Threefry
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") of `layer`, which tells apart the layers that draw,
and an index. An image gets the same numbers in a whole batch and in a part of it that begins at image `first`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Position = jax.Array | np.ndarray | int

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
ROUNDS = 20  # as many as JAX's own Threefry has
# with words of 64 bits the fewest that pass BigCrush (Salmon et al., table 2); docs/twins.md says what was tested here
FAST_ROUNDS = 13
PARITY = 0x1BD11BDA

# LOG2 is -log2 of a mantissa in 1..2, QUANTILE is sqrt(2) erfinv(u) / u as a polynomial in -log2(1 - u^2). Both have
# the least maximal error at the 65,536 points of `_to_normal`, where together they are off by less than 2e-4.
LOG2 = (-0.081611328824613, 0.6451064423566204, -2.1205752895553847, 4.069974445434269, -2.5128061419455507)
QUANTILE = (
    *(5.423970881082984e-08, -4.337467430743799e-06, 0.00013435940746864644, -0.0019774844855978287),
    *(0.009955676625314722, 0.22525850084158122, 1.2539582189475895),
)


def uniform_noise(key: jax.Array, layer: int, shape: tuple[int, ...], first: Position = 0) -> jax.Array:
    """Uniform integers of 16 bits, shape + key.shape. The first axis of `shape` is that of images."""
    images, size = shape[0], math.prod(shape[1:])
    words = _random_words(key, layer, images, -(-size // 4), first, ROUNDS)
    halves = [half for word in words for half in (word & 0xFFFF, word >> 16)]
    noise = jnp.stack(halves, axis=2).reshape(images, -1, *key.shape)
    return noise[:, :size].reshape(*shape, *key.shape)


def normal_noise(key: jax.Array, layer: int, shape: tuple[int, ...], first: Position = 0) -> jax.Array:
    """Standard normal numbers, shape + key.shape, from 16 bits each: 65,536 values of equal probability."""
    images, size = shape[0], math.prod(shape[1:])
    words = _random_words(key, layer, images, -(-size // 4), first, FAST_ROUNDS)
    forms = {"cpu": _normals_of_stacked, "tpu": _normals_put_in_place, "default": _normals_side_by_side}
    noise = lax.platform_dependent(*words, **forms)
    return noise[:, :size].reshape(*shape, *key.shape)


def _normals_side_by_side(left: jax.Array, right: jax.Array) -> jax.Array:
    """Four normal numbers of every pair of words.

    The four halves stand one after the other, not interleaved, so that nothing is shuffled between registers.
    """
    return jnp.concatenate(_four_normals(left, right), axis=1)


def _four_normals(left: jax.Array, right: jax.Array) -> list[jax.Array]:
    return [_to_normal(half) for word in (left, right) for half in (word & 0xFFFF, word >> 16)]


def _normals_put_in_place(left: jax.Array, right: jax.Array) -> jax.Array:
    """As `_normals_side_by_side`. A TPU's compiler makes of that the maximum of four arrays with borders."""
    blocks = left.shape[1]
    noise = lax.empty((len(left), 4 * blocks, *left.shape[2:]), jnp.float32)
    # or every part would compute the words anew
    for number, normals in enumerate(_four_normals(*lax.optimization_barrier((left, right)))):
        noise = lax.dynamic_update_slice_in_dim(noise, normals, number * blocks, axis=1)
    return noise


def _normals_of_stacked(left: jax.Array, right: jax.Array) -> jax.Array:
    """As `_normals_side_by_side`. There, XLA:CPU computes both words anew for each of the four: 3.6 times the time."""
    words = jnp.stack([left, right], axis=1)[:, :, None]
    shift = jnp.array([0, 16], jnp.uint32).reshape(1, 1, 2, *(1,) * (left.ndim - 1))
    noise = _to_normal(words >> shift & 0xFFFF)
    return noise.reshape(len(noise), -1, *noise.shape[4:])


def _random_words(
    key: jax.Array, layer: int, images: int, blocks: int, first: Position, rounds: int
) -> tuple[jax.Array, jax.Array]:
    """Two arrays of 32-bit words, each (images, blocks) + key.shape."""
    words = jnp.moveaxis(jax.random.key_data(key), -1, 0)[:, None, None]
    # counted from the batch's first image, whichever image the part at hand begins with
    index = jnp.arange(images * blocks, dtype=jnp.uint32) + jnp.uint32(first) * jnp.uint32(blocks)
    return _threefry(words[0], words[1], jnp.uint32(layer), index.reshape(images, blocks, *(1,) * key.ndim), rounds)


def _threefry(
    key0: jax.Array, key1: jax.Array, left: jax.Array, right: jax.Array, rounds: int
) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32, unrolled. JAX's own is a loop on a CPU, and XLA cannot fuse it with the code that reads it."""
    keys = (key0, key1, key0 ^ key1 ^ jnp.uint32(PARITY))
    left, right = left + keys[0], right + keys[1]
    for number in range(rounds):
        turn = ROTATIONS[number // 4 % 2][number % 4]
        left = left + right
        right = (right << turn | right >> (32 - turn)) ^ left
        if number % 4 == 3:
            times = number // 4 + 1
            left, right = left + keys[times % 3], right + keys[(times + 1) % 3] + jnp.uint32(times)
    return left, right


def _to_normal(bits: jax.Array) -> jax.Array:
    """The standard normal quantile of (bits + 1/2) / 65,536, to 2e-4. The exact inverse takes five times as long."""
    rank = bits.astype(jnp.int32).astype(jnp.float32) + 0.5
    u = rank * (2 / 2**16) - 1
    # 1 - u^2 as a product: the difference would lose its last digits near 1, and not the same ones on every machine
    pattern = lax.bitcast_convert_type(rank * (2**16 - rank) * (4 / 2**32), jnp.int32)
    # a float32 is exponent + 127 in the upper bits and 23 bits of mantissa; 0x3F800000 has the exponent 0
    mantissa = lax.bitcast_convert_type(pattern & 0x7FFFFF | 0x3F800000, jnp.float32)
    exponent = (pattern >> 23).astype(jnp.float32) - 127
    return u * _polynomial(QUANTILE, -exponent - _polynomial(LOG2, mantissa))


def _polynomial(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
    """The polynomial's value by Horner's rule; the coefficient of the highest power comes first."""
    total = jnp.float32(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + np.float32(coefficient)
    return total
