"""Sparse variational dropout (Molchanov, Ashukha, Vetrov 2017, "Variational Dropout Sparsifies Deep Neural Networks").

Every weight, and every bias of a convolution, has a mean w and a log variance log sigma^2; both are trained. The ratio
alpha = sigma^2 / w^2 measures the weight's noise, and a weight whose log alpha reaches a threshold is removed. The last
axis of every array is the model axis, or the last two are the axes that it is folded to.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxzoo.models.networks import Params
from jaxzoo.spec.layers import Conv, Dense, Layers, variance_name, weight_layers

INITIAL_LOG_VARIANCE = -10.0
THRESHOLD = 3.0  # of log alpha: as noisy as dropping the weight with probability alpha / (1 + alpha) = 95 %
CONV_LIMIT, DENSE_LIMIT = 8.0, 10.0  # log alpha is clipped to -limit..limit
SMALLEST_WEIGHT = 1e-15  # keeps the logarithm of a weight of zero finite
K1, K2, K3 = 0.63576, 1.8732, 1.48695  # of the approximation of the divergence, eq. 14
FULL_WEIGHT = 0.01  # of the divergence in the loss, which the ramp would reach after the last epoch


def with_log_variances(layers: Layers, params: Params) -> Params:
    """The parameters and, beside each layer, its log variances as they are before the first step, on the host."""
    added: dict[str, dict[str, Any]] = {}
    for layer, kind in _noisy(layers):
        leaf = np.full_like(params[layer.name][kind], INITIAL_LOG_VARIANCE)
        added.setdefault(log_variance_name(layer.name), {})[kind] = leaf
    return {**params, **added}


def log_variance_name(name: str) -> str:
    """The name under which a layer's log variances stand among the parameters."""
    return f"{name}_log_variance"


def moments(layers: Layers, params: Params) -> tuple[Params, jax.Array]:
    """The parameters of a sampled forward pass, and each model's divergence from the prior in nats, (M,).

    The parameters are the means and, beside each layer, a layer `<layer>_variance` with exp(log alpha) w^2 for its
    kernel, and for the bias of a convolution.
    """
    derived = means(layers, params)
    divergences = []
    for layer, kind in _noisy(layers):
        mean = params[layer.name][kind]
        log_alpha = clipped_log_alpha(layer, mean, params[log_variance_name(layer.name)][kind])
        # not exp(log sigma^2), since log alpha is clipped
        derived.setdefault(variance_name(layer.name), {})[kind] = jnp.exp(log_alpha) * mean**2
        # the sum leaves the model axes, one or two: a kernel of a convolution is (K, K, C, O, M)
        own_axes = 1 if kind == "bias" else 4 if isinstance(layer, Conv) else 2
        divergences.append(jnp.sum(kl_divergence(log_alpha), axis=tuple(range(own_axes))))
    return derived, sum(divergences[1:], start=divergences[0])


def clipped_log_alpha(layer: Conv | Dense, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """The clipped log alpha = log sigma^2 - log w^2. Shape-preserving."""
    limit = CONV_LIMIT if isinstance(layer, Conv) else DENSE_LIMIT
    return jnp.clip(log_variance - 2 * jnp.log(jnp.abs(mean) + SMALLEST_WEIGHT), -limit, limit)


def kl_divergence(log_alpha: jax.Array) -> jax.Array:
    """The KL divergence from the log-uniform prior, in nats per weight, up to a constant (eq. 14). Shape-preserving."""
    return -(K1 * jax.nn.sigmoid(K2 + K3 * log_alpha) - 0.5 * jnp.log1p(jnp.exp(-log_alpha)) - K1)


def kl_weight(epoch: jax.Array | int, epochs: int) -> jax.Array:
    """The divergence's weight in the loss of an epoch, counted from 1: it rises from 0 in proportion to the epoch."""
    # the original counts epochs from 0, so the first one has no divergence
    return jnp.minimum(1.0, FULL_WEIGHT * (jnp.asarray(epoch, jnp.float32) - 1) / epochs)


def sparse_params(layers: Layers, params: Params) -> Params:
    """The parameters as they are evaluated: a weight whose log alpha reaches the threshold is zero."""
    sparse = means(layers, params)
    for layer, kind in _noisy(layers):
        mean = params[layer.name][kind]
        log_alpha = clipped_log_alpha(layer, mean, params[log_variance_name(layer.name)][kind])
        sparse[layer.name][kind] = jnp.where(log_alpha >= THRESHOLD, 0.0, mean)
    return sparse


def means(layers: Layers, params: Params) -> Params:
    """The parameters without their log variances, in new dictionaries."""
    added = {log_variance_name(layer.name) for layer in weight_layers(layers)}
    return {name: dict(kinds) for name, kinds in params.items() if name not in added}


def _noisy(layers: Layers) -> Iterator[tuple[Conv | Dense, str]]:
    """The parameters that have a log variance, as layer and kind: kernels, and the biases of convolutions."""
    for layer in weight_layers(layers):
        yield layer, "kernel"
        if isinstance(layer, Conv) and layer.bias:
            yield layer, "bias"
