"""Random architectures of all kinds of layers but batch normalisation, for tests of properties."""

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.layers import (
    NAMED_ACTIVATIONS,
    Activation,
    Add,
    Conv,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    MaxPool,
    MeanPool,
    Residual,
    Save,
)
from jaxzoo.spec.shapes import shape_after

IMAGE, CLASSES = (11, 11, 3), 10
MOST_DEPTH = 6


def random_layers(seed, image=IMAGE, classes=CLASSES) -> Architecture:
    """An architecture of 1 to 6 blocks that images (H, W, C) go through. A seed gives the same one every time."""
    draws = np.random.default_rng(seed)
    depth, layers, names = int(draws.integers(1, MOST_DEPTH + 1)), (), iter(f"kept{number}" for number in range(99))
    while depth:
        shape = shape_after(layers, image, classes)
        blocks = IMAGE_BLOCKS if len(shape) == 3 else UNIT_BLOCKS
        block = blocks[draws.integers(len(blocks))](draws, shape, names)
        if _fits((*layers, *block), image, classes):
            layers, depth = (*layers, *block), depth - 1
    if len(shape_after(layers, image, classes)) == 3:
        layers += (_one_of(draws, (Flatten(), MeanPool(), MaxPool(None))),)
    layers += (Dense(features=None, bias=_coin(draws)),)
    return Architecture(name=f"random-{seed}", layers=layers)


def _fits(layers, image, classes) -> bool:
    try:
        return min(shape_after(layers, image, classes)) > 0
    except InputError:
        return False


def _one_of(draws, choices):
    return choices[draws.integers(len(choices))]


def _coin(draws) -> bool:
    return bool(draws.integers(2))


def _conv(draws, shape, names):
    kernel = int(draws.integers(1, 6))
    sizes = {"stride": int(draws.integers(1, 4)), "padding": int(draws.integers(0, kernel + 1))}
    if draws.integers(3) == 0:
        sizes = {}  # the plain ones have kernels of their own
    conv = Conv(kernel=kernel, features=int(draws.integers(2, 7)), bias=_coin(draws), **sizes)
    return conv, *_one_of(draws, ((), (Activation(),), (MaxPool(), Activation())))


def _pool(draws, shape, names):
    kind = _one_of(draws, (MaxPool, MeanPool))
    return (kind(int(draws.integers(1, 4)), _one_of(draws, (None, 1, 2, 3))),)


def _activation(draws, shape, names):
    return (_one_of(draws, (Activation(), Activation(_one_of(draws, NAMED_ACTIVATIONS)))),)


def _dropout(draws, shape, names):
    return (Dropout(),)


def _norm(draws, shape, names):
    if shape[-1] > 3:
        return (LayerNorm(),)
    # of two or three channels: nearly all of a gradient cancels, and what is left is rounding
    return *_same(draws, shape, int(draws.integers(4, 9))), LayerNorm()


def _to_units(draws, shape, names):
    return (_one_of(draws, (Flatten(), MeanPool(), MaxPool(None))),)


def _dense(draws, shape, names):
    return Dense(features=int(draws.integers(3, 13)), bias=_coin(draws)), Activation()


def _same(draws, shape, features):
    """Layers that change at most the last axis of a shape, to so many features."""
    if len(shape) == 1:
        return Dense(features=features, bias=_coin(draws)), Dropout()
    kernel = _one_of(draws, (1, 3, 5))
    return Conv(kernel=kernel, features=features, padding=kernel // 2, bias=_coin(draws)), Activation()


def _residual(draws, shape, names):
    features = int(draws.integers(2, 7))
    inner = _same(draws, shape, shape[-1])
    if draws.integers(3) == 0:
        inner = (Residual(inner, _same(draws, shape, shape[-1])), Activation())
    if _coin(draws):
        return (Residual((*inner, *_same(draws, shape, shape[-1]))),)
    return (Residual((*inner, *_same(draws, shape, features)), _same(draws, shape, features)), Activation())


def _add(draws, shape, names):
    name, features = next(names), int(draws.integers(2, 9))
    if _coin(draws):
        return Save(name), *_same(draws, shape, shape[-1]), Add(name)
    return Save(name), *_same(draws, shape, features), Add(name, "common"), Activation()


IMAGE_BLOCKS = (_conv, _conv, _conv, _pool, _activation, _dropout, _norm, _residual, _add, _to_units)
UNIT_BLOCKS = (_dense, _dense, _activation, _dropout, _norm, _residual, _add)
