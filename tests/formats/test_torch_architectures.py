"""PyTorch modules of architectures that nobody has chosen give the logits of Flax."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import CLASSES, IMAGE, random_layers

from jaxzoo.models.networks import Network
from jaxzoo.models.torch_names import state_of_variables, torch_entries, variables_of_state
from jaxzoo.models.variables import each_leaf
from jaxzoo.spec.architecture import Architecture

torch = pytest.importorskip("torch")
build_module = importlib.import_module("jaxzoo.formats.torch_network").build_module

NORMALISED = Architecture(
    name="own",
    layers=(
        *({"conv": 3, "kernel": 2, "stride": 2, "bias": False}, "batch_norm", {"activation": "identity"}, "flatten"),
        *("batch_norm", "layer_norm", {"dense": 6, "bias": False}, "batch_norm", "activation", {"dense": "classes"}),
    ),
)
EVERY = {**{str(seed): random_layers(seed).layers for seed in range(30)}, "own": NORMALISED.layers}


def drawn(network, images):
    """Variables in which nothing is 0 or 1 that could hide an error."""
    variables = network.init(jax.random.key(1), images)
    keys = iter(jax.random.split(jax.random.key(2), len(jax.tree.leaves(variables))))
    return jax.tree.map(lambda leaf: jnp.abs(leaf + 0.3 * jax.random.normal(next(keys), leaf.shape)) + 0.1, variables)


@pytest.mark.parametrize("name", EVERY)
def test_a_module_gives_the_logits_of_flax(name):
    layers = EVERY[name]
    network = Network(layers, CLASSES, "gelu")
    images = np.random.default_rng(0).standard_normal((5, *IMAGE)).astype(np.float32)
    variables = drawn(network, images)
    entries = torch_entries(layers, CLASSES, IMAGE, counts_dropout=True)
    stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[None], variables)
    state = state_of_variables(entries, stacked, batches=0)
    module = build_module(layers, entries, "gelu", dropout=0.5).to_empty(device="cpu").eval()
    module.load_state_dict({key: torch.from_numpy(np.array(rows[0])) for key, rows in state.items()}, assign=True)
    got = module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).detach().numpy()
    wanted = network.apply(variables, images)
    # float32 in other orders; layer normalisation may enlarge the rounding of what is nearly constant
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4 * np.abs(wanted).max())
    back = variables_of_state(entries, {key: rows for key, rows in state.items()})
    for path, leaf in each_leaf(stacked):
        inner = back
        for part in path:
            inner = inner[part]
        np.testing.assert_array_equal(inner, leaf)
