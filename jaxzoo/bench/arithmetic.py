"""Counts the floating-point operations of training from an architecture's layers."""

import math

from jaxzoo.models.variables import variable_shapes
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.layers import Conv, Dense, Flatten, Layers, MaxPool


def training_flops(layers: Layers, dataset: DatasetSpec) -> int:
    """The multiplications and additions per training sample: forward, gradient by kernel, gradient by input.

    Only convolutions and linear layers are counted.
    """
    shapes = variable_shapes(layers, dataset)["params"]
    side, total = dataset.size, 0
    passes = 2  # the first layer's gradient by input is never computed
    for layer in layers:
        match layer:
            case Conv(name, kernel):
                side -= kernel - 1
                # a multiplication and an addition for each weight at each position
                total += passes * 2 * side * side * math.prod(shapes[name]["kernel"])
                passes = 3
            case Dense(name, _):
                total += passes * 2 * math.prod(shapes[name]["kernel"])
            case MaxPool():
                side //= 2
            case Flatten():
                side = 1
    return total
