"""The shapes of variables, which are computed, against those that Flax makes."""

import jax
import jax.numpy as jnp
import pytest
from architectures import CLASSES, IMAGE, random_layers

from jaxzoo.models.networks import Network
from jaxzoo.models.variables import KINDS, each_leaf, network_shapes
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.layers import LAYERS, Named, each_layer

NORMALISED = Architecture(
    name="own",
    layers=(
        *(
            {"conv": 3, "kernel": 2, "bias": False},
            "batch_norm",
            {"residual": [{"conv": 3, "kernel": 1}, "layer_norm"]},
        ),
        *("global_max_pool", "batch_norm", "layer_norm", {"dense": "classes", "bias": False}),
    ),
)
EVERY = {**LAYERS, **{str(seed): random_layers(seed).layers for seed in range(40)}, "own": NORMALISED.layers}


@pytest.mark.parametrize("name", EVERY)
def test_shapes_are_those_of_flax_in_the_order_of_the_layers(name):
    layers, image = EVERY[name], (32, 32, 3) if name in LAYERS else IMAGE
    shapes = network_shapes(layers, CLASSES, image)
    made = jax.eval_shape(Network(layers, CLASSES, "tanh").init, jax.random.key(0), jnp.zeros((1, *image)))
    assert {path: leaf.shape for path, leaf in each_leaf(made)} == dict(each_leaf(shapes))
    names = [layer.name for layer in each_layer(layers) if isinstance(layer, Named)]
    for tree in shapes.values():
        assert [*tree] == [each for each in names if each in tree]
        assert all([*kinds] == [kind for kind in KINDS if kind in kinds] for kinds in tree.values())
