"""The engines: ways to compute the logits of a population, all with the model axis last, all with the same meaning."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from jaxzoo import lanes
from jaxzoo.errors import InputError
from jaxzoo.networks import CNN, DropoutDraw, Layer, Params, SamplingDraw, architecture_layers

Logits = Callable[[Params, jax.Array, DropoutDraw | None, SamplingDraw | None], jax.Array]

ENGINES = ("lanes", "vmap")


def population_logits(engine: str, architecture: str, classes: int, activation: str) -> Logits:
    """The function (params_M, images_BHWCM, dropout_M or None, sampling_M or None) -> logits_BOM of an engine.

    Images with a model axis of 1 are shared by all models. Raises InputError for an unknown engine.
    """
    layers = architecture_layers(architecture)
    if engine == "lanes":
        return lambda params, images, *draws: lanes.forward(layers, activation, params, images, *draws)
    if engine == "vmap":
        return _vmap_logits(layers, classes, activation)
    raise InputError(f"engine is {engine!r}, expected one of: {', '.join(ENGINES)}")


def _vmap_logits(layers: tuple[Layer, ...], classes: int, activation: str) -> Logits:
    """`jax.vmap` of one model's Flax module."""
    network = CNN(layers, classes, activation)

    def one_model(params: Params, images_BHWC: jax.Array, *draws: DropoutDraw | SamplingDraw | None) -> jax.Array:
        return jnp.asarray(network.apply({"params": params}, images_BHWC, *draws))

    def logits(
        params_M: Params, images_BHWCM: jax.Array, dropout_M: DropoutDraw | None, sampling_M: SamplingDraw | None
    ) -> jax.Array:
        shared = images_BHWCM.shape[-1] == 1
        images = images_BHWCM[..., 0] if shared else images_BHWCM
        # a draw's rate and key are per model, the place of its first image is not
        dropout_axes: Any = None if dropout_M is None else DropoutDraw(*cast(Any, (0, 0, None)))
        sampling_axes: Any = None if sampling_M is None else SamplingDraw(*cast(Any, (0, None)))
        axes = (-1, None if shared else -1, dropout_axes, sampling_axes)
        return jax.vmap(one_model, in_axes=axes, out_axes=-1)(params_M, images, dropout_M, sampling_M)

    return logits
