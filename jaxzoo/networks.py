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
from jax.extend.random import threefry2x32_p

from jaxzoo.errors import InputError
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


class DropoutDraw(NamedTuple):
    """What dropout in one training step needs: a member's rate, (), and its key of that step; for M members, (M,).

    `first` is the place in its batch of the first image at hand.
    """

    rate: Array
    key: jax.Array
    first: Array | int = 0


def dropout_noise(key: jax.Array, draw: int, shape: tuple[int, ...], first: Array | int = 0) -> jax.Array:
    """Uniform integers of 16 bits, shape + key.shape: what each member draws at one dropout of one step.

    Threefry of the counter (draw, place), four numbers from a block of 64 bits; `jax.random.bits` would take a block
    for each. A member's numbers are the same alone, under `jax.vmap`, and here with many keys at once; an image's are
    the same with a whole batch and with a part of it that begins at its image `first`.
    """
    words = jnp.moveaxis(jax.random.key_data(key), -1, 0)
    images, size = shape[0], math.prod(shape[1:])
    blocks = -(-size // 4)  # of an image
    place = jnp.arange(images * blocks, dtype=jnp.uint32) + jnp.uint32(first) * jnp.uint32(blocks)
    place = place.reshape(images, blocks, *(1,) * key.ndim)
    drawn = threefry2x32_p.bind(*jnp.broadcast_arrays(*words, jnp.uint32(draw), place))
    halves = [half for word in drawn for half in (word & 0xFFFF, word >> 16)]
    noise = jnp.stack(halves, axis=2).reshape(images, 4 * blocks, *key.shape)
    return noise[:, :size].reshape(*shape, *key.shape)


def drop_out(values: jax.Array, noise: jax.Array, rate: Array) -> jax.Array:
    """Zero where the noise falls below `rate`, else values / (1 - rate). Shape-preserving; rate broadcasts."""
    kept = noise.astype(jnp.float32) >= jnp.round(rate * 2.0**16)
    return jnp.where(kept, values * (1 / (1 - rate)), 0.0)


class CNN(nn.Module):
    """The Flax module of a layer tuple: normalised images (B, H, W, C) to logits (B, classes).

    >>> logits = CNN(CNN_S, classes=10, activation="tanh").apply({"params": params}, images)
    """

    layers: tuple[Layer, ...]
    classes: int
    activation: str
    initialization: str = "kaiming_uniform"  # of interest to init alone

    @nn.compact
    def __call__(self, images: jax.Array, dropout: DropoutDraw | None = None) -> jax.Array:
        """Logits; without `dropout` in evaluation mode."""
        values = images
        for layer in self.layers:
            values = self._apply_layer(layer, values, dropout)
        return values

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
                return drop_out(values, dropout_noise(dropout.key, draw, values.shape, dropout.first), dropout.rate)


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
    names = [layer.name for layer in layers if isinstance(layer, Conv | Dense)]
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
