"""The walk of a population through an architecture's layers."""

import jax

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

    Semantically `jax.vmap` of the Flax module over the last axis of every argument.
    """
    values = images_BHWCM
    for layer in layers:
        match layer:
            case Conv(name, _, _):
                values = convolve(values, params_M[name]["kernel"], params_M[name]["bias"])
            case Dense(name, _):
                values = multiply(values, params_M[name]["kernel"]) + params_M[name]["bias"]
            case MaxPool():
                values = max_pool(values)
            case Activate():
                values = ACTIVATION_FUNCTIONS[activation](values)
            case Flatten():
                values = values.reshape(values.shape[0], -1, values.shape[-1])
            case Dropout(draw):
                if dropout_M is not None:
                    noise = dropout_noise(dropout_M.key, draw, values.shape[:-1], dropout_M.first)
                    values = drop_out(values, noise, dropout_M.rate)
    return values
