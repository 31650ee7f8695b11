"""ResNet-18 against one written for PyTorch by hand: logits, batch statistics, and training steps."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from populations import cohort_of, in_float64, population_of, small_images, small_spec

from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.models.networks import build_network
from jaxzoo.models.variables import parameter_count
from jaxzoo.spec.schedule import Schedule
from jaxzoo.training.population import get_state, initial_variables, put_images, train_epoch

torch = pytest.importorskip("torch")
import resnet_torch  # noqa: E402

torch.set_num_threads(1)  # another test runs beside
WIDTHS = {"resnet-18": 64, "resnet-18-narrow": 8}


def moved_variables(spec):
    """One model's, with batch statistics, scales and biases that are not those it begins with."""
    draws = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: leaf[0].copy(), initial_variables(cohort_of(spec)))
    for layer, statistics in variables["batch_stats"].items():
        statistics["mean"] += draws.standard_normal(statistics["mean"].shape, np.float32)
        statistics["var"] *= draws.uniform(0.5, 2, statistics["var"].shape).astype(np.float32)
        norm = variables["params"][layer]
        norm["scale"] *= draws.uniform(0.5, 1.5, norm["scale"].shape).astype(np.float32)
        norm["bias"] += draws.standard_normal(norm["bias"].shape, np.float32)
    return variables


@pytest.mark.parametrize("architecture", WIDTHS)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_the_same_weights_give_the_same_logits_and_statistics(architecture, training):
    spec = small_spec(architecture, seeds=1, activation=("relu",))
    variables = moved_variables(spec)
    network = resnet_torch.load(resnet_torch.ResNet18(WIDTHS[architecture], 10), variables).train(training)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == parameter_count(spec.layers, spec.dataset)
    images = np.random.default_rng(1).standard_normal((5, 32, 32, 3))
    with torch.no_grad():
        wanted = network(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: leaf.astype(float), variables)
        counted = np.ones(5) if training else None
        logits, moved = build_network(spec).apply(exact, images, None, None, counted, mutable=["batch_stats"])
    np.testing.assert_allclose(logits, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())  # float64, 18 layers
    after = {name: value.numpy() for name, value in network.state_dict().items() if "running" in name}
    for name, value in resnet_torch.state_dict_of(dict(moved)).items():
        np.testing.assert_allclose(value, after[name], rtol=1e-10, atol=1e-12)
        if training:
            assert (value.numpy() != variables["batch_stats"][name.rpartition(".")[0].replace(".", "_")]["mean"]).any()


def train_in_jaxzoo(spec, images, epochs):
    """One member in float64: its variables at the end, and its orders of the images."""
    mesh = Mesh(np.array(jax.devices()[:1]), ("models",))
    with jax.enable_x64(True):
        population = population_of(cohort_of(spec), mesh, engine="vmap", lanes=1)
        population = population._replace(slabs=in_float64(population.slabs))
        device_images = in_float64(put_images(images, mesh))
        shuffle, hyper = population.program.shuffle, population.slabs[0].hyperparameters[0]
        drawn = [shuffle(hyper.seed, NOTHING_SPECIAL, epoch).examples for epoch in range(1, epochs + 1)]
        orders = [np.asarray(order)[:, 0] for order in drawn]
        for epoch in range(1, epochs + 1):
            train_epoch(population, device_images, epoch)
        state = get_state(population)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return jax.tree.map(lambda leaf: leaf[0], variables), orders


def train_in_torch(network, spec, images, orders):
    """The published training, written plainly."""
    rate, decay = (float(np.float32(value[0])) for value in (spec.grid.learning_rate, spec.grid.weight_decay))
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=spec.momentum, weight_decay=decay)
    steps = len(orders) * -(-spec.dataset.train // spec.batch_size)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    scale, shift = np.float32(1 / (255 * images.std)), np.float32(-images.mean / images.std)
    pixels = images.train.pixels * np.float64(scale) + np.float64(shift)
    pixels = torch.tensor(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    labels = torch.tensor(images.train.labels.astype(np.int64))
    for order in orders:
        for batch in torch.tensor(order[: spec.dataset.train].copy()).split(spec.batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(pixels[batch]), labels[batch]).backward()
            optimizer.step()
            if scheduler.last_epoch + 1 < steps:
                scheduler.step()


@pytest.mark.parametrize(("architecture", "train", "epochs"), [("resnet-18-narrow", 23, 5), ("resnet-18", 11, 1)])
def test_training_steps_end_in_the_same_weights(architecture, train, epochs):
    """SGD with momentum, weight decay and one cycle of both; the last batch of an epoch is incomplete."""
    grid = {"activation": ("relu",), "optimizer": ("sgd",), "learning_rate": (0.05,), "weight_decay": (5e-4,)}
    spec = small_spec(architecture, seeds=1, train=train, batch_size=4, epochs=epochs, **grid)
    spec = dataclasses.replace(spec, schedule=Schedule(kind="one-cycle"))
    images = small_images(spec.dataset)
    start = jax.tree.map(lambda leaf: leaf[0], initial_variables(cohort_of(spec)))
    network = resnet_torch.load(resnet_torch.ResNet18(WIDTHS[architecture], 10), start).train()
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    end, orders = train_in_jaxzoo(spec, images, epochs)
    train_in_torch(network, spec, images, orders)
    after = network.state_dict()
    for name, value in resnet_torch.state_dict_of(end).items():
        got, wanted = value.numpy(), after[name].numpy()
        moved = np.abs(wanted - before[name]).max()
        assert moved > 1e-4, name
        # float64, but for the number of values that a variance is over, whose reciprocal is float32: 6e-8
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * moved, err_msg=name)
