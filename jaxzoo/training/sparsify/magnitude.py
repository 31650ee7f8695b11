"""Gradual magnitude pruning (Zhu, Gupta 2017, "To prune, or not to prune").

The smallest weights are set to zero and remain zero; biases are kept. Arrays have the model axis last.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxzoo.models.networks import Params
from jaxzoo.models.trees import each_leaf, nested
from jaxzoo.spec.module import is_kernel


def full_masks(params: Params) -> Params:
    """A mask of ones for each kernel, on the host."""
    return nested((path, np.ones_like(leaf)) for path, leaf in each_leaf(params) if is_kernel(path, np.ndim(leaf) - 1))


def sparsity_at(epoch: jax.Array | int, epochs: int, target: float) -> jax.Array:
    """The sparsity from epoch t on, counted from 1: s (1 - (1 - t / T)^3), with T half of the epochs, rounded up."""
    # after T the sparsity remains, and the other half of the epochs trains the weights that are left
    progress = jnp.clip(jnp.asarray(epoch, jnp.float32) / math.ceil(epochs / 2), 0.0, 1.0)
    return target * (1 - (1 - progress) ** 3)


def prune(params: Params, sparsity: jax.Array, scope: str) -> Params:
    """Masks that remove each model's smallest weights: of all its kernels together ("global"), or of each ("layer").

    The number of removed weights is the sparsity times the number of weights, rounded. Among equals the first go, in
    the order of `params`.
    """
    magnitudes = {path: jnp.abs(leaf) for path, leaf in each_leaf(params) if is_kernel(path, leaf.ndim - 1)}
    if scope == "layer":
        return nested((path, _mask(leaf, sparsity)) for path, leaf in magnitudes.items())
    models = next(iter(magnitudes.values())).shape[-1]
    flat = jnp.concatenate([leaf.reshape(-1, models) for leaf in magnitudes.values()])
    ends = np.cumsum([math.prod(leaf.shape[:-1]) for leaf in magnitudes.values()])
    parts = jnp.split(_mask(flat, sparsity), ends[:-1])
    return nested(
        (path, part.reshape(leaf.shape)) for part, (path, leaf) in zip(parts, magnitudes.items(), strict=True)
    )


def apply_masks(params: Mapping[str, Any], masks: Mapping[str, Any]) -> Params:
    """The parameters, with the weights that the masks remove at zero."""
    return {name: _masked(inner, masks[name]) if name in masks else inner for name, inner in params.items()}


def _masked(inner: Any, mask: Any) -> Any:
    """A leaf, or the parameters under a name, with their masks."""
    return apply_masks(inner, mask) if isinstance(inner, Mapping) else inner * mask


def _mask(magnitude: jax.Array, sparsity: jax.Array) -> jax.Array:
    """A mask (..., M) with zeros for the smallest of each model's magnitudes, as many as the sparsity says."""
    flat_DM = magnitude.reshape(-1, magnitude.shape[-1])
    # sorting the order gives each weight's rank; the first sort is stable, so that the first of equals go first
    rank_DM = jnp.argsort(jnp.argsort(flat_DM, axis=0, stable=True), axis=0)
    gone = jnp.round(sparsity * flat_DM.shape[0]).astype(int)
    return (rank_DM >= gone).astype(jnp.float32).reshape(magnitude.shape)
