"""The variables of one model: the types they are held in, and their shapes, computed from the layers."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxzoo.models.networks import Network
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.layers import Layers, Named, each_layer

Shapes = Mapping[str, Any]  # nested to any depth, with a shape (a tuple of integers) at each leaf

KINDS = ("kernel", "scale", "bias", "mean", "var")  # of variables, in the order of a layout


def variable_shapes(layers: Layers, dataset: DatasetSpec) -> Mapping[str, Shapes]:
    """As `network_shapes`, of the networks of a zoo."""
    return network_shapes(layers, dataset.classes, (dataset.size, dataset.size, dataset.channels))


@functools.cache
@pinned_settings()
def network_shapes(layers: Layers, classes: int, image: tuple[int, ...]) -> Mapping[str, Shapes]:
    """The shape of every variable of one model on images (H, W, C), by collection, then nested as Flax nests them.

    Names come in the order of the layers, the kinds of a layer in the order of KINDS, and any others after them.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    one = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    trees = jax.eval_shape(Network(layers, classes, "tanh").init, key, one)
    names = [layer.name for layer in each_layer(layers) if isinstance(layer, Named)]
    rank = {name: number for number, name in enumerate((*names, *KINDS))}
    return {collection: _shapes(tree, rank) for collection, tree in trees.items()}


def _shapes(tree: Any, rank: Mapping[str, int]) -> Any:
    if not isinstance(tree, Mapping):
        return tree.shape
    in_order = sorted(tree, key=lambda name: (rank.get(name, len(rank)), name))
    return {name: _shapes(tree[name], rank) for name in in_order}


def each_leaf(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, leaf) of every leaf of nested mappings, in their order."""
    for name, inner in tree.items():
        if isinstance(inner, Mapping):
            yield from each_leaf(inner, (*path, name))
        else:
            yield (*path, name), inner


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
