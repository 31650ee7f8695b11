"""The shapes of values on their way through an architecture, for one image, without the axis of the batch."""

from typing import NamedTuple

from jaxzoo.errors import InputError
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
)
from jaxzoo.spec.module import ModuleLayer

Shape = tuple[int, ...]  # (height, width, channels), or (units,)


def check_shapes(layers: Layers, image: Shape, classes: int) -> None:
    """Raises InputError, which names the layer and the shape it gets, where images (H, W, C) do not go through."""
    last = shape_after(layers, image, classes)
    if last != (classes,):
        raise InputError(f"layer {label(layers[-1])} gives {last}, expected ({classes},): an output for each class")


def shape_after(layers: Layers, shape: Shape, classes: int) -> Shape:
    """The shape behind the layers, from that before them. Raises InputError where one of them cannot take its own."""
    return _through(layers, shape, classes, {}, [])


class Passage(NamedTuple):
    """A layer and the shapes before and behind it."""

    layer: Layer
    before: Shape
    after: Shape


def passages(layers: Layers, shape: Shape, classes: int) -> list[Passage]:
    """What every layer does to the shape, in order; a residual stands behind the layers of both its chains."""
    passed: list[Passage] = []
    _through(layers, shape, classes, {}, passed)
    return passed


def label(layer: Layer) -> str:
    """A layer as an error line calls it: by its name, else by its kind."""
    return getattr(layer, "name", "") or type(layer).__name__


def _through(layers: Layers, shape: Shape, classes: int, kept: dict[str, Shape], passed: list[Passage]) -> Shape:
    for layer in layers:
        before, shape = shape, _after(layer, shape, classes, kept, passed)
        passed.append(Passage(layer, before, shape))
    return shape


def _after(layer: Layer, shape: Shape, classes: int, kept: dict[str, Shape], passed: list[Passage]) -> Shape:
    match layer:
        case Conv():
            return (*_windows(layer, shape, layer.kernel, layer.stride, layer.padding), layer.features)
        case MaxPool(window, stride) | MeanPool(window, stride):
            if window is None:
                _require_axes(layer, shape, 3)
                return shape[-1:]
            return (*_windows(layer, shape, window, stride or window, 0), shape[-1])
        case Flatten():
            _require_axes(layer, shape, 3)
            return (shape[0] * shape[1] * shape[2],)
        case Dense(_, features):
            if len(shape) != 1:
                raise _wrong(layer, shape, "one axis: a flatten or a global pool before it")
            return (classes if features is None else features,)
        case Residual(main, shortcut):
            ends = [_through(chain, shape, classes, kept, passed) for chain in (main, shortcut)]
            if ends[0] != ends[1]:
                raise _wrong(layer, ends[0], f"the shape of its shortcut, {ends[1]}", "adds")
            return ends[0]
        case Save(name):
            kept[name] = shape
        case Add(name, channels):
            before = kept.get(name)
            if before is None:
                raise InputError(f"layer {name} is added before it is saved, expected a save in front of it")
            if before[:-1] != shape[:-1] or (channels == "all" and before != shape):
                raise _wrong(layer, shape, f"the shape that was saved, {before}", "adds to")
        case ModuleLayer():
            return (classes,)  # what it takes and gives was seen when it was described
        case BatchNorm() | LayerNorm() | Activation() | Dropout():
            pass
    return shape


def _windows(layer: Layer, shape: Shape, window: int, stride: int, padding: int) -> Shape:
    """Height and width after a window has gone over them."""
    _require_axes(layer, shape, 3)
    sizes = [(size + 2 * padding - window) // stride + 1 for size in shape[:2]]
    if min(sizes) < 1:
        raise _wrong(layer, shape, f"larger images: its window is {window} x {window}")
    return tuple(sizes)


def _require_axes(layer: Layer, shape: Shape, axes: int) -> None:
    if len(shape) != axes:
        raise _wrong(layer, shape, "height, width and channels")


def _wrong(layer: Layer, shape: Shape, wanted: str, verb: str = "gets") -> InputError:
    return InputError(f"layer {label(layer)} {verb} {shape}, expected {wanted}")
