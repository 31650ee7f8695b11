"""Pooling of a population over windows of any size, every so many positions, the model axis last.

Windows that would reach over the edge are left out.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxzoo.models.lanes.convolution import every, window_counts
from jaxzoo.models.lanes.phases import Phase, gather, phases, with_borders

Sizes = tuple[int, int]  # height and width


def max_pool_windows(values_BHWCM: jax.Array, window: int, stride: int) -> jax.Array:
    """The maximum of each window.

    The gradient goes to the first maximum of a window in reading order, as PyTorch's and XLA's do.
    """
    return _max_pool(values_BHWCM, window, stride, values_BHWCM.shape[1:3])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(values_BHWCM: jax.Array, window: int, stride: int, sizes: Sizes) -> jax.Array:
    return _maximum_and_winner(values_BHWCM, window, stride, sizes)[0]


def _maximum_and_winner(values_BHWCM: jax.Array, window: int, stride: int, sizes: Sizes) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window, and the winner: the number of its tap in reading order."""
    first, *others = _taps(values_BHWCM, window, stride)
    maximum, winner = first, jnp.zeros(first.shape, jnp.int8 if window**2 <= 128 else jnp.int32)
    for number, tap in enumerate(others, start=1):
        # > and not >=: among equals the first one wins; not-a-number wins over all
        larger = (tap > maximum) | jnp.isnan(tap)
        maximum, winner = jnp.where(larger, tap, maximum), jnp.where(larger, winner.dtype.type(number), winner)
    return maximum, winner


def _max_pool_backward(
    window: int, stride: int, sizes: Sizes, winner_BHWCM: jax.Array, cotangent_BHWCM: jax.Array
) -> tuple[jax.Array]:
    def part(row: Phase, column: Phase) -> jax.Array:
        winner, cotangent = (with_borders(array, row, column) for array in (winner_BHWCM, cotangent_BHWCM))
        terms = [
            jnp.where(chosen == i * window + j, values, 0.0)
            for (i, j), chosen, values in zip(
                _numbers(row, column), _shifted(winner, row, column), _shifted(cotangent, row, column), strict=True
            )
        ]
        return sum(terms[1:], start=terms[0])

    return (_by_phases(cotangent_BHWCM, window, stride, sizes, part),)


_max_pool.defvjp(_maximum_and_winner, _max_pool_backward)


def max_pool_all(values_BHWCM: jax.Array) -> jax.Array:
    """The maximum over all positions, (B, C, M). The gradient goes to the first one."""
    return _max_pool_all(values_BHWCM.reshape(len(values_BHWCM), -1, *values_BHWCM.shape[3:]))


@jax.custom_vjp
def _max_pool_all(values_BNCM: jax.Array) -> jax.Array:
    return _largest_and_place(values_BNCM)[0]


def _largest_and_place(values_BNCM: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The maximum over N positions, and the number of its position."""

    def compare(number: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        maximum, place = best
        value = lax.dynamic_index_in_dim(values_BNCM, number, axis=1, keepdims=False)
        larger = (value > maximum) | jnp.isnan(value)
        return jnp.where(larger, value, maximum), jnp.where(larger, number, place)

    first = values_BNCM[:, 0]
    return lax.fori_loop(1, values_BNCM.shape[1], compare, (first, jnp.zeros(first.shape, jnp.int32)))


def _max_pool_all_forward(values_BNCM: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    maximum, place = _largest_and_place(values_BNCM)
    # of the values only their number is needed: an array without elements says it
    return maximum, (place, values_BNCM[:0])


def _max_pool_all_backward(saved: tuple[jax.Array, jax.Array], cotangent_BCM: jax.Array) -> tuple[jax.Array]:
    place, none_NCM = saved
    number = jnp.arange(none_NCM.shape[1], dtype=place.dtype).reshape(1, -1, *(1,) * (cotangent_BCM.ndim - 1))
    return (jnp.where(number == place[:, None], cotangent_BCM[:, None], 0.0),)


_max_pool_all.defvjp(_max_pool_all_forward, _max_pool_all_backward)


def mean_pool_windows(values_BHWCM: jax.Array, window: int, stride: int) -> jax.Array:
    """The mean of each window."""
    return _sum_pool(values_BHWCM, window, stride, values_BHWCM.shape[1:3]) / window**2


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _sum_pool(values_BHWCM: jax.Array, window: int, stride: int, sizes: Sizes) -> jax.Array:
    taps = _taps(values_BHWCM, window, stride)
    return sum(taps[1:], start=taps[0])


def _sum_pool_forward(values_BHWCM: jax.Array, window: int, stride: int, sizes: Sizes) -> tuple[jax.Array, None]:
    return _sum_pool(values_BHWCM, window, stride, sizes), None


def _sum_pool_backward(window: int, stride: int, sizes: Sizes, _: None, cotangent_BHWCM: jax.Array) -> tuple[jax.Array]:
    def part(row: Phase, column: Phase) -> jax.Array:
        terms = _shifted(with_borders(cotangent_BHWCM, row, column), row, column)
        return sum(terms[1:], start=terms[0])

    return (_by_phases(cotangent_BHWCM, window, stride, sizes, part),)


_sum_pool.defvjp(_sum_pool_forward, _sum_pool_backward)


def _taps(values_BHWCM: jax.Array, window: int, stride: int) -> list[jax.Array]:
    """For each position in a window, in reading order, the values there of all windows."""
    counts = window_counts(values_BHWCM.shape[1:3], (window, window), stride)
    return [
        values_BHWCM[(slice(None), *every(stride, (row, column), counts))]
        for row in range(window)
        for column in range(window)
    ]


def _by_phases(
    cotangent_BHWCM: jax.Array, window: int, stride: int, sizes: Sizes, part: Callable[[Phase, Phase], jax.Array]
) -> jax.Array:
    """What windows give to the positions that they cover, (B, H, W, C, M)."""
    B, height, width, *channels = cotangent_BHWCM.shape
    lengths = (-(-size // stride) for size in sizes)
    zeros = functools.partial(jnp.zeros, (B, *lengths, *channels), cotangent_BHWCM.dtype)
    rows, columns = (phases(size, count, window, stride) for size, count in zip(sizes, (height, width), strict=True))
    return gather(rows, columns, part, zeros, sizes)


def _numbers(row: Phase, column: Phase) -> list[tuple[int, int]]:
    """The taps of two phases, in the order of `_shifted`."""
    return [(i, j) for i in row.taps for j in column.taps]


def _shifted(windows: jax.Array, row: Phase, column: Phase) -> list[jax.Array]:
    """For each tap of two phases the windows that reach the phases' positions by it."""
    high, wide = len(row.taps) - 1, len(column.taps) - 1
    height, width = windows.shape[1] - high, windows.shape[2] - wide
    return [
        windows[:, high - i : high - i + height, wide - j : wide - j + width]
        for i in range(high + 1)
        for j in range(wide + 1)
    ]
