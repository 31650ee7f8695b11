"""Networks as state dicts of PyTorch: the names, the order and the shapes of the tensors, and the way there and back.

The names are those of the code that made the original zoos (Schuerholt et al., "Model Zoos", NeurIPS 2022). A chain of
layers is a `module_list` there, in which a tensor is named by the position of its layer. Residual networks have the
names of torchvision. Arrays are only turned and reshaped, so that no bit of a weight changes. Arrays are "stacked"
where their first axis is the model.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.models.variables import each_leaf
from jaxzoo.spec.layers import (
    LAYERS,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    Layers,
    MaxPool,
    MeanPool,
    Named,
    Residual,
    Save,
    each_layer,
    weight_layers,
)
from jaxzoo.spec.shapes import shape_after

Shape = tuple[int, ...]

SIZES = (28, 32, 64, 8, 16)  # of images, in the order in which they are tried where nobody says the size
AVERAGED = 32  # the likeliest size where a network averages over positions, as those of CIFAR-10

# by the number of axes, which axis of Flax's array comes where: PyTorch has outputs first, then channels, then pixels
ORDERS: Mapping[int, Shape] = {0: (), 1: (0,), 2: (1, 0), 3: (2, 0, 1), 4: (3, 2, 0, 1)}

BATCH_NORM_TENSORS = (
    ("weight", "params", "scale"),
    ("bias", "params", "bias"),
    ("running_mean", "batch_stats", "mean"),
    ("running_var", "batch_stats", "var"),
)
LAYER_NORM_TENSORS = BATCH_NORM_TENSORS[:2]
BATCHES = "num_batches_tracked"  # PyTorch's count of the batches that moved the running statistics; int64


class TorchEntry(NamedTuple):
    """A tensor of a state dict, and the variable of Flax that it holds.

    `collection` and `path` say the variable; they are None and () for the count of batches. `shape` is that of the
    tensor, `flax_shape` that of the variable. `unfolded` is `flax_shape` with an axis each for height, width and
    channels where the variable has one axis for all three, as a dense layer behind `Flatten` has.
    """

    name: str
    collection: str | None
    path: tuple[str, ...]
    shape: Shape
    flax_shape: Shape
    unfolded: Shape


class TorchArchitecture(NamedTuple):
    """What a state dict is of: an architecture of `LAYERS`, images (H, W, C), classes, and whether dropout counts."""

    name: str
    image: tuple[int, int, int]
    classes: int
    counts_dropout: bool

    def entries(self) -> tuple[TorchEntry, ...]:
        """The tensors of the state dict."""
        return torch_entries(LAYERS[self.name], self.classes, self.image, counts_dropout=self.counts_dropout)


def counts_dropout(layers: Layers, rate: float) -> bool:
    """Whether dropout layers count among the modules of a member that has this dropout rate.

    The original's CNN-l always has its dropout modules. Its CNN-s has them where the member's rate is above 0.
    """
    return layers == LAYERS["cnn-l"] or rate > 0


def is_chain(layers: Layers) -> bool:
    """Whether tensors are named by position, as in the original's CNNs, and not as in torchvision."""
    return not any(isinstance(layer, Residual | BatchNorm | Save | Add) for layer in layers)


def dotted(name: str) -> str:
    """The name that torchvision gives a layer."""
    return name.replace("_", ".")


def counted_layers(layers: Layers, *, counts_dropout: bool) -> Layers:
    """The layers that are modules of the original's `module_list`."""
    return tuple(layer for layer in layers if counts_dropout or not isinstance(layer, Dropout))


def module_names(layers: Layers, *, counts_dropout: bool) -> dict[str, str]:
    """The names of the modules that have tensors, by the names of their layers.

    >>> from jaxzoo.spec.layers import CNN_S
    >>> module_names(CNN_S, counts_dropout=False)["dense1"], module_names(CNN_S, counts_dropout=True)["dense1"]
    ('module_list.9', 'module_list.11')
    """
    if not is_chain(layers):
        return {layer.name: dotted(layer.name) for layer in each_layer(layers) if isinstance(layer, Named)}
    counted = counted_layers(layers, counts_dropout=counts_dropout)
    return {layer.name: f"module_list.{n}" for n, layer in enumerate(counted) if isinstance(layer, Named)}


def torch_entries(layers: Layers, classes: int, image: Shape, *, counts_dropout: bool) -> tuple[TorchEntry, ...]:
    """The tensors of a network for images (H, W, C), in the order of its modules, the weight of each before its bias.

    Raises InputError for images that are too small.
    """
    names = module_names(layers, counts_dropout=counts_dropout)
    kernels, _ = _kernels(layers, image, classes, by_channels=is_chain(layers))
    return tuple(entry for layer, unfolded in kernels for entry in _entries_of(names[layer.name], layer, unfolded))


def _kernels(
    layers: Layers, shape: Shape, classes: int, *, by_channels: bool, flat: bool = False
) -> tuple[list[tuple[Named, Shape]], Shape]:
    """The layers that have variables, in order, each with the unfolded shape of its kernel; and the shape of the
    values behind the layers, from the shape before them.

    In a chain, whose modules flatten as PyTorch does, `by_channels`, values keep their height and width through
    `Flatten`, for the layers behind it to know them; `flat` says whether they are behind one. Other networks flatten as
    here: a sum of flattened values and of a layer's outputs has its units in one order.
    """
    kernels: list[tuple[Named, Shape]] = []
    for layer in layers:
        match layer:
            case Conv(_, side, features):
                kernels.append((layer, (side, side, shape[-1], features)))
                shape = shape_after((layer,), shape, classes)
            case BatchNorm() | LayerNorm():
                kernels.append((layer, shape if flat else shape[-1:]))
            case Flatten():
                shape, flat = shape if by_channels else shape_after((layer,), shape, classes), True
            case MaxPool() | MeanPool():
                shape = shape_after((layer,), shape, classes)
            case Dense(_, features):
                outputs = features or classes
                kernels.append((layer, (*shape, outputs)))
                shape, flat = (outputs,), True
            case Residual(main, shortcut):
                inner, after = _kernels(main, shape, classes, by_channels=by_channels, flat=flat)
                kernels += inner + _kernels(shortcut, shape, classes, by_channels=by_channels, flat=flat)[0]
                shape = after
    return kernels, shape


def _entries_of(name: str, layer: Named, unfolded: Shape) -> Iterator[TorchEntry]:
    outputs = unfolded[-1:]
    if isinstance(layer, BatchNorm | LayerNorm):
        flat = (math.prod(unfolded),)
        for tensor, collection, kind in BATCH_NORM_TENSORS if isinstance(layer, BatchNorm) else LAYER_NORM_TENSORS:
            yield TorchEntry(f"{name}.{tensor}", collection, (layer.name, kind), flat, flat, unfolded)
        if isinstance(layer, BatchNorm):
            yield TorchEntry(f"{name}.{BATCHES}", None, (), (), (), ())
        return
    if isinstance(layer, Dense):
        inputs = math.prod(unfolded[:-1])
        shape, flax_shape = (*outputs, inputs), (inputs, *outputs)
    else:
        shape, flax_shape = tuple(unfolded[axis] for axis in ORDERS[4]), unfolded
    yield TorchEntry(f"{name}.weight", "params", (layer.name, "kernel"), shape, flax_shape, unfolded)
    if layer.bias:
        yield TorchEntry(f"{name}.bias", "params", (layer.name, "bias"), *(outputs,) * 3)


def to_torch_layout(entry: TorchEntry, stacked: Any) -> Any:
    """A stacked variable (models, *flax_shape) as the stacked tensor (models, *shape)."""
    order = ORDERS[len(entry.unfolded)]
    turned = stacked.reshape(len(stacked), *entry.unfolded).transpose(0, *(1 + axis for axis in order))
    return turned.reshape(len(stacked), *entry.shape)


def to_flax_layout(entry: TorchEntry, stacked: Any) -> Any:
    """A stacked tensor (models, *shape) as the stacked variable (models, *flax_shape): the way back, exactly."""
    order = ORDERS[len(entry.unfolded)]
    turned = stacked.reshape(len(stacked), *(entry.unfolded[axis] for axis in order))
    back = turned.transpose(0, *(1 + order.index(axis) for axis in range(len(order))))
    return back.reshape(len(stacked), *entry.flax_shape)


def state_of_variables(
    entries: Sequence[TorchEntry], variables: Mapping[str, Any], batches: int
) -> dict[str, np.ndarray]:
    """The stacked tensors of stacked variables, by name, in order; `batches` is what the counts of batches say.

    Raises InputError for a variable that is missing or of another shape.
    """
    leaves = dict(each_leaf(variables))
    held = {entry: leaves.get(_variable_of(entry)) for entry in entries if entry.collection}
    for entry, leaf in held.items():
        _check_shape(" ".join(_variable_of(entry)), leaf, entry.flax_shape)
    models = _models({" ".join(_variable_of(entry)): leaf for entry, leaf in held.items()})
    return {
        entry.name: to_torch_layout(entry, held[entry]) if entry in held else np.full(models, batches, np.int64)
        for entry in entries
    }


def variables_of_state(entries: Sequence[TorchEntry], state: Mapping[str, Any]) -> dict[str, Any]:
    """The stacked variables of stacked tensors, nested as Flax nests them under "params" and "batch_stats".

    Raises InputError for a tensor that is missing, unexpected or of another shape.
    """
    for name in state.keys() - {entry.name for entry in entries}:
        got = f"{name} is unexpected, of shape {np.shape(state[name])}"
        raise InputError(f"{got}; expected the {len(entries)} tensors {entries[0].name} to {entries[-1].name}")
    for entry in entries:
        _check_shape(entry.name, state.get(entry.name), entry.shape)
    _models(state)
    variables: dict[str, Any] = {}
    for entry in entries:
        if entry.collection:
            layer, kind = entry.path
            inner = variables.setdefault(entry.collection, {}).setdefault(layer, {})
            inner[kind] = to_flax_layout(entry, state[entry.name])
    return variables


def _variable_of(entry: TorchEntry) -> tuple[str, ...]:
    return (str(entry.collection), *entry.path)


def _check_shape(name: str, stacked: Any, shape: Shape) -> None:
    if stacked is None or len(np.shape(stacked)) == 0 or np.shape(stacked)[1:] != shape:
        got = "missing" if stacked is None else f"of shape {np.shape(stacked)}"
        raise InputError(f"{name} is {got}, expected ({', '.join(map(str, ('models', *shape)))})")


def _models(stacked: Mapping[str, Any]) -> int:
    """The number of models, which all arrays share. Raises InputError where they do not."""
    (first, array), *others = stacked.items()
    for name, other in others:
        if len(other) != len(array):
            raise InputError(f"{name} is of {len(other)} models, expected {len(array)} as {first} is")
    return len(array)


def find_architecture(shapes: Mapping[str, Sequence[int]], sizes: Sequence[int] = ()) -> TorchArchitecture:
    """What a state dict is of, from the names and shapes of its tensors.

    Images are of the first of the `sizes`, and after them of SIZES, that fits. A network that averages over positions,
    such as a ResNet, fits all of them: it is taken to be one for 32 pixels, unless the `sizes` are others. Raises
    InputError where no architecture fits.
    """
    wanted = {name: tuple(shape) for name, shape in shapes.items()}
    for name, layers in LAYERS.items():
        ways = sorted({counts_dropout(layers, rate) for rate in (0.0, 0.5)})
        likely = dict.fromkeys((*sizes, *SIZES))
        if Flatten() not in layers and (AVERAGED in sizes or not sizes):
            likely = dict.fromkeys((AVERAGED, *likely))
        for pixels, counted in itertools.product(likely, ways):
            found = _architecture(name, pixels, counted, wanted)
            if found is not None and {entry.name: entry.shape for entry in found.entries()} == wanted:
                return found
    first = ", ".join(f"{name} {shape}" for name, shape in itertools.islice(wanted.items(), 2)) or "none"
    raise InputError(
        f"a state dict of {len(wanted)} tensors (the first: {first}) fits no architecture for images of "
        f"{', '.join(map(str, dict.fromkeys((*sizes, *SIZES))))} pixels, expected one of: {', '.join(LAYERS)}"
    )


def _architecture(name: str, size: int, counted: bool, shapes: Mapping[str, Shape]) -> TorchArchitecture | None:
    """The architecture with the channels of the first weight and the classes of the last; None where none are."""
    layers = LAYERS[name]
    names = module_names(layers, counts_dropout=counted)
    ends = [shapes.get(f"{names[layer.name]}.weight", ()) for layer in weight_layers(layers)]
    if len(ends[0]) < 2 or len(ends[-1]) < 1:
        return None
    try:
        shape_after(layers, (size, size, ends[0][1]), ends[-1][0])
    except InputError:
        return None
    return TorchArchitecture(name, (size, size, ends[0][1]), ends[-1][0], counted)
