"""The forward pass of a population through an architecture's layers."""

import jax

from jaxzoo.models.lanes import tiled
from jaxzoo.models.lanes.convolution import convolve
from jaxzoo.models.lanes.dense import multiply
from jaxzoo.models.lanes.pooling import max_pool
from jaxzoo.models.lanes.sampling import sample
from jaxzoo.models.networks import ACTIVATION_FUNCTIONS, DropoutSource, Params, SamplingSource, drop_out
from jaxzoo.models.noise import normal_noise, uniform_noise
from jaxzoo.spec.layers import (
    Activation,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layers,
    MaxPool,
    variance_name,
    weight_layers,
)

KINDS = (Conv, Dense, MaxPool, Activation, Flatten, Dropout)  # that `forward` can compute


def supports(layers: Layers) -> bool:
    """Whether `forward` can compute all of these layers."""
    plain = all(
        (layer.stride, layer.padding, layer.bias) == (1, 0, True) for layer in layers if isinstance(layer, Conv)
    )
    return plain and all(isinstance(layer, KINDS) for layer in layers)


def forward(
    layers: Layers,
    activation: str,
    params_M: Params,
    images_BHWCM: jax.Array,
    dropout_M: DropoutSource | None = None,
    sampling_M: SamplingSource | None = None,
) -> jax.Array:
    """The logits (B, classes, M) of M models. In evaluation, images with a model axis of 1 are shared by all models.

    The meaning is that of `jax.vmap` of the Flax module over the last axis of every argument. For training on a TPU
    that axis may be folded to two, (8, M / 8), in every argument and in the result.
    """
    values = images_BHWCM
    weighted = weight_layers(layers)
    for before, layer, after in zip((None, *layers), layers, (*layers[1:], None), strict=False):
        pools = isinstance(after, MaxPool)
        match layer:
            case Conv() | Dense() if sampling_M is not None:
                values = _sampled(layer, weighted.index(layer), params_M, values, sampling_M, pools)
            case Conv(name) if pools:
                values = convolve_pool(values, params_M[name]["kernel"], params_M[name]["bias"])
            case Conv() | Dense():
                values = _apply(layer, params_M[layer.name], values)
            case MaxPool() if isinstance(before, Conv):
                pass  # `_sampled` or `convolve_pool` has pooled already
            case MaxPool():
                values = max_pool(values)
            case Activation():
                values = ACTIVATION_FUNCTIONS[activation](values)
            case Flatten():
                values = values.reshape(values.shape[0], -1, *values.shape[4:])
            case Dropout(index):
                if dropout_M is not None:
                    # the model axes are those of the keys: one, or two where they are folded
                    shape = values.shape[: values.ndim - dropout_M.key.ndim]
                    noise = uniform_noise(dropout_M.key, index, shape, dropout_M.first)
                    values = drop_out(values, noise, dropout_M.rate)
    return values


def _apply(layer: Conv | Dense, params_M: dict[str, jax.Array], values: jax.Array) -> jax.Array:
    return _product(layer, params_M["kernel"], values) + params_M["bias"]


def _product(layer: Conv | Dense, kernel_M: jax.Array, values: jax.Array) -> jax.Array:
    return convolve(values, kernel_M) if isinstance(layer, Conv) else multiply(values, kernel_M)


def _sampled(
    layer: Conv | Dense, index: int, params_M: Params, values: jax.Array, sampling_M: SamplingSource, pools: bool
) -> jax.Array:
    """A layer's outputs drawn from their mean and variance, and pooled if `pools`."""
    spread_M = params_M[variance_name(layer.name)]
    mean = _product(layer, params_M[layer.name]["kernel"], values)
    variance = _product(layer, spread_M["kernel"], values * values)
    shape = mean.shape[: mean.ndim - sampling_M.key.ndim]
    noise = normal_noise(sampling_M.key, index, shape, sampling_M.first)
    drawn = sample(mean, variance + spread_M["bias"] if "bias" in spread_M else variance, noise)
    return (max_pool(drawn) if pools else drawn) + params_M[layer.name]["bias"]


def convolve_pool(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array) -> jax.Array:
    """Convolution and max pooling, as one operation if the model axis is folded to the registers of a TPU."""
    if bias_OM.ndim == 3:  # (O, 8, M / 8)
        return tiled.convolve_pool(images_BHWCM, kernel_KKCOM, bias_OM)
    # the bias is added after the maximum: a quarter of the sums, forward and for its gradient
    return max_pool(convolve(images_BHWCM, kernel_KKCOM)) + bias_OM
