"""The engines: two ways to compute the logits of a population. They agree but for rounding; the model axis is last."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp

from jaxzoo.errors import InputError
from jaxzoo.models import lanes
from jaxzoo.models.convolution import conv_general_dilated
from jaxzoo.models.modules import one_network
from jaxzoo.models.networks import Array, DropoutSource, Network, Params, SamplingSource
from jaxzoo.spec.layers import Layers, module_of, norm_layers

# all of them without the model axis: the forward pass of one model
OneModel = Callable[..., tuple[jax.Array, Params]]


class Forward(Protocol):
    """The forward pass of an engine (see `population_forward`)."""

    def __call__(
        self,
        params_M: Params,
        batch_stats_M: Params,
        images_BHWCM: jax.Array,
        dropout_M: DropoutSource | None,
        sampling_M: SamplingSource | None,
        counted_B: jax.Array | None,
        activation_M: Array | None = None,
        /,
    ) -> tuple[jax.Array, Params]: ...


ENGINES = ("lanes", "vmap")
FEWEST_IN_LANES = 4  # models, on other devices than CPUs; a CPU computes even one by lanes faster than by vmap
# by engine, kind of device, and whether activations are sampled; raised when kernels change so that last bits differ.
# Records and snapshots carry the version, and who goes on with another one is told
KERNELS: Mapping[tuple[str, str, bool], int] = {
    **{("lanes", platform, True): 2 for platform in ("cpu", "gpu")},
    ("lanes", "tpu", False): 2,
    ("lanes", "tpu", True): 3,
    **{("vmap", "cpu", samples): 2 for samples in (False, True)},  # convolutions of many channels
}
FIRST_KERNELS = 1  # of what is not there
EVALUATED_AT_ONCE = 4  # with 16 lanes their activations stay in a core's cache
EVALUATED_BY_VMAP = 256  # over all models: few large networks fill a device by their images


def engines_for(layers: Layers, precision: str = "float32") -> tuple[str, ...]:
    """The engines that can compute networks of these layers, the usual one first."""
    has_kernels = precision == "float32" and module_of(layers) is None and lanes.supports(layers)
    return ENGINES if has_kernels else ("vmap",)


def usual_lanes(layers: Layers, platform: str) -> int:
    """The models side by side on a device where the number is neither asked for nor measured."""
    if norm_layers(layers):
        return 1  # a network with batch normalisation is large: one fills a device
    return 16 if platform == "cpu" else 128


def usual_way(layers: Layers, precision: str, models: int, platform: str) -> tuple[str, int]:
    """The engine and the lanes of a cohort of so many models, in a zoo whose models differ in architecture.

    Lanes that would stay empty are left out. On a CPU, half of the models stand side by side, the others on another
    core. Elsewhere a few networks fill no lanes, and are computed by vmap.
    """
    engine, most = engines_for(layers, precision)[0], usual_lanes(layers, platform)
    if engine == "vmap" or (platform != "cpu" and models < FEWEST_IN_LANES):
        return "vmap", min(models, most)
    side_by_side = -(-models // 2) if platform == "cpu" else models
    return engine, min(most, 1 << (side_by_side - 1).bit_length())


def evaluated_at_once(engine: str, lanes: int) -> int:
    """Images that are evaluated at a time."""
    return EVALUATED_AT_ONCE if engine == "lanes" else max(EVALUATED_AT_ONCE, EVALUATED_BY_VMAP // lanes)


def kernels_of(engine: str, platform: str, *, samples: bool = False) -> int:
    """The version of the kernels of an engine on a kind of device; `samples` for twins by variational dropout."""
    return KERNELS.get((engine, platform, samples), FIRST_KERNELS)


def population_forward(
    engine: str,
    layers: Layers,
    classes: int,
    activation: str | tuple[str, ...],
    precision: str = "float32",
    platform: str = "cpu",
) -> Forward:
    """The forward pass of an engine, with the model axis last in every argument and result but `counted_B`.

    (params_M, batch_stats_M, images_BHWCM, dropout_M or None, sampling_M or None, counted_B or None, activation_M) ->
    (logits_BOM, batch_stats_M). The arguments mean what they mean to the Flax module; the result has the running batch
    statistics as they are after the batch. Images with a model axis of 1 are shared by all models. `counted_B` may have
    a model axis, too. Where several activations are given, `activation_M` has the index of each model's own. `platform`
    is the kind of device that computes. Of a Flax module the logits are those of evaluation without `counted_B`, and of
    training with it; `dropout_M` then has the keys of its random stream.

    Raises InputError for an engine that cannot compute these layers, or several activations. A module that is not at
    hand raises it when the forward pass is called.
    """
    known = engines_for(layers, precision)
    if engine not in known:
        raise InputError(f"engine is {engine!r}, expected {' or '.join(known)} for these layers in {precision}")
    activations = (activation,) if isinstance(activation, str) else activation
    if engine == "lanes":
        return lambda params, batch_stats, images, dropout, sampling, counted_B, activation_M=None: (
            lanes.forward(layers, lanes.activation_of(activations, activation_M), params, images, dropout, sampling),
            batch_stats,
        )
    if len(activations) > 1:
        raise InputError(f"engine is {engine!r}, expected 'lanes' for models that have activations side by side")
    module = module_of(layers)
    if module is not None:
        return _vmapped(one_network(module))
    # elsewhere XLA's own order of axes is the faster one: on a v5e by a quarter, as its compiler estimates
    convolution = conv_general_dilated if platform == "cpu" else jax.lax.conv_general_dilated
    return _vmapped(_of_layers(Network(layers, classes, activations[0], precision=precision, convolution=convolution)))


def _of_layers(network: Network) -> OneModel:
    def one_model(
        params: Params,
        batch_stats: Params,
        images_BHWC: jax.Array,
        dropout: DropoutSource | None,
        sampling: SamplingSource | None,
        counted_B: jax.Array | None,
    ) -> tuple[jax.Array, Params]:
        variables = {"params": params, "batch_stats": batch_stats}
        moving = ["batch_stats"] if batch_stats and counted_B is not None else False
        result = network.apply(variables, images_BHWC, dropout, sampling, counted_B, mutable=moving)
        logits, moved = cast(Any, result) if moving else (result, variables)
        return jnp.asarray(logits), moved["batch_stats"]

    return one_model


def _vmapped(one_model: OneModel) -> Forward:
    """`jax.vmap` of one model's forward pass."""

    def forward(
        params_M: Params,
        batch_stats_M: Params,
        images_BHWCM: jax.Array,
        dropout_M: DropoutSource | None,
        sampling_M: SamplingSource | None,
        counted_B: jax.Array | None,
        activation_M: Array | None = None,
    ) -> tuple[jax.Array, Params]:
        shared = images_BHWCM.shape[-1] == 1
        images = images_BHWCM[..., 0] if shared else images_BHWCM
        # the rate and the key are per model, the index of the first image is not
        dropout_axes: Any = None if dropout_M is None else DropoutSource(*cast(Any, (0, 0, None)))
        sampling_axes: Any = None if sampling_M is None else SamplingSource(*cast(Any, (0, None)))
        counted_axis = -1 if counted_B is not None and counted_B.ndim > 1 else None
        axes = (-1, -1, None if shared else -1, dropout_axes, sampling_axes, counted_axis)
        mapped = jax.vmap(one_model, in_axes=axes, out_axes=-1)
        return mapped(params_M, batch_stats_M, images, dropout_M, sampling_M, counted_B)

    return forward
