"""The variables of one model: the types they are held in, and their shapes, computed from the layers."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxzoo.models.trees import each_leaf, nested
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.layers import BatchNorm, Conv, Dense, LayerNorm, Layers, module_of
from jaxzoo.spec.shapes import passages

Shapes = Mapping[str, Any]  # nested to any depth, with a shape (a tuple of integers) at each leaf

__all__ = ["Shapes", "abstract_variables", "each_leaf", "network_shapes", "parameter_count", "variable_shapes"]

KINDS = ("kernel", "scale", "bias", "mean", "var")  # of variables, in the order of a layout


def variable_shapes(layers: Layers, dataset: DatasetSpec) -> Mapping[str, Shapes]:
    """As `network_shapes`, of the networks of a zoo."""
    return network_shapes(layers, dataset.classes, (dataset.size, dataset.size, dataset.channels))


@functools.lru_cache(maxsize=10_000)  # a zoo may have as many architectures as models
def network_shapes(layers: Layers, classes: int, image: tuple[int, ...]) -> Mapping[str, Shapes]:
    """The shape of every variable of one model on images (H, W, C), by collection, then nested as Flax nests them.

    Names come in the order of the layers, the kinds of a layer in the order of KINDS. They are those of `Network.init`,
    computed without it: tracing it takes longer than anything else that is done with an architecture. Those of a Flax
    module come in the order in which it makes them.
    """
    module = module_of(layers)
    if module is not None:
        return nested(module.shapes)
    params: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    for layer, before, _ in passages(layers, image, classes):
        match layer:
            case Conv(name, kernel, features):
                params[name] = _weighted((kernel, kernel, before[-1], features), bias=layer.bias)
            case Dense(name, features):
                params[name] = _weighted((before[0], features or classes), bias=layer.bias)
            case LayerNorm(name) | BatchNorm(name):
                params[name] = dict.fromkeys(("scale", "bias"), before[-1:])
                if isinstance(layer, BatchNorm):
                    statistics[name] = dict.fromkeys(("mean", "var"), before[-1:])
    return {"params": params, **({"batch_stats": statistics} if statistics else {})}


def _weighted(kernel: tuple[int, ...], *, bias: bool) -> dict[str, tuple[int, ...]]:
    return {"kernel": kernel, **({"bias": kernel[-1:]} if bias else {})}


def abstract_variables(layers: Layers, dataset: DatasetSpec) -> dict[str, Any]:
    """Placeholders of one model's variables by collection, as `jax.eval_shape` takes them; all are float32."""
    shapes = variable_shapes(layers, dataset)
    leaf = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32)
    return jax.tree.map(leaf, dict(shapes), is_leaf=lambda node: isinstance(node, tuple))


def parameter_count(layers: Layers, dataset: DatasetSpec) -> int:
    """Parameters of one model. Running batch statistics are no parameters.

    >>> from jaxzoo.spec.config import load_spec
    >>> spec = load_spec("mnist-seed")
    >>> parameter_count(spec.layers, spec.dataset)
    2464
    """
    return sum(math.prod(shape) for _, shape in each_leaf(variable_shapes(layers, dataset)["params"]))
