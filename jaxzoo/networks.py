"""ONE model: the layers of each architecture, and its Flax module with the initialisers.

An architecture is written once, as a tuple of layers. The Flax module here (one model) and the lanes engine (many
models) are both read off that tuple, and parameters carry its names on disk.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.noise import normal_noise, uniform_noise
from jaxzoo.spec import DatasetSpec, ZooSpec

Array = jax.Array | np.ndarray  # on a device, or on the host
Params = dict[str, dict[str, jax.Array]]


@dataclass(frozen=True)
class Conv:
    """Square convolution with stride 1, without padding, with a bias."""

    name: str
    kernel: int
    features: int


@dataclass(frozen=True)
class MaxPool:
    """Maximum of 2 x 2 windows with stride 2; a last odd row or column is left out."""


@dataclass(frozen=True)
class Activate:
    """The member's activation function."""


@dataclass(frozen=True)
class Dropout:
    """Dropout with the member's rate; `draw` numbers the places where a network drops out."""

    draw: int


@dataclass(frozen=True)
class Flatten:
    """(height, width, channels) to one axis, in this order (PyTorch's is channels, height, width)."""


@dataclass(frozen=True)
class Dense:
    """Linear layer with a bias; None features: one per class."""

    name: str
    features: int | None


Layer = Conv | MaxPool | Activate | Dropout | Flatten | Dense

CNN_S: tuple[Layer, ...] = (
    *(Conv("conv1", 5, 8), MaxPool(), Activate(), Dropout(0)),
    *(Conv("conv2", 5, 6), MaxPool(), Activate(), Dropout(1)),
    *(Conv("conv3", 2, 4), Activate()),
    Flatten(),
    *(Dense("dense1", 20), Activate(), Dropout(2)),
    Dense("dense2", None),
)
CNN_L: tuple[Layer, ...] = (
    *(Conv("conv1", 3, 16), MaxPool(), Activate(), Dropout(0)),
    *(Conv("conv2", 3, 32), MaxPool(), Activate(), Dropout(1)),
    *(Conv("conv3", 3, 15), MaxPool(), Activate(), Dropout(2)),
    Flatten(),
    *(Dense("dense1", 20), Activate(), Dropout(3)),
    Dense("dense2", None),
)
LAYERS = {"cnn-s": CNN_S, "cnn-l": CNN_L}

ACTIVATION_FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.01),
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
}

# PyTorch's torch.nn.init with default arguments; kaiming_* are plain, not truncated, and count the fan in.
KERNEL_INITIALIZERS: dict[str, Callable[..., jax.Array]] = {
    "uniform": jax.nn.initializers.uniform(1.0),
    "normal": jax.nn.initializers.normal(1.0),
    "kaiming_uniform": jax.nn.initializers.variance_scaling(2.0, "fan_in", "uniform"),
    "kaiming_normal": jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "xavier_uniform": jax.nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
    "xavier_normal": jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal"),
}
INITIAL_BIAS = 0.01
SMALLEST_VARIANCE = 1e-8


class DropoutDraw(NamedTuple):
    """What dropout in one training step needs: a member's rate, (), and its key of that step; for M members, (M,).

    `first` is the place in its batch of the first image at hand.
    """

    rate: Array
    key: jax.Array
    first: Array | int = 0


def drop_out(values: jax.Array, noise: jax.Array, rate: Array) -> jax.Array:
    """Zero where the noise falls below `rate`, else values / (1 - rate). Shape-preserving; rate broadcasts."""
    kept = noise.astype(jnp.float32) >= jnp.round(rate * 2.0**16)
    return jnp.where(kept, values * (1 / (1 - rate)), 0.0)


def sample(mean: jax.Array, variance: jax.Array, noise: jax.Array) -> jax.Array:
    """Normal values of that mean and variance from standard normal noise. Shape-preserving.

    The local reparametrisation (Kingma, Salimans, Welling 2015, eq. 6); the variance is raised by 1e-8, or its root
    would have no gradient at 0.
    """
    return mean + jnp.sqrt(variance + SMALLEST_VARIANCE) * noise


class SamplingDraw(NamedTuple):
    """What sampling activations in one training step needs: a member's key of that step, (), or (M,) keys.

    `first` is the place in its batch of the first image at hand.
    """

    key: jax.Array
    first: Array | int = 0


class CNN(nn.Module):
    """The Flax module of a layer tuple: normalised images (B, H, W, C) to logits (B, classes).

    >>> logits = CNN(CNN_S, classes=10, activation="tanh").apply({"params": params}, images)
    """

    layers: tuple[Layer, ...]
    classes: int
    activation: str
    initialization: str = "kaiming_uniform"  # of interest to init alone

    @nn.compact
    def __call__(
        self, images: jax.Array, dropout: DropoutDraw | None = None, sampling: SamplingDraw | None = None
    ) -> jax.Array:
        """Logits; without `dropout` in evaluation mode.

        With `sampling`, layers with parameters are drawn from their mean and variance (see `sample`): the variance
        comes from the squares of their input and parameters of a layer called `<name>_variance`.
        """
        values = images
        for layer in self.layers:
            outputs = self._apply_layer(layer, values, dropout)
            if sampling is not None and isinstance(layer, Conv | Dense):
                draw = weight_layers(self.layers).index(layer)
                noise = normal_noise(sampling.key, draw, outputs.shape, sampling.first)
                outputs = sample(outputs, self._variance(layer, values), noise)
            values = outputs
        return values

    def _variance(self, layer: Conv | Dense, values: jax.Array) -> jax.Array:
        name = variance_name(layer.name)
        if isinstance(layer, Conv):
            return nn.Conv(layer.features, (layer.kernel, layer.kernel), padding="VALID", name=name)(values**2)
        return nn.Dense(layer.features or self.classes, use_bias=False, name=name)(values**2)

    def _apply_layer(self, layer: Layer, values: jax.Array, dropout: DropoutDraw | None) -> jax.Array:
        initializers: dict[str, Any] = {
            "kernel_init": KERNEL_INITIALIZERS[self.initialization],
            "bias_init": nn.initializers.constant(INITIAL_BIAS),
        }
        match layer:
            case Conv(name, kernel, features):
                return nn.Conv(features, (kernel, kernel), padding="VALID", name=name, **initializers)(values)
            case Dense(name, features):
                return nn.Dense(features or self.classes, name=name, **initializers)(values)
            case MaxPool():
                return nn.max_pool(values, (2, 2), (2, 2))
            case Activate():
                return ACTIVATION_FUNCTIONS[self.activation](values)
            case Flatten():
                return values.reshape(values.shape[0], -1)
            case Dropout(draw):
                if dropout is None:
                    return values
                return drop_out(values, uniform_noise(dropout.key, draw, values.shape, dropout.first), dropout.rate)


def weight_layers(layers: tuple[Layer, ...]) -> tuple[Conv | Dense, ...]:
    """The layers that have parameters, in their order."""
    return tuple(layer for layer in layers if isinstance(layer, Conv | Dense))


def variance_name(name: str) -> str:
    """What the parameters are called that give the variance of a layer's outputs."""
    return f"{name}_variance"


def build_network(spec: ZooSpec, *, activation: str | None = None, initialization: str | None = None) -> CNN:
    """The Flax module of a zoo's members.

    In a zoo with several activations the module needs to be told which. Raises InputError otherwise, and for an
    architecture whose layers are not there yet.
    """
    if activation is None and len(spec.grid.activation) > 1:
        known = ", ".join(spec.grid.activation)
        raise InputError(f"zoo {spec.name!r}: activation is not given, expected one of: {known}")
    layers = architecture_layers(spec.architecture)
    return CNN(
        layers,
        spec.dataset.classes,
        activation or spec.grid.activation[0],
        initialization or spec.grid.initialization[0],
    )


def architecture_layers(architecture: str) -> tuple[Layer, ...]:
    """The layer tuple of an architecture. Raises InputError for one that can be planned but not trained yet."""
    if architecture not in LAYERS:
        wanted = " or ".join(LAYERS)
        raise InputError(f"architecture {architecture!r} cannot be trained yet, expected {wanted}")
    return LAYERS[architecture]


@functools.cache
def parameter_shapes(architecture: str, dataset: DatasetSpec) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shape of every parameter of one model, by layer and kind, in the order of the layers."""
    layers = architecture_layers(architecture)
    image = jax.ShapeDtypeStruct((1, dataset.size, dataset.size, dataset.channels), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    tree = jax.eval_shape(CNN(layers, dataset.classes, "tanh").init, key, image)["params"]
    names = [layer.name for layer in weight_layers(layers)]
    return {name: {kind: tree[name][kind].shape for kind in ("kernel", "bias")} for name in names}


def parameter_count(architecture: str, dataset: DatasetSpec) -> int:
    """Parameters of one model.

    >>> parameter_count("cnn-s", load_spec("mnist-seed").dataset)
    2464
    """
    if architecture == "resnet-18":  # its convolutions and batch norms, and a dense layer on 512 features
        return 11_168_832 + (512 + 1) * dataset.classes
    shapes = jax.tree.leaves(parameter_shapes(architecture, dataset), is_leaf=lambda leaf: isinstance(leaf, tuple))
    return sum(math.prod(shape) for shape in shapes)
