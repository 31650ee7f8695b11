"""Floating-point operations of training, from an architecture's layers."""

import math

from jaxzoo.models.networks import parameter_shapes
from jaxzoo.spec.layers import Conv, Dense, Flatten, MaxPool, architecture_layers
from jaxzoo.spec.zoo_spec import DatasetSpec


def training_flops(architecture: str, dataset: DatasetSpec) -> int:
    """Multiplications and additions per training sample: forward, gradient by kernel, gradient by input.

    Convolutions and linear layers alone; the first layer has no gradient by input.
    """
    shapes = parameter_shapes(architecture, dataset)
    side, total, passes = dataset.size, 0, 2
    for layer in architecture_layers(architecture):
        match layer:
            case Conv(name, kernel):
                side -= kernel - 1
                total += passes * 2 * side * side * math.prod(shapes[name]["kernel"])
                passes = 3
            case Dense(name, _):
                total += passes * 2 * math.prod(shapes[name]["kernel"])
            case MaxPool():
                side //= 2
            case Flatten():
                side = 1
    return total
