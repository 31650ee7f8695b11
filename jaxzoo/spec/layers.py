"""What a network is made of: an architecture is a tuple of layers, and the tuples that have a name.

Everything that depends on the architecture is computed from the tuple: the Flax module of one model, the lanes engine
of many models, the shapes of the parameters, the layout of flattened weights. Parameters carry the layers' names on
disk.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxzoo.errors import require
from jaxzoo.spec.fields import LATER, require_choices, settle_fields
from jaxzoo.spec.module import FlaxModule, ModuleLayer, names_of_layers

MEMBERS_OWN = ""  # stands for the activation function that is a hyperparameter of the model
NAMED_ACTIVATIONS = ("tanh", "relu", "leaky_relu", "sigmoid", "silu", "gelu", "identity")
CHANNELS = ("all", "common")
CLASSES = "classes"  # stands for as many outputs as there are classes


@dataclass(frozen=True)
class Conv:
    """Square convolution with `padding` zeros on each side, with a bias or without.

    Of this and every other layer: one that is given no name is named by its kind and number, such as conv1.
    """

    # no value that is meant is a default, here and below: digests leave defaults out
    name: str = ""
    kernel: int = 0
    features: int = 0
    stride: int = 1
    padding: int = 0
    bias: bool = True

    def __post_init__(self) -> None:
        settle_fields(self)
        for name, least in (("kernel", 1), ("features", 1), ("stride", 1), ("padding", 0)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation per channel, with scale and bias (Ioffe, Szegedy 2015), as `torch.nn.BatchNorm2d`."""

    name: str = ""

    def __post_init__(self) -> None:
        settle_fields(self)


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation (Ba, Kiros, Hinton 2016) over the channels of each position, with scale and bias.

    After a flattening it is over all units of an image, as `torch.nn.LayerNorm` of their number.
    """

    name: str = ""

    def __post_init__(self) -> None:
        settle_fields(self)


@dataclass(frozen=True)
class MaxPool:
    """Maximum of `window` x `window` positions, every `stride` positions; without a stride, windows stand side by side.

    Windows that would reach over the edge are left out. Without a window it is the maximum of each channel over all
    positions: (height, width, channels) to (channels,).
    """

    window: int | None = field(default=2, metadata=LATER)
    stride: int | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        settle_fields(self)
        _check_window(self)


@dataclass(frozen=True)
class MeanPool:
    """Mean of `window` x `window` positions, as `MaxPool`; without a window, of each channel over all positions."""

    window: int | None = field(default=None, metadata=LATER)
    stride: int | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        settle_fields(self)
        _check_window(self)


@dataclass(frozen=True)
class Activation:
    """The activation function of that name; without one that of the model, which is a hyperparameter."""

    TAG: ClassVar[str] = "Activate"  # as zoos on disk have called it since the first one

    function: str = field(default=MEMBERS_OWN, metadata=LATER)

    def __post_init__(self) -> None:
        settle_fields(self)
        if self.function != MEMBERS_OWN:
            require_choices("function", (self.function,), NAMED_ACTIVATIONS)


@dataclass(frozen=True)
class Dropout:
    """Dropout, whose rate is a hyperparameter of the model; `index` counts the dropout layers of a network.

    The index is part of what random numbers are drawn from, so that two layers never drop the same units. A layer that
    is given none is counted by its architecture.
    """

    index: int = -1

    def __post_init__(self) -> None:
        settle_fields(self)
        require(self.index >= -1, "index", self.index, "0 or more")


@dataclass(frozen=True)
class Flatten:
    """(height, width, channels) to one axis, in this order (PyTorch's is channels, height, width)."""


@dataclass(frozen=True)
class Dense:
    """Linear layer with a bias or without; `features` are its outputs. None, or "classes", is one for each class."""

    name: str = ""
    features: int | None = 0
    bias: bool = field(default=True, metadata=LATER)

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            require_choices("features", (self.features,), (CLASSES,))
            object.__setattr__(self, "features", None)
        settle_fields(self)
        require(self.features is None or self.features >= 1, "features", self.features, f"1 or more, or {CLASSES!r}")


@dataclass(frozen=True)
class Residual:
    """The sum of two chains of layers that read one input. An empty `shortcut` passes the input on."""

    main: "Layers" = ()
    shortcut: "Layers" = ()

    def __post_init__(self) -> None:
        settle_fields(self)
        require(len(self.main) > 0, "main", self.main, "at least one layer")


@dataclass(frozen=True)
class Save:
    """Keeps what it gets under its name, for an `Add` behind it, and passes it on."""

    name: str = ""

    def __post_init__(self) -> None:
        settle_fields(self)
        require(self.name != "", "name", self.name, "a name, which an Add says")


@dataclass(frozen=True)
class Add:
    """The sum of what it gets and of what the `Save` of that name kept.

    Both have the same shape; where `channels` is "common", they may differ in their channels, and what was kept is
    added to the first channels, as many as both have.
    """

    name: str = ""
    channels: str = "all"

    def __post_init__(self) -> None:
        settle_fields(self)
        require(self.name != "", "name", self.name, "the name of a Save")
        require_choices("channels", (self.channels,), CHANNELS)


def _check_window(layer: Any) -> None:
    for name in ("window", "stride"):
        value = getattr(layer, name)
        require(value is None or value >= 1, name, value, "1 or more")
    require(layer.window is not None or layer.stride is None, "stride", layer.stride, "none without a window")


Named = Conv | BatchNorm | LayerNorm | Dense  # the layers that have variables
Layer = Named | MaxPool | MeanPool | Activation | Dropout | Flatten | Residual | Save | Add | ModuleLayer
Layers = tuple[Layer, ...]

CNN_S: Layers = (
    *(Conv("conv1", 5, 8), MaxPool(), Activation(), Dropout(0)),
    *(Conv("conv2", 5, 6), MaxPool(), Activation(), Dropout(1)),
    *(Conv("conv3", 2, 4), Activation()),
    Flatten(),
    *(Dense("dense1", 20), Activation(), Dropout(2)),
    Dense("dense2", None),
)
CNN_L: Layers = (
    *(Conv("conv1", 3, 16), MaxPool(), Activation(), Dropout(0)),
    *(Conv("conv2", 3, 32), MaxPool(), Activation(), Dropout(1)),
    *(Conv("conv3", 3, 15), MaxPool(), Activation(), Dropout(2)),
    Flatten(),
    *(Dense("dense1", 20), Activation(), Dropout(3)),
    Dense("dense2", None),
)

# of the Small CNN Zoo (Unterthiner et al. 2020): 4,970 parameters with one channel and ten classes
SMALL_CNN_ZOO: Layers = (
    *(Conv("conv1", 3, 16, stride=2), Activation(), Dropout(0)),
    *(Conv("conv2", 3, 16, stride=2), Activation(), Dropout(1)),
    *(Conv("conv3", 3, 16, stride=2), Activation(), Dropout(2)),
    MeanPool(),
    Dense("dense", None),
)


def resnet_18(width: int) -> Layers:
    """ResNet-18 for small images (He et al. 2016): stages of `width`, 2, 4 and 8 times as many channels.

    A stem of one 3 x 3 convolution with stride 1 and no pooling; names as in torchvision, with _ for dots.
    """
    layers: list[Layer] = [Conv("conv1", 3, width, padding=1, bias=False), BatchNorm("bn1"), Activation()]
    before = width
    for stage in range(4):
        features = width * 2**stage
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            layers += [_basic_block(f"layer{stage + 1}_{block}", before, features, stride), Activation()]
            before = features
    return (*layers, MeanPool(), Dense("fc", None))


def _basic_block(name: str, before: int, features: int, stride: int) -> Residual:
    main = (
        *(Conv(f"{name}_conv1", 3, features, stride, padding=1, bias=False), BatchNorm(f"{name}_bn1"), Activation()),
        *(Conv(f"{name}_conv2", 3, features, padding=1, bias=False), BatchNorm(f"{name}_bn2")),
    )
    if stride == 1 and before == features:
        return Residual(main, ())
    shortcut = Conv(f"{name}_downsample_0", 1, features, stride, bias=False), BatchNorm(f"{name}_downsample_1")
    return Residual(main, shortcut)


LAYERS: Mapping[str, Layers] = {
    "cnn-s": CNN_S,
    "cnn-l": CNN_L,
    "resnet-18": resnet_18(64),
    "resnet-18-narrow": resnet_18(8),
    "small-cnn-zoo": SMALL_CNN_ZOO,
}


def each_layer(layers: Layers) -> Iterator[Layer]:
    """Yields every layer in order; a residual yields the layers of its main chain, then those of its shortcut."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from each_layer(layer.main)
            yield from each_layer(layer.shortcut)
        else:
            yield layer


def weight_layers(layers: Layers) -> tuple[Conv | Dense, ...]:
    """The layers that have weights, in order."""
    return tuple(layer for layer in each_layer(layers) if isinstance(layer, Conv | Dense))


def norm_layers(layers: Layers) -> tuple[BatchNorm, ...]:
    """The layers that keep running batch statistics, in order."""
    return tuple(layer for layer in each_layer(layers) if isinstance(layer, BatchNorm))


def module_of(layers: Layers) -> FlaxModule | None:
    """The module that the whole network is, None for a network of layers."""
    first = layers[0]
    return first.network if isinstance(first, ModuleLayer) else None


def weight_names(layers: Layers) -> tuple[str, ...]:
    """The names that metrics have for the layers with weights, in order."""
    module = module_of(layers)
    return tuple(layer.name for layer in weight_layers(layers)) if module is None else names_of_layers(module.kernels)


def keeps_statistics(layers: Layers) -> bool:
    """Whether such networks keep running batch statistics."""
    module = module_of(layers)
    return len(norm_layers(layers)) > 0 if module is None else module.keeps_statistics


def variance_name(name: str) -> str:
    """The name of the parameters that give the variance of a layer's outputs, beside the layer's own."""
    return f"{name}_variance"
