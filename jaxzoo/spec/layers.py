"""What a network is made of: an architecture is a tuple of layers, and the tuples that have a name.

Everything that depends on the architecture is computed from the tuple: the Flax module of one model, the lanes engine
of many models, the shapes of the parameters, the layout of flattened weights. Parameters carry the layers' names on
disk.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jaxzoo.errors import require
from jaxzoo.spec.fields import settle_fields


@dataclass(frozen=True)
class Conv:
    """Square convolution with `padding` zeros on each side, with a bias or without."""

    name: str
    kernel: int
    features: int
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

    name: str

    def __post_init__(self) -> None:
        settle_fields(self)


@dataclass(frozen=True)
class MaxPool:
    """Maximum of 2 x 2 windows with stride 2; a last odd row or column is left out."""


@dataclass(frozen=True)
class MeanPool:
    """Mean of each channel over all positions: (height, width, channels) to (channels,)."""


@dataclass(frozen=True)
class Activate:
    """The activation function, which is a hyperparameter of the model."""


@dataclass(frozen=True)
class Dropout:
    """Dropout, whose rate is a hyperparameter of the model; `index` counts the dropout layers of a network.

    The index is part of what random numbers are drawn from, so that two layers never drop the same units.
    """

    index: int

    def __post_init__(self) -> None:
        settle_fields(self)


@dataclass(frozen=True)
class Flatten:
    """(height, width, channels) to one axis, in this order (PyTorch's is channels, height, width)."""


@dataclass(frozen=True)
class Dense:
    """Linear layer with a bias. Without `features` it has an output for each class."""

    name: str
    features: int | None

    def __post_init__(self) -> None:
        settle_fields(self)


@dataclass(frozen=True)
class Residual:
    """The sum of two chains of layers that read one input. An empty `shortcut` passes the input on."""

    main: "Layers"
    shortcut: "Layers"

    def __post_init__(self) -> None:
        settle_fields(self)


Layer = Conv | BatchNorm | MaxPool | MeanPool | Activate | Dropout | Flatten | Dense | Residual
Layers = tuple[Layer, ...]

CNN_S: Layers = (
    *(Conv("conv1", 5, 8), MaxPool(), Activate(), Dropout(0)),
    *(Conv("conv2", 5, 6), MaxPool(), Activate(), Dropout(1)),
    *(Conv("conv3", 2, 4), Activate()),
    Flatten(),
    *(Dense("dense1", 20), Activate(), Dropout(2)),
    Dense("dense2", None),
)
CNN_L: Layers = (
    *(Conv("conv1", 3, 16), MaxPool(), Activate(), Dropout(0)),
    *(Conv("conv2", 3, 32), MaxPool(), Activate(), Dropout(1)),
    *(Conv("conv3", 3, 15), MaxPool(), Activate(), Dropout(2)),
    Flatten(),
    *(Dense("dense1", 20), Activate(), Dropout(3)),
    Dense("dense2", None),
)

# of the Small CNN Zoo (Unterthiner et al. 2020): 4,970 parameters with one channel and ten classes
SMALL_CNN_ZOO: Layers = (
    *(Conv("conv1", 3, 16, stride=2), Activate(), Dropout(0)),
    *(Conv("conv2", 3, 16, stride=2), Activate(), Dropout(1)),
    *(Conv("conv3", 3, 16, stride=2), Activate(), Dropout(2)),
    MeanPool(),
    Dense("dense", None),
)


def resnet_18(width: int) -> Layers:
    """ResNet-18 for small images (He et al. 2016): stages of `width`, 2, 4 and 8 times as many channels.

    A stem of one 3 x 3 convolution with stride 1 and no pooling; names as in torchvision, with _ for dots.
    """
    layers: list[Layer] = [Conv("conv1", 3, width, padding=1, bias=False), BatchNorm("bn1"), Activate()]
    before = width
    for stage in range(4):
        features = width * 2**stage
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            layers += [_basic_block(f"layer{stage + 1}_{block}", before, features, stride), Activate()]
            before = features
    return (*layers, MeanPool(), Dense("fc", None))


def _basic_block(name: str, before: int, features: int, stride: int) -> Residual:
    main = (
        *(Conv(f"{name}_conv1", 3, features, stride, padding=1, bias=False), BatchNorm(f"{name}_bn1"), Activate()),
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


def variance_name(name: str) -> str:
    """The name of the parameters that give the variance of a layer's outputs, beside the layer's own."""
    return f"{name}_variance"


def check_layers(layers: Layers, size: int) -> int:
    """The height and width after the layers, from those before. Raises InputError where images are too small."""
    for layer in layers:
        before = size
        if isinstance(layer, Conv):
            size = (size + 2 * layer.padding - layer.kernel) // layer.stride + 1
        elif isinstance(layer, MaxPool):
            size //= 2
        elif isinstance(layer, MeanPool):
            size = 1
        elif isinstance(layer, Residual):
            size = check_layers(layer.main, size)
        name = getattr(layer, "name", type(layer).__name__)
        got = f"{before} x {before} pixels before {name}"
        require(size >= 1, "dataset.size", got, "larger images for this architecture")
    return size
