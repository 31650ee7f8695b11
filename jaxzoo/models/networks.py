"""ONE model: the Flax module that is read off a tuple of layers."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.models.initializers import KERNEL_INITIALIZERS, bias_initializer
from jaxzoo.models.noise import normal_noise, uniform_noise
from jaxzoo.spec.grid import NOISE_VALUES
from jaxzoo.spec.layers import (
    Activation,
    Add,
    BatchNorm,
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
    variance_name,
    weight_layers,
)
from jaxzoo.spec.zoo_spec import ZooSpec

Array = jax.Array | np.ndarray  # on a device, or on the host
Params = dict[str, dict[str, jax.Array]]
Variables = dict[str, Params]  # Flax's collections: "params", and "batch_stats" of networks that normalise batches

ACTIVATION_FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.01),
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "identity": lambda values: values,
}

SMALLEST_VARIANCE = 1e-8
BATCH_NORM_EPSILON = LAYER_NORM_EPSILON = 1e-5
NEW_SHARE = 0.1  # of a new batch in the running statistics; PyTorch calls it the momentum of batch normalisation
STATISTICS = {"mean": 0.0, "var": 1.0}  # the running statistics of batch normalisation, and their initial values


class DropoutSource(NamedTuple):
    """What dropout in one training step draws from: a member's rate, (), and its key of the step; (M,) for M members.

    `first` is the index in the batch of the first image at hand.
    """

    rate: Array
    key: jax.Array
    first: Array | int = 0


class SamplingSource(NamedTuple):
    """What sampled activations in one training step draw from: a member's key of the step, (), or (M,) keys.

    `first` is the index in the batch of the first image at hand.
    """

    key: jax.Array
    first: Array | int = 0


def drop_out(values: jax.Array, noise: jax.Array, rate: Array) -> jax.Array:
    """Zero where the noise falls below `rate`, else values / (1 - rate). Shape-preserving; rate broadcasts."""
    kept = noise.astype(jnp.float32) >= jnp.round(rate * float(NOISE_VALUES))
    return jnp.where(kept, values * (1 / (1 - rate)), 0.0)


def sample(mean: jax.Array, variance: jax.Array, noise: jax.Array) -> jax.Array:
    """Normal values of the given mean and variance, from standard normal noise. Shape-preserving.

    The local reparametrisation (Kingma, Salimans, Welling 2015, eq. 6). The variance is raised by 1e-8: at 0 its root
    would have no gradient.
    """
    return mean + jnp.sqrt(variance + SMALLEST_VARIANCE) * noise


class Network(nn.Module):
    """The Flax module of a layer tuple: normalised images (B, H, W, C) to logits (B, classes) float32.

    `precision` is the type that layers compute in, "float32" or "bfloat16"; parameters and batch statistics are float32
    in both. `convolution` is the function that convolves, with the arguments of `jax.lax.conv_general_dilated`.

    >>> from jaxzoo.spec.layers import CNN_S
    >>> network = Network(CNN_S, classes=10, activation="tanh")
    >>> images = jnp.zeros((5, 28, 28, 1))
    >>> variables = network.init(jax.random.key(0), images)
    >>> network.apply(variables, images).shape
    (5, 10)
    """

    layers: Layers
    classes: int
    activation: str
    initialization: str = "kaiming_uniform"  # `init` alone reads it
    precision: str = "float32"
    convolution: Callable[..., jax.Array] = jax.lax.conv_general_dilated

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        dropout: DropoutSource | None = None,
        sampling: SamplingSource | None = None,
        counted_B: jax.Array | None = None,
    ) -> jax.Array:
        """Logits (B, classes). The defaults are those of evaluation; training gives more.

        With `dropout`, units drop out. With `sampling`, the outputs of layers with weights are drawn from a mean and a
        variance (see `sample`); the variance comes from the squares of the layer's input and from parameters called
        `<name>_variance`. With `counted_B`, a batch is normalised by its own mean and variance over the images where
        `counted_B` is 1, and the running statistics move (apply with mutable=["batch_stats"]); without it, a batch is
        normalised by the running statistics.
        """
        values = images if self._dtype is None else images.astype(self._dtype)
        return _at_least_float32(self._chain(self.layers, values, (dropout, sampling, counted_B), {}))

    @property
    def _dtype(self) -> str | None:
        """The type that layers compute in. None stands for the type of their input, so that tests can use float64."""
        return None if self.precision == "float32" else self.precision

    def _chain(
        self,
        layers: Layers,
        values: jax.Array,
        sources: tuple[DropoutSource | None, SamplingSource | None, jax.Array | None],
        saved: dict[str, jax.Array],
    ) -> jax.Array:
        """The values behind the layers. `saved` has what `Save` layers keep, chains inside of this one included."""
        dropout, sampling, counted_B = sources
        for layer in layers:
            match layer:
                case Residual(main, shortcut):
                    ends = [self._chain(chain, values, sources, saved) for chain in (main, shortcut)]
                    values = ends[0] + ends[1]
                case Save(name):
                    saved[name] = values
                case Add(name):
                    values = add_common(values, saved[name])
                case Conv() | Dense() if sampling is not None:
                    values = self._sampled(layer, values, sampling)
                case BatchNorm(name):
                    values = _BatchNorm(name=name)(values, counted_B).astype(values.dtype)
                case Dropout(index) if dropout is not None:
                    noise = uniform_noise(dropout.key, index, values.shape, dropout.first)
                    values = drop_out(values, noise, dropout.rate)
                case Dropout():
                    pass
                case _:
                    values = self._apply_layer(layer, values)
        return values

    def _sampled(self, layer: Conv | Dense, values: jax.Array, sampling: SamplingSource) -> jax.Array:
        mean = self._product(layer, layer.name, values)
        variance = self._product(layer, variance_name(layer.name), values**2, dense_bias=False)
        noise = normal_noise(sampling.key, weight_layers(self.layers).index(layer), mean.shape, sampling.first)
        return sample(mean, variance, noise).astype(mean.dtype)

    def _apply_layer(self, layer: Layer, values: jax.Array) -> jax.Array:
        match layer:
            case Conv() | Dense():
                return self._product(layer, layer.name, values)
            case MaxPool(None):
                # not `values.max`: its gradient compares the values with their maximum, and in a compiled program both
                # may have been computed in ways that round differently, so that no value equals the maximum
                return nn.max_pool(values, values.shape[1:3])[:, 0, 0]
            case MeanPool(None):
                return values.mean(axis=(1, 2))
            case MaxPool(int(window), stride):
                return nn.max_pool(values, (window,) * 2, (stride or window,) * 2)
            case MeanPool(int(window), stride):
                sums = nn.pooling.pool(values, 0.0, jax.lax.add, (window,) * 2, (stride or window,) * 2, "VALID")
                return sums / window**2  # Flax's own divides by an array of whole numbers, which a caller may forbid
            case LayerNorm(name):
                return _LayerNorm(name=name)(values).astype(values.dtype)
            case Activation(function):
                return ACTIVATION_FUNCTIONS[function or self.activation](values)
            case Flatten():
                return values.reshape(values.shape[0], -1)
        raise AssertionError(f"unreachable: {layer}")

    def _product(self, layer: Conv | Dense, name: str, values: jax.Array, *, dense_bias: bool = True) -> jax.Array:
        inputs = values.shape[-1] * (1 if isinstance(layer, Dense) else layer.kernel**2)
        options: dict[str, Any] = {
            "kernel_init": KERNEL_INITIALIZERS[self.initialization],
            "bias_init": bias_initializer(self.initialization, inputs),
            "dtype": self._dtype,
            # by default a TPU multiplies float32 in bfloat16, and a GPU in 19 bits
            "precision": jax.lax.Precision.HIGHEST if self.precision == "float32" else None,
            "name": name,
        }
        if isinstance(layer, Dense):
            return nn.Dense(layer.features or self.classes, use_bias=dense_bias and layer.bias, **options)(values)
        kernel, strides, sides = (layer.kernel,) * 2, (layer.stride,) * 2, ((layer.padding,) * 2,) * 2
        options["conv_general_dilated"] = self.convolution
        return nn.Conv(layer.features, kernel, strides, sides, use_bias=layer.bias, **options)(values)


class _BatchNorm(nn.Module):
    """`torch.nn.BatchNorm2d`, in float32. Unlike in Flax's own, the running variance divides by n - 1."""

    @nn.compact
    def __call__(self, inputs: jax.Array, counted_B: jax.Array | None) -> jax.Array:
        """The values (B, H, W, C), or (B, C), normalised."""
        channels, others = inputs.shape[-1], tuple(range(inputs.ndim - 1))

        def over_all(channels_C: jax.Array) -> jax.Array:
            # one number per channel as (1, 1, 1, C): a caller may forbid JAX to guess that shape
            return channels_C.reshape(*(1,) * len(others), channels)

        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running = {
            name: self.variable("batch_stats", name, jnp.full, (channels,), first, jnp.float32)
            for name, first in STATISTICS.items()
        }
        values = _at_least_float32(inputs)
        mean, variance = running["mean"].value, running["var"].value
        if counted_B is not None:
            weight = counted_B.reshape(-1, *(1,) * len(others))
            count = counted_B.sum() * math.prod(values.shape[1:-1])
            # both sums in one pass over the values; values near their mean lose no digits when they are squared
            centred = values - over_all(jax.lax.stop_gradient(running["mean"].value))
            shift = (centred * weight).sum(axis=others) / count
            mean = running["mean"].value + shift
            variance = jnp.maximum((centred**2 * weight).sum(axis=others) / count - shift**2, 0)
            unbiased = variance * (count / jnp.maximum(count - 1, 1))
            for name, new in (("mean", mean), ("var", unbiased)):
                running[name].value = (1 - NEW_SHARE) * running[name].value + NEW_SHARE * new
        factor = scale * jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
        return (values - over_all(mean)) * over_all(factor) + over_all(bias)


class _LayerNorm(nn.Module):
    """`torch.nn.LayerNorm` over the last axis, in float32: `layer_normalised`, times a scale, and a bias."""

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        features = (inputs.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, features, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, features, jnp.float32)
        own = (*(1,) * (inputs.ndim - 1), *features)
        return layer_normalised(_at_least_float32(inputs), -1) * scale.reshape(own) + bias.reshape(own)


def layer_normalised(values: jax.Array, axis: int) -> jax.Array:
    """The values less their mean, over their standard deviation, along an axis (Ba, Kiros, Hinton 2016, eq. 3)."""
    centred = values - values.mean(axis, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(axis, keepdims=True) + LAYER_NORM_EPSILON)


def add_common(values: jax.Array, saved: jax.Array, axis: int = -1) -> jax.Array:
    """The sum; along an axis of different lengths, over the first channels, as many as both have."""
    own, other = values.shape[axis], saved.shape[axis]
    if own == other:
        return values + saved
    common = min(own, other)
    first = jax.lax.slice_in_dim(values, 0, common, axis=axis) + jax.lax.slice_in_dim(saved, 0, common, axis=axis)
    return jnp.concatenate([first, jax.lax.slice_in_dim(values, common, own, axis=axis)], axis)


def _at_least_float32(values: jax.Array) -> jax.Array:
    # not `jnp.promote_types`, which refuses under strict promotion
    return values if values.dtype == jnp.float64 else values.astype(jnp.float32)


def build_network(spec: ZooSpec, *, activation: str | None = None, initialization: str | None = None) -> Network:
    """The Flax module of a zoo's members.

    `activation` says whose, in a zoo that has several; without it such a zoo raises InputError.
    """
    if spec.network is not None:
        raise InputError(f"zoo {spec.name!r}: its network is the module {spec.network.name}, expected a call of that")
    activations = spec.values("activation")
    if activation is None and len(activations) > 1:
        known = ", ".join(activations)
        raise InputError(f"zoo {spec.name!r}: activation is not given, expected one of: {known}")
    return Network(
        spec.layers,
        spec.dataset.classes,
        activation or activations[0],
        initialization or spec.values("initialization")[0],
        spec.precision,
    )
