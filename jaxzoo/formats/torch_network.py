"""The PyTorch modules that are read off a tuple of layers. Importing this file imports PyTorch."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from jaxzoo.models.networks import BATCH_NORM_EPSILON, LAYER_NORM_EPSILON, NEW_SHARE
from jaxzoo.models.torch_names import (
    Shape,
    TorchEntry,
    counted_layers,
    counts_dropout,
    dotted,
    is_chain,
)
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
    Named,
    Residual,
    Save,
    each_layer,
)

ACTIVATION_MODULES: Mapping[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}


class ModuleChain(nn.Module):
    """Modules one after another; `module_list` holds them, as in the original's CNNs."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.module_list = nn.ModuleList(modules)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, C, H, W) to logits (B, classes)."""
        for module in self.module_list:
            values = module(values)
        return values


class ModuleTree(nn.Module):
    """Modules with dotted names, such as layer1.0.conv1, applied in the order of a layer tuple.

    Modules are looked up by name in every call, so that one that a user puts in another's place is used.
    """

    def __init__(self, layers: Layers, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._layers = layers
        for path, module in modules.items():
            inner: nn.Module = self
            *parents, name = path.split(".")
            for parent in parents:
                if not hasattr(inner, parent):
                    inner.add_module(parent, nn.Module())
                inner = inner.get_submodule(parent)
            inner.add_module(name, module)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, C, H, W) to logits (B, classes)."""
        return self._chain(self._layers, values, {})

    def _chain(self, layers: Layers, values: torch.Tensor, saved: dict[str, torch.Tensor]) -> torch.Tensor:
        for layer in layers:
            match layer:
                case Residual(main, shortcut):
                    values = self._chain(main, values, saved) + self._chain(shortcut, values, saved)
                case Save(name):
                    saved[name] = values
                case Add(name):
                    common = min(values.shape[1], saved[name].shape[1])
                    values = torch.cat([values[:, :common] + saved[name][:, :common], values[:, common:]], dim=1)
                case _:
                    values = self.get_submodule(_tree_name(layer))(values)
        return values


class FlattenByPositions(nn.Module):
    """(B, C, H, W) to (B, H * W * C), where PyTorch's own flattening gives (B, C * H * W)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The values, flattened."""
        return values.movedim(1, -1).flatten(1)


class AnyBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of channels (B, C, H, W), or of units (B, C)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The values, normalised."""
        if values.ndim == 2:
            return super().forward(values[..., None, None])[..., 0, 0]
        return super().forward(values)


class AnyLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels (B, C, H, W) of each position, or over units (B, C)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The values, normalised."""
        return super().forward(values.movedim(1, -1)).movedim(-1, 1)


def _tree_name(layer: Layer) -> str:
    """A layer without tensors shares a module with all that are equal: they do the same."""
    if isinstance(layer, Named):
        return dotted(layer.name)
    own = "_".join(str(value) for value in vars(layer).values() if value is not None)
    return f"stateless.{type(layer).__name__}{own if isinstance(layer, MaxPool | MeanPool | Activation) else ''}"


def build_module(layers: Layers, entries: Sequence[TorchEntry], activation: str, dropout: float) -> nn.Module:
    """The module of a member with this activation and dropout rate, without values: its state dict is the `entries`.

    Its parameters are on PyTorch's meta device, which takes no memory and draws no random numbers. The caller loads a
    state dict with `assign=True`.
    """
    shapes = {entry.path[0]: entry.shape for entry in entries if entry.path[-1:] in (("kernel",), ("scale",))}
    with torch.device("meta"):
        if is_chain(layers):
            kept = counted_layers(layers, counts_dropout=counts_dropout(layers, dropout))
            return ModuleChain([_module_of(layer, shapes, activation, dropout) for layer in kept])
        own = [layer for layer in each_layer(layers) if not isinstance(layer, Save | Add)]
        named = {_tree_name(layer): _module_of(layer, shapes, activation, dropout) for layer in own}
        flattened = _tree_name(Flatten())
        if flattened in named:
            named[flattened] = FlattenByPositions()  # see torch_names._kernels
        return ModuleTree(layers, named)


def _module_of(layer: Layer, shapes: Mapping[str, Shape], activation: str, dropout: float) -> nn.Module:
    """The module of one layer. `shapes` has the shape of each layer's weight."""
    match layer:
        case Conv(name, kernel, features, stride, padding, bias):
            return nn.Conv2d(shapes[name][1], features, kernel, stride, padding, bias=bias)
        case Dense(name, _, bias):
            outputs, inputs = shapes[name]
            return nn.Linear(inputs, outputs, bias=bias)
        case BatchNorm(name):
            return AnyBatchNorm(shapes[name][0], eps=BATCH_NORM_EPSILON, momentum=NEW_SHARE)
        case LayerNorm(name):
            return AnyLayerNorm(shapes[name][0], eps=LAYER_NORM_EPSILON)
        case MaxPool(None):
            return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        case MeanPool(None):
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case MaxPool(int(window), stride):
            return nn.MaxPool2d(window, stride)
        case MeanPool(int(window), stride):
            return nn.AvgPool2d(window, stride)
        case Activation(function):
            return ACTIVATION_MODULES[function or activation]()
        case Dropout():
            return nn.Dropout(dropout)
        case Flatten():
            return nn.Flatten()
    raise AssertionError(f"unreachable: {layer}")
