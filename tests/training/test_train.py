"""A member's trajectory depends on the spec, its seed and the data, and on nothing else; evaluation is exact."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from populations import cohort_of, population_of, replace_dataset, small_images, small_spec

from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.devices import model_mesh
from jaxzoo.models.engines import population_forward
from jaxzoo.models.networks import build_network
from jaxzoo.models.tally import empty_tally
from jaxzoo.spec.layers import LAYERS, Activation, Dense, Flatten
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training import programs
from jaxzoo.training import steps as loops
from jaxzoo.training.order import Order
from jaxzoo.training.population import Stopped, evaluate, get_state, put_images, train_epoch
from jaxzoo.training.steps import Recipe


def mixed_spec(**changes):
    """64 members that differ in everything that a cohort may mix."""
    return small_spec(
        seeds=2,
        initialization=("uniform", "kaiming_uniform"),
        dropout=(0.0, 0.3),
        learning_rate=(1e-2, 1e-3, 3e-4, 1e-4),
        weight_decay=(0.0, 1e-3),
        **changes,
    )


def end_of(spec, models, mesh, *, engine="lanes", lanes=16, epochs=2):
    """Weights, optimizer and metrics of those models after some epochs, by model."""
    cohort = cohort_of(spec, models)
    population = population_of(cohort, mesh, engine=engine, lanes=lanes)
    images = put_images(small_images(spec.dataset), mesh)
    for epoch in range(1, epochs + 1):
        metrics = train_epoch(population, images, epoch)
    metrics |= evaluate(population, images, ("validation", "test"))
    leaves = [leaf for leaf in jax.tree.leaves((get_state(population), metrics)) if leaf.ndim]
    return {model: [leaf[row] for leaf in leaves] for row, model in enumerate(models)}


def assert_same_bits(got, wanted):
    for model, leaves in got.items():
        for leaf, other in zip(leaves, wanted[model], strict=True):
            np.testing.assert_array_equal(leaf, other)


def test_a_member_ends_in_the_same_bits_whatever_its_company_place_and_devices():
    spec = mixed_spec()
    one = Mesh(np.array(jax.devices()[:1]), ("models",))
    two = model_mesh()
    assert two.size == 2
    everyone = end_of(spec, range(64), two)
    assert_same_bits(end_of(spec, [41], two), everyone)
    assert_same_bits(end_of(spec, [3, 63, 41, 0, 17, 5, 22], two), everyone)
    assert_same_bits(end_of(spec, np.random.default_rng(0).permutation(64), two), everyone)
    assert_same_bits(end_of(spec, range(64), one), everyone)
    assert_same_bits(end_of(spec, [41], one), everyone)


def test_the_vmap_engine_keeps_company_out_too():
    spec = mixed_spec(train=23)
    everyone = end_of(spec, range(16), model_mesh(), engine="vmap", lanes=4)
    assert_same_bits(end_of(spec, [9, 2], model_mesh(), engine="vmap", lanes=4), everyone)


def test_a_process_with_one_device_ends_in_the_same_bits_as_one_with_two():
    script = Path(__file__).with_name("law3_process.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}  # with what pytest added to it
    ends = [
        subprocess.run(
            [sys.executable, script, count], env=environment, capture_output=True, check=True, text=True
        ).stdout
        for count in ("1", "2")
    ]
    assert len(ends[0]) > 60
    assert ends[0] == ends[1]


def test_a_diverging_member_harms_no_neighbour():
    spec = small_spec(seeds=4, learning_rate=(1e-3, 100.0), weight_decay=(100.0,), optimizer=("sgd",))
    sane = [0, 1, 2, 3]
    together = end_of(spec, range(8), model_mesh(), lanes=4, epochs=6)
    alone = end_of(spec, sane, model_mesh(), lanes=4, epochs=6)
    assert_same_bits(alone, together)
    assert all(np.isfinite(leaf).all() for model in sane for leaf in together[model])
    assert not all(np.isfinite(leaf).all() for model in range(4, 8) for leaf in together[model])


@pytest.mark.parametrize("train", [1, 9, 10, 47])
def test_every_image_is_trained_on_once_an_epoch(train):
    spec = small_spec(train=max(train, 10), seeds=5, batch_size=min(train, 10))
    mesh = model_mesh()
    population = population_of(cohort_of(spec), mesh)
    program = population.program
    seeds = population.slabs[0].hyperparameters[0].seed
    orders = [np.asarray(program.shuffle(seeds, NOTHING_SPECIAL, epoch).examples) for epoch in (1, 2)]
    count = spec.dataset.train
    for order_NM in orders:
        assert order_NM.shape == (program.steps * spec.batch_size, program.width)
        for member in range(5):
            np.testing.assert_array_equal(np.sort(order_NM[:count, member]), np.arange(count))
    if count > 20:
        assert (orders[0][:, 0] != orders[1][:, 0]).any()
        assert (orders[0][:, 0] != orders[0][:, 1]).any()


def test_evaluation_counts_every_image_exactly_once():
    spec = small_spec(train=47, seeds=3)  # 47, 13 and 25 images: none a multiple of the evaluation's batch
    images = small_images(spec.dataset)
    mesh = model_mesh()
    population = population_of(cohort_of(spec), mesh)
    metrics = evaluate(population, put_images(images, mesh), ("train", "validation", "test"))
    params = get_state(population).params
    for split in ("train", "validation", "test"):
        pixels, labels = getattr(images, split)
        normalised = jnp.asarray((pixels / 255 - images.mean) / images.std, jnp.float32)
        logits = jax.vmap(lambda p, x=normalised: build_network(spec).apply({"params": p}, x))(params)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels)[None])
        np.testing.assert_allclose(metrics[f"{split}_loss"], losses.mean(1), rtol=1e-5)  # float32 means
        np.testing.assert_array_equal(
            np.round(metrics[f"{split}_accuracy"] * len(labels)), (logits.argmax(-1) == labels[None]).sum(1)
        )


def test_an_empty_split_gives_nan():
    spec = replace_dataset(small_spec(), validation=0)
    mesh = model_mesh()
    population = population_of(cohort_of(spec), mesh)
    metrics = evaluate(population, put_images(small_images(spec.dataset), mesh), ("validation", "test"))
    assert np.isnan(metrics["validation_loss"]).all()
    assert np.isfinite(metrics["test_loss"]).all()


def test_progress_counts_the_samples_and_a_stop_acts_between_segments():
    spec = small_spec(train=47, seeds=9)
    mesh = model_mesh()
    images = put_images(small_images(spec.dataset), mesh)
    population = population_of(cohort_of(spec), mesh)
    counted = []
    train_epoch(population, images, 1, counted.append)
    assert sum(counted) == 47 * 9
    with pytest.raises(Stopped):
        train_epoch(population, images, 2, should_stop=lambda: True)


@pytest.mark.usefixtures("promotions_of_programs")
@pytest.mark.parametrize("folded", [(2, 2), (1, 4)])
@pytest.mark.parametrize("twin", [None, TwinSpec()], ids=["dense", "twins"])
def test_training_with_folded_models_is_the_same_training(twin, folded):
    """What a TPU runs, on the CPU: a step of a whole network and an incomplete batch, with dropout.

    CNN-s alone, in 10 s: XLA:CPU takes two minutes for the unrolled sums of CNN-l.
    """
    spec = small_spec(train=3, batch_size=2, dropout=(0.3,), learning_rate=(1e-3,))
    cohort = cohort_of(spec)
    population = population_of(cohort, model_mesh(), lanes=2, twin=twin)
    key, (slab,) = cohort.key, population.slabs
    state, hyper = jax.tree.map(jnp.asarray, jax.device_get((slab.state, slab.hyperparameters[0])))
    images = jax.device_get(put_images(small_images(spec.dataset), model_mesh()))
    forward = population_forward("lanes", LAYERS["cnn-s"], 10, "tanh")

    def train(models):
        order = Order(jnp.arange(16).reshape(4, 4) % 3)
        recipe = Recipe(key, population.program.method, forward, at_once=2, models=models, schedule_epochs=None)
        run = jax.jit(functools.partial(loops.train, recipe))
        return run(state, empty_tally(hyper.numbers["learning_rate"]), hyper, images, order, 1, 0, 2)

    for got, wanted in zip(jax.tree.leaves(train(folded)), jax.tree.leaves(train((4,))), strict=True):
        # float32; Adam's first steps divide gradients of any size by themselves, so rounding shows where they are tiny
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_models_are_folded_only_where_they_fill_the_registers_of_a_tpu():
    tpu, cpu = map(devices_of, ("tpu", "cpu"))
    cnns = [LAYERS[name] for name in ("cnn-s", "cnn-l")]
    assert {programs._model_axes(layers, "lanes", 2048, 10, tpu) for layers in cnns} == {(8, 256)}
    assert programs._model_axes(cnns[0], "vmap", 1024, 10, tpu) == (1024,)
    assert programs._model_axes(cnns[0], "lanes", 1024, 10, cpu) == (1024,)
    # its strides have no kernels
    assert programs._model_axes(LAYERS["small-cnn-zoo"], "lanes", 1024, 10, tpu) == (1024,)
    # where images take the place of models, most of a register must be images
    folded = [programs._model_axes(cnns[0], "lanes", lanes, 10, tpu) for lanes in (64, 128, 384)]
    assert folded == [(64,), (1, 128), (1, 384)]
    filled = [programs._model_axes(cnns[0], "lanes", 128, images, tpu) for images in (1, 4, 5, 8, 9)]
    assert filled == [(128,), (128,), (1, 128), (1, 128), (1, 128)]


def devices_of(platform):
    """A mesh of one device that need not be there."""
    return SimpleNamespace(devices=np.array([SimpleNamespace(platform=platform)]))


def test_activations_of_a_large_batch_fit_a_device():
    wanted = {("cnn-s", 10): 10, ("cnn-l", 10): 10, ("small-cnn-zoo", 10): 10, ("small-cnn-zoo", 512): 128}
    sizes = {"cnn-l": (32, 3)}
    for (architecture, batch), parts in wanted.items():
        spec = small_spec(architecture if architecture in sizes else "cnn-s")
        key = cohort_of(spec).key._replace(layers=LAYERS[architecture], batch_size=batch)
        assert programs.images_at_once(key, "lanes", 1024, devices_of("tpu")) == parts
        assert programs.images_at_once(key, "vmap", 1024, devices_of("tpu")) == batch
        if batch == 10:  # as they always have
            assert programs.images_at_once(key, "lanes", 4096, devices_of("gpu")) == 10


PERCEPTRON = (Flatten(), Dense("dense1", 64), Activation(), Dense("dense2", None))


@pytest.mark.parametrize(("layers", "size"), [(LAYERS["cnn-s"], 20), (LAYERS["cnn-s"], 28), (LAYERS["cnn-l"], 22)])
def test_cnns_train_on_parts_of_a_batch_as_they_always_have(layers, size):
    """Other parts would be other bits, and zoos that were begun go on in the same."""
    wanted = {1: 1, 2: 2, 3: 3, 4: 2, 9: 3, 10: 2, 35: 5, 512: 2}
    assert {batch: images_at_once(layers, size, batch) for batch in wanted} == wanted


def test_a_small_network_trains_on_larger_parts_of_a_batch():
    assert images_at_once(PERCEPTRON, 28, 10) == 10
    assert images_at_once(PERCEPTRON, 28, 512) == 32


def images_at_once(layers, size, batch):
    spec = small_spec("cnn-s")
    key = cohort_of(spec).key._replace(
        layers=layers, batch_size=batch, dataset=dataclasses.replace(spec.dataset, size=size)
    )
    return programs.images_at_once(key, "lanes", 16, model_mesh())
