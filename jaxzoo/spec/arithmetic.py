"""Counts the floating-point operations of training from an architecture's layers."""

import math

from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.layers import Conv, Dense, Layers
from jaxzoo.spec.shapes import passages


def training_flops(layers: Layers, dataset: DatasetSpec) -> int:
    """The multiplications and additions per training sample: forward, gradient by kernel, gradient by input.

    Only convolutions and linear layers are counted, a tap that meets padding as one that does not.
    """
    image = (dataset.size, dataset.size, dataset.channels)
    total = 0
    passes = 2  # the first layer's gradient by input is never computed
    for layer, before, after in passages(layers, image, dataset.classes):
        if isinstance(layer, Conv | Dense):
            inputs = before[-1] * (layer.kernel**2 if isinstance(layer, Conv) else 1)
            # a multiplication and an addition for each weight at each position
            total += passes * 2 * inputs * math.prod(after)
            passes = 3
    return total
