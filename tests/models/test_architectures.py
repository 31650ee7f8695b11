"""lanes = vmap of Flax for architectures that nobody has chosen.

The ordinary run tries six random architectures, which have layers of all kinds between them. JAXZOO_ARCHITECTURES=30 in
the environment says how many.
"""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import CLASSES, IMAGE, random_layers
from jax.sharding import Mesh
from populations import cohort_of, in_float64, population_of, small_images, small_spec

from jaxzoo.keys import member_keys
from jaxzoo.models.engines import engines_for, population_forward
from jaxzoo.models.networks import DropoutSource, Network, SamplingSource
from jaxzoo.spec.layers import Residual, each_layer
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training.population import get_state, put_images, train_epoch
from jaxzoo.training.sparsify import variational

pytestmark = pytest.mark.usefixtures("promotions_of_programs")

FIRST, FEW = 155, 6  # chosen for their variety
SEEDS = range(FIRST, FIRST + int(os.environ.get("JAXZOO_ARCHITECTURES", FEW)))
M = 4
ENGINES = ("lanes", "vmap")
ACTIVATIONS = ("gelu", "tanh", "relu")


def cohort_for(seed, models=None, **changes):
    """Members of a random architecture, some of which drop out, and their images."""
    grid = {
        "activation": (ACTIVATIONS[seed % 3],),
        "dropout": (0.0, 0.4),
        "optimizer": ("sgd",),
        "learning_rate": (0.01,),
    }
    spec = small_spec("cnn-s", train=17, seeds=2, batch_size=4, **grid)
    cohort = cohort_of(spec, models)
    dataset = dataclasses.replace(spec.dataset, size=IMAGE[0], channels=IMAGE[2])
    key = cohort.key._replace(layers=random_layers(seed).layers, dataset=dataset, **changes)
    return cohort._replace(key=key), small_images(dataset)


def one_device():
    return Mesh(np.array(jax.devices()[:1]), ("models",))


def trained(cohort, images, engine, epochs, *, twin=None, exact=False):
    """The parameters after so many epochs of 5 steps; in float64 if `exact`."""
    device_images = put_images(images, one_device())
    population = population_of(cohort, one_device(), engine=engine, lanes=2, twin=twin)
    if exact:
        population = population._replace(slabs=in_float64(population.slabs))
    for epoch in range(1, epochs + 1):
        train_epoch(population, device_images, epoch)
    return get_state(population).params


def test_random_architectures_have_layers_of_all_kinds():
    """Otherwise the tests below would not see what they are for."""
    ordinary = [random_layers(seed).layers for seed in range(FIRST, FIRST + FEW)]
    kinds = {type(layer).__name__ for layers in ordinary for layer in each_layer(layers)}
    words = "Activation Add Conv Dense Dropout Flatten LayerNorm MaxPool MeanPool Save"
    assert kinds == set(words.split())
    residuals = [layer for layers in ordinary for layer in layers if isinstance(layer, Residual)]
    assert {bool(residual.shortcut) for residual in residuals} == {False, True}
    assert random_layers(7) == random_layers(7)


@pytest.mark.parametrize("seed", SEEDS)
def test_logits_and_gradients_of_both_engines_agree(seed):
    """In float64: layer normalisation and roots of small variances make float32's rounding arbitrarily large."""
    with jax.enable_x64(True):
        check_logits_and_gradients(seed)


def check_logits_and_gradients(seed):
    layers = random_layers(seed).layers
    assert engines_for(layers) == ENGINES
    params, images, dropout, sampling = drawn(seed)
    sampled = variational.moments(layers, with_noise(layers, params))[0]
    cases = {
        "shared images": (params, images[..., :1], None, None),
        "dropout and sampling": (sampled, images, dropout, sampling),
    }
    forwards = [population_forward(name, layers, CLASSES, ACTIVATIONS[seed % 3]) for name in ENGINES]
    for case, (values, *rest) in cases.items():
        got, logits = gradients_and_logits(forwards[0], values, *rest)
        wanted, wanted_logits = gradients_and_logits(forwards[1], values, *rest)
        assert logits.shape == (4, CLASSES, M)
        assert_close(logits, wanted_logits, case)
        assert_close(got, wanted, case)
    folded = gradients_and_logits(forwards[0], *jax.tree.map(fold, cases["dropout and sampling"]))
    for one, other in zip(folded, (got, logits), strict=True):
        assert_close(one, jax.tree.map(fold, other), "model axes (2, 2), as a TPU has them")


def fold(leaf):
    return leaf.reshape(*leaf.shape[:-1], 2, 2) if jnp.ndim(leaf) else leaf


def drawn(seed):
    """Parameters, images, and what dropout and sampling draw from."""
    key, draws = member_keys(np.arange(M)), np.random.default_rng(seed)
    images = jnp.asarray(draws.standard_normal((4, *IMAGE, M)))
    network = Network(random_layers(seed).layers, CLASSES, ACTIVATIONS[seed % 3])
    variables = [network.init(each, images[..., 0])["params"] for each in key]
    params = in_float64(jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=-1), *variables))
    dropout = DropoutSource(jnp.array([0.0, 0.3, 0.5, 0.1]), key, 2)
    return params, images, dropout, SamplingSource(key, 2)


def gradients_and_logits(forward, params, images, dropout, sampling):
    def loss(params):
        logits = forward(params, {}, images, dropout, sampling, None)[0]
        return jnp.sum(jnp.sin(logits)), logits

    return jax.jit(jax.grad(loss, has_aux=True))(params)


def assert_close(got, wanted, case):
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(wanted))
    for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        # float64 rounds to 1e-16; the variances' roots and normalised layers amplify it
        np.testing.assert_allclose(left, right, rtol=1e-7, atol=1e-10 * scale, err_msg=case)


def with_noise(layers, params):
    """The parameters and log variances beside them, as large as twins have them after some training."""
    noisy = variational.with_log_variances(layers, params)
    return jax.tree.map(lambda leaf: jnp.where(leaf == variational.INITIAL_LOG_VARIANCE, -5.0, leaf), noisy)


@pytest.mark.parametrize("seed", SEEDS)
def test_20_steps_of_both_engines_end_in_the_same_weights(seed):
    """In float64: in float32 near ties in pooling windows, decided by the last bit, move the weights apart."""
    twin = TwinSpec(epochs=4) if seed % 2 else None  # twins draw activations
    cohort, images = cohort_for(seed)
    with jax.enable_x64(True):
        start = trained(cohort, images, "lanes", 0, twin=twin, exact=True)
        ends = [trained(cohort, images, engine, 4, twin=twin, exact=True) for engine in ENGINES]
    moved = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), ends[1], start)))
    apart = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), *ends)))
    assert moved > 1e-3
    assert apart < 1e-9 * moved  # float64 rounds to 1e-16; 20 steps amplify it


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_alone_is_the_one_in_its_zoo_bit_for_bit(seed, engine):
    cohort, images = cohort_for(seed)
    everyone = trained(cohort, images, engine, 1)
    alone = trained(cohort_for(seed, [2])[0], images, engine, 1)
    for one, all_of_them in zip(jax.tree.leaves(alone), jax.tree.leaves(everyone), strict=True):
        np.testing.assert_array_equal(one[0], all_of_them[2])
