"""Models on the straight line between two models."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxzoo.errors import InputError, shown


def interpolate(a: Any, b: Any, points: int | Sequence[float]) -> np.ndarray:
    """The weights (1 - t) a + t b for every t of `points`, (..., points, D) float32, from `a` and `b` of (..., D).

    A whole number of points stands for so many from 0 to 1, both included (Goodfellow et al. 2015, arXiv 1412.6544,
    section 3). At t = 0 and t = 1 the result is `a` and `b`, exactly. Arrays may be NumPy's or JAX's. Raises
    InputError for shapes that do not broadcast, and for points that are no numbers.

    >>> interpolate(np.zeros(2), np.ones(2), 3)
    array([[0. , 0. ],
           [0.5, 0.5],
           [1. , 1. ]], dtype=float32)
    """
    first, second = (np.asarray(jax.device_get(weights), np.float32) for weights in (a, b))
    if not first.ndim or not second.ndim or first.shape[-1] != second.shape[-1]:
        raise InputError(f"weights are of shapes {first.shape} and {second.shape}, expected (..., D) of one D")
    shares = _shares(points)[:, None]
    try:
        return (1 - shares) * first[..., None, :] + shares * second[..., None, :]
    except ValueError as error:
        raise InputError(f"weights are of shapes {first.shape} and {second.shape}, expected ones that fit") from error


def _shares(points: int | Sequence[float]) -> np.ndarray:
    if isinstance(points, int | np.integer) and not isinstance(points, bool) and points >= 2:
        return np.linspace(0, 1, points, dtype=np.float32)
    try:
        shares = np.asarray(points, np.float32)
    except (TypeError, ValueError):
        shares = np.empty(0, np.float32)
    if shares.ndim != 1 or not shares.size or not np.isfinite(shares).all():
        raise InputError(f"points is {shown(points)}, expected a number of them, 2 or more, or numbers from 0 to 1")
    return shares
