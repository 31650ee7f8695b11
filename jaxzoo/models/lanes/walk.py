"""The forward pass of a population through an architecture's layers."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxzoo.models.lanes import sampled_pooling, tiled, tiled_sampled
from jaxzoo.models.lanes.activation import Activate
from jaxzoo.models.lanes.batches import fold_batch, repeat_for_images, unfold_batch
from jaxzoo.models.lanes.convolution import convolve, window_counts
from jaxzoo.models.lanes.dense import multiply
from jaxzoo.models.lanes.pooling import max_pool
from jaxzoo.models.lanes.sampling import sample
from jaxzoo.models.lanes.strided import convolve_strided
from jaxzoo.models.lanes.windows import max_pool_all, max_pool_windows, mean_pool_windows
from jaxzoo.models.networks import (
    ACTIVATION_FUNCTIONS,
    DropoutSource,
    Params,
    SamplingSource,
    add_common,
    drop_out,
    layer_normalised,
)
from jaxzoo.models.noise import normal_noise, uniform_noise
from jaxzoo.spec.layers import (
    Activation,
    Add,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    Layers,
    MaxPool,
    MeanPool,
    Residual,
    Save,
    norm_layers,
    variance_name,
    weight_layers,
)

FOLDED = (Conv, MaxPool, Activation, Dropout, Flatten, Dense)


def supports(layers: Layers) -> bool:
    """Whether `forward` can compute all of these layers: all but batch normalisation."""
    return not norm_layers(layers)


def gains_by_folding(layers: Layers) -> bool:
    """Whether a TPU has kernels for the layers where the model axis is folded to its registers.

    Its compiler stops on strided windows of such arrays (libtpu 0.0.42).
    """
    plain = all(_is_plain(layer) for layer in layers if isinstance(layer, Conv))
    halved = all(_halves(layer) for layer in layers if isinstance(layer, MaxPool))
    return plain and halved and all(isinstance(layer, FOLDED) for layer in layers)


class _Pass(NamedTuple):
    """What all chains of layers in a forward pass share.

    `model_axes` counts the axes of models: one, or two where they are folded. `batch` is the number of images where
    some of them take the place of models, else None. `saved` has what `Save` layers keep.
    """

    weighted: tuple[Conv | Dense, ...]
    activate: Activate
    params: Params
    model_axes: int
    batch: int | None
    dropout: DropoutSource | None
    sampling: SamplingSource | None
    saved: dict[str, jax.Array]

    def noise(
        self, draw: Callable[..., jax.Array], source: DropoutSource | SamplingSource, layer: int, shape: tuple[int, ...]
    ) -> jax.Array:
        """Random numbers of every model, shape + its axes. An image gets the same ones wherever it stands."""
        images, *own = shape
        if self.batch is None:
            return draw(source.key, layer, (images, *own), source.first)
        return fold_batch(draw(source.key, layer, (self.batch, *own), source.first))

    def own_shape(self, values: jax.Array) -> tuple[int, ...]:
        """The shape of a model's values."""
        return values.shape[: values.ndim - self.model_axes]


def forward(
    layers: Layers,
    activate: Activate,
    params_M: Params,
    images_BHWCM: jax.Array,
    dropout_M: DropoutSource | None = None,
    sampling_M: SamplingSource | None = None,
) -> jax.Array:
    """The logits (B, classes, M) of M models. In evaluation, images with a model axis of 1 are shared by all models.

    `activate` computes the activation that layers without one of their own have (see `activation_of`). The meaning is
    that of `jax.vmap` of the Flax module over the last axis of every argument. For training on a TPU that axis may be
    folded to two, (8, M / 8) or (1, M), in every argument and in the result. With (1, M) images of the batch are
    computed in the place of models.
    """
    model_axes = images_BHWCM.ndim - 4
    batch = len(images_BHWCM) if model_axes == 2 and images_BHWCM.shape[-2] == 1 else None
    if batch is not None:
        params_M, images_BHWCM = repeat_for_images(params_M), fold_batch(images_BHWCM)
    run = _Pass(weight_layers(layers), activate, params_M, model_axes, batch, dropout_M, sampling_M, {})
    logits = _chain(run, layers, images_BHWCM)
    return logits if batch is None else unfold_batch(logits, batch)


def _chain(run: _Pass, layers: Layers, values: jax.Array) -> jax.Array:
    """The values behind the layers."""
    for before, layer, after in zip((None, *layers), layers, (*layers[1:], None), strict=False):
        match layer:
            case Conv() | Dense():
                values = _weigh(run, layer, values, pools=isinstance(layer, Conv) and _halves(after))
            case MaxPool() if isinstance(before, Conv) and _halves(layer):
                pass  # `_weigh` has pooled already
            case MaxPool() | MeanPool():
                values = _pool(layer, values)
            case Activation(function):
                values = ACTIVATION_FUNCTIONS[function](values) if function else run.activate(values)
            case Flatten():
                values = values.reshape(values.shape[0], -1, *values.shape[4:])
            case LayerNorm(name):
                own = run.params[name]
                values = layer_normalised(values, values.ndim - 1 - run.model_axes) * own["scale"] + own["bias"]
            case Dropout(index):
                if run.dropout is not None:
                    noise = run.noise(uniform_noise, run.dropout, index, run.own_shape(values))
                    values = drop_out(values, noise, run.dropout.rate)
            case Residual(main, shortcut):
                values = _chain(run, main, values) + _chain(run, shortcut, values)
            case Save(name):
                run.saved[name] = values
            case Add(name):
                values = _add(run, values, run.saved[name])
    return values


def _halves(layer: Layer | None) -> bool:
    """Whether the layer is max pooling with 2 x 2 windows side by side, which has kernels of its own."""
    return isinstance(layer, MaxPool) and layer.window == 2 and layer.stride in (None, 2)


def _pool(layer: MaxPool | MeanPool, values: jax.Array) -> jax.Array:
    if layer.window is None:
        return max_pool_all(values) if isinstance(layer, MaxPool) else values.mean(axis=(1, 2))
    if _halves(layer):
        return max_pool(values)
    pool = max_pool_windows if isinstance(layer, MaxPool) else mean_pool_windows
    return pool(values, layer.window, layer.stride or layer.window)


def _add(run: _Pass, values: jax.Array, saved: jax.Array) -> jax.Array:
    """The sum over common channels; their axis is the one before those of the models."""
    axis = values.ndim - 1 - run.model_axes
    if values.shape[axis] > saved.shape[axis]:
        # values that all models share get an axis of models where what was kept has one
        models = jnp.broadcast_shapes(values.shape[axis + 1 :], saved.shape[axis + 1 :])
        values = jnp.broadcast_to(values, (*values.shape[: axis + 1], *models))
    return add_common(values, saved, axis)


def _weigh(run: _Pass, layer: Conv | Dense, values: jax.Array, *, pools: bool) -> jax.Array:
    """The outputs of a layer with weights, pooled by 2 x 2 windows if `pools`."""
    own = run.params[layer.name]
    if run.sampling is not None:
        if pools and _is_plain(layer):
            return _with_bias(_sampled_pool(run, layer, values, run.sampling), own)
        drawn = _sampled(run, layer, values, run.sampling)
        # the bias is added after the maximum: a quarter of the sums, forward and for its gradient
        return _with_bias(max_pool(drawn) if pools else drawn, own)
    if pools and _is_plain(layer) and layer.bias:
        return convolve_pool(values, own["kernel"], own["bias"])
    product = _product(layer, own["kernel"], values)
    return _with_bias(max_pool(product) if pools else product, own)


def _with_bias(values: jax.Array, params_M: dict[str, jax.Array]) -> jax.Array:
    return values + params_M["bias"] if "bias" in params_M else values


def _product(layer: Conv | Dense, kernel_M: jax.Array, values: jax.Array) -> jax.Array:
    if isinstance(layer, Dense):
        return multiply(values, kernel_M)
    if _is_plain(layer):
        return convolve(values, kernel_M)
    return convolve_strided(values, kernel_M, layer.stride, layer.padding)


def _is_plain(layer: Conv | Dense) -> bool:
    return isinstance(layer, Conv) and (layer.stride, layer.padding) == (1, 0)


def _sampled(run: _Pass, layer: Conv | Dense, values: jax.Array, sampling_M: SamplingSource) -> jax.Array:
    """A layer's outputs drawn from their mean and variance, without the bias of the mean."""
    spread_M = run.params[variance_name(layer.name)]
    mean = _product(layer, run.params[layer.name]["kernel"], values)
    variance = _product(layer, spread_M["kernel"], values * values)
    noise = run.noise(normal_noise, sampling_M, run.weighted.index(layer), run.own_shape(mean))
    return sample(mean, _with_bias(variance, spread_M), noise)


def _sampled_pool(run: _Pass, layer: Conv | Dense, values: jax.Array, sampling_M: SamplingSource) -> jax.Array:
    """As `_sampled` and max pooling, in one operation."""
    kernel_M, spread_M = run.params[layer.name]["kernel"], run.params[variance_name(layer.name)]
    counts = window_counts(values.shape[1:3], kernel_M.shape[:2], 1)
    noise = run.noise(normal_noise, sampling_M, run.weighted.index(layer), (len(values), *counts, kernel_M.shape[3]))
    spread_OM = spread_M["bias"] if layer.bias else jnp.zeros_like(kernel_M[0, 0, 0])
    form = tiled_sampled if run.model_axes == 2 else sampled_pooling
    return form.convolve_sample_pool(values, kernel_M, spread_M["kernel"], spread_OM, noise)


def convolve_pool(images_BHWCM: jax.Array, kernel_KKCOM: jax.Array, bias_OM: jax.Array) -> jax.Array:
    """Convolution and max pooling, as one operation if the model axis is folded to the registers of a TPU."""
    if bias_OM.ndim == 3:  # (O, 8, M / 8)
        return tiled.convolve_pool(images_BHWCM, kernel_KKCOM, bias_OM)
    # the bias is added after the maximum: a quarter of the sums, forward and for its gradient
    return max_pool(convolve(images_BHWCM, kernel_KKCOM)) + bias_OM
