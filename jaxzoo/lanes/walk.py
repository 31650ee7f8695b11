"""The walk of a population through an architecture's layers."""

import jax

from jaxzoo.lanes import tiled
from jaxzoo.lanes.convolution import convolve
from jaxzoo.lanes.dense import multiply
from jaxzoo.lanes.pooling import max_pool
from jaxzoo.networks import (
    ACTIVATION_FUNCTIONS,
    Activate,
    Conv,
    Dense,
    Dropout,
    DropoutDraw,
    Flatten,
    Layer,
    MaxPool,
    Params,
    drop_out,
    dropout_noise,
)


def forward(
    layers: tuple[Layer, ...],
    activation: str,
    params_M: Params,
    images_BHWCM: jax.Array,
    dropout_M: DropoutDraw | None = None,
) -> jax.Array:
    """Logits (B, classes, M) of M models; images with a model axis of 1 are shared by all.

    Semantically `jax.vmap` of the Flax module over the last axis of every argument; for training on a TPU that axis may
    be folded to two, (8, M / 8), in every argument and the result.
    """
    values = images_BHWCM
    for before, layer, after in zip((None, *layers), layers, (*layers[1:], None), strict=False):
        match layer:
            case Conv(name, _, _) if isinstance(after, MaxPool):
                values = convolve_pool(values, params_M[name]["kernel"], params_M[name]["bias"])
            case MaxPool() if isinstance(before, Conv):
                pass  # done with the convolution
            case Conv(name, _, _):
                values = convolve(values, params_M[name]["kernel"], params_M[name]["bias"])
            case Dense(name, _):
                values = multiply(values, params_M[name]["kernel"]) + params_M[name]["bias"]
            case MaxPool():
                values = max_pool(values)
            case Activate():
                values = ACTIVATION_FUNCTIONS[activation](values)
            case Flatten():
                values = values.reshape(values.shape[0], -1, *values.shape[4:])
            case Dropout(draw):
                if dropout_M is not None:
                    shape = values.shape[: values.ndim - dropout_M.key.ndim]
                    noise = dropout_noise(dropout_M.key, draw, shape, dropout_M.first)
                    values = drop_out(values, noise, dropout_M.rate)
    return values


def convolve_pool(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array) -> jax.Array:
    """Convolution and max pooling, as one operation where the model axis is folded to the registers of a TPU."""
    if bias_OM.ndim == 3:  # (O, 8, M / 8)
        return tiled.convolve_pool(images_BHWCM, kernel_KKCOM, bias_OM)
    return max_pool(convolve(images_BHWCM, kernel_KKCOM, bias_OM))
