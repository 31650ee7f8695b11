"""The lanes engine against PyTorch: the same weights after 200 steps, the same laws of initialisation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from populations import cohort_of, in_float64, population_of, small_images, small_spec
from scipy import stats

from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.models.tally import count_batch
from jaxzoo.models.variables import variable_shapes
from jaxzoo.spec.layers import LAYERS
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.spec.schedule import Schedule
from jaxzoo.training.optimizers import clip_gradients
from jaxzoo.training.population import get_state, initial_variables, put_images, train_epoch

torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # small kernels, and another test runs beside

EPOCHS = 40  # of 5 steps
ACTIVATIONS = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "sigmoid": torch.nn.Sigmoid,
    "silu": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
}
BETAS = Optimizer(name="adam", beta1=0.8, beta2=0.9, epsilon=1e-6)
NESTEROV = Optimizer(name="sgd", momentum=0.7, nesterov=True)
ALPHA = Optimizer(name="rms_prop", decay=0.9, epsilon=1e-6)
ADAM, SGD, RMS_PROP, ADAMW = (Optimizer(name=name) for name in ("adam", "sgd", "rms_prop", "adamw"))
OPTIMIZERS = {
    ADAM: torch.optim.Adam,
    SGD: functools.partial(torch.optim.SGD, momentum=0.9),
    RMS_PROP: torch.optim.RMSprop,
    ADAMW: torch.optim.AdamW,
    BETAS: functools.partial(torch.optim.Adam, betas=(0.8, 0.9), eps=1e-6),
    NESTEROV: functools.partial(torch.optim.SGD, momentum=0.7, nesterov=True),
    ALPHA: functools.partial(torch.optim.RMSprop, alpha=0.9, eps=1e-6),
}
CONSTANT, CYCLE = Schedule(), Schedule(kind="one-cycle")
COSINE, STEP = Schedule(kind="cosine", warmup=2, end=0.1), Schedule(kind="step", every=15, factor=0.3)
CASES = [
    ("cnn-s", "tanh", ADAM, CONSTANT),
    ("cnn-s", "relu", SGD, CONSTANT),
    ("cnn-s", "leaky_relu", RMS_PROP, CONSTANT),
    ("cnn-l", "gelu", ADAM, CONSTANT),
    ("cnn-l", "silu", SGD, CONSTANT),
    ("cnn-l", "sigmoid", RMS_PROP, CONSTANT),
    ("cnn-s", "tanh", ADAMW, COSINE),
    ("cnn-s", "tanh", BETAS, STEP),
    ("cnn-s", "tanh", NESTEROV, COSINE),
    ("cnn-s", "tanh", ALPHA, STEP),
    ("cnn-s", "tanh", ADAMW, CYCLE),
]


def torch_schedule(schedule, optimizer, rate):
    """The schedule of PyTorch, stepped after each batch."""
    schedules = torch.optim.lr_scheduler
    if schedule == CYCLE:
        return schedules.OneCycleLR(optimizer, max_lr=rate, total_steps=EPOCHS * 5)
    if schedule == COSINE:
        rising = schedules.LinearLR(optimizer, start_factor=1 / 11, total_iters=10)
        annealing = schedules.CosineAnnealingLR(optimizer, T_max=EPOCHS * 5 - 10, eta_min=rate * 0.1)
        return schedules.SequentialLR(optimizer, [rising, annealing], milestones=[10])
    if schedule == STEP:
        return schedules.StepLR(optimizer, step_size=15 * 5, gamma=0.3)
    return schedules.ConstantLR(optimizer, factor=1.0)


def torch_network(architecture, activation):
    """The architecture written for PyTorch by hand, in float64."""
    nn = torch.nn

    def block(inputs, outputs, kernel):
        return [nn.Conv2d(inputs, outputs, kernel), nn.MaxPool2d(2), ACTIVATIONS[activation]()]

    if architecture == "cnn-s":
        convolutions = [*block(1, 8, 5), *block(8, 6, 5), nn.Conv2d(6, 4, 2), ACTIVATIONS[activation]()]
        features = 36
    else:
        convolutions = [*block(3, 16, 3), *block(16, 32, 3), *block(32, 15, 3)]
        features = 60
    dense = [nn.Flatten(), nn.Linear(features, 20), ACTIVATIONS[activation](), nn.Linear(20, 10)]
    return nn.Sequential(*convolutions, *dense).double()


def torch_arrays(params, channels, side):
    """One model's parameters in the order and layout of PyTorch, which flattens channel-height-width."""
    arrays = []
    for name, layer in params.items():
        kernel = np.asarray(layer["kernel"], np.float64)
        if name.startswith("conv"):
            kernel = kernel.transpose(3, 2, 0, 1)
        elif name == "dense1":
            kernel = kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1).T
        else:
            kernel = kernel.T
        arrays += [kernel, np.asarray(layer["bias"], np.float64)]
    return arrays


def train_in_torch(network, member, images, orders, spec):
    """A plain loop over the batches that the orders give, with all numbers rounded to float32 as in a zoo."""
    values = member.hyperparameters
    rate, decay = (float(np.float32(value)) for value in (values["learning_rate"], values["weight_decay"]))
    (own,) = spec.grid.optimizer
    optimizer = OPTIMIZERS[own](network.parameters(), lr=rate, weight_decay=decay)
    scheduler = torch_schedule(spec.schedule, optimizer, rate)
    scale, shift = np.float32(1 / (255 * images.std)), np.float32(-images.mean / images.std)
    pixels = images.train.pixels * np.float64(scale) + np.float64(shift)
    pixels = torch.tensor(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    labels = torch.tensor(images.train.labels.astype(np.int64))
    for order in orders:
        for batch in torch.tensor(order.copy()).split(spec.batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(pixels[batch]), labels[batch]).backward()
            optimizer.step()
            if scheduler.last_epoch + 1 < EPOCHS * 5:  # one cycle has no step after the last
                scheduler.step()


def train_in_lanes(spec, cohort, images):
    """In float64: the weights at the end, and the orders of the images."""
    mesh = Mesh(np.array(jax.devices()[:1]), ("models",))
    with jax.enable_x64(True):
        population = population_of(cohort, mesh, lanes=2)
        population = population._replace(slabs=in_float64(population.slabs))
        device_images = in_float64(put_images(images, mesh))
        shuffle, hyper = population.program.shuffle, population.slabs[0].hyperparameters[0]
        epochs = [shuffle(hyper.seed, NOTHING_SPECIAL, epoch).examples for epoch in range(1, EPOCHS + 1)]
        orders = [np.asarray(order)[: spec.dataset.train] for order in epochs]
        for epoch in range(1, EPOCHS + 1):
            train_epoch(population, device_images, epoch)
        return get_state(population).params, orders


@pytest.mark.parametrize(
    ("architecture", "activation", "optimizer", "schedule"), CASES, ids=lambda value: getattr(value, "label", value)
)
def test_200_steps_end_in_the_same_weights_as_pytorch(architecture, activation, optimizer, schedule):
    rates = (1e-2, 1e-3) if optimizer.name == "sgd" else (1e-3, 3e-4)
    grid = {"activation": (activation,), "optimizer": (optimizer,), "learning_rate": rates, "weight_decay": (1e-2,)}
    spec = small_spec(architecture, seeds=1, train=47, epochs=EPOCHS, **grid)
    spec = dataclasses.replace(spec, schedule=schedule)
    cohort, images = cohort_of(spec), small_images(spec.dataset)
    start = initial_variables(cohort)["params"]
    end, orders = train_in_lanes(spec, cohort, images)
    names = variable_shapes(LAYERS[architecture], spec.dataset)["params"]
    channels, side = (4, 3) if architecture == "cnn-s" else (15, 2)
    for member in cohort.members:

        def pick(tree, row=member.row):
            return {name: jax.tree.map(lambda leaf: leaf[row], tree[name]) for name in names}

        network = torch_network(architecture, activation)
        parameters = list(network.parameters())
        with torch.no_grad():
            for parameter, array in zip(parameters, torch_arrays(pick(start), channels, side), strict=True):
                parameter.copy_(torch.tensor(array))
        before = [parameter.detach().numpy().copy() for parameter in parameters]
        train_in_torch(network, member, images, [order[:, member.row] for order in orders], spec)
        for parameter, first, wanted in zip(parameters, before, torch_arrays(pick(end), channels, side), strict=True):
            got = parameter.detach().numpy()
            moved = np.abs(got - first).max()
            assert moved > 1e-3
            # float64 rounds to 1e-16; 200 steps amplified float32's 6e-8 by up to 1e7
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8 * moved)


@pytest.mark.parametrize(
    "initialization", ["uniform", "normal", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal"]
)
def test_initial_weights_have_the_law_of_pytorchs(initialization):
    torch.manual_seed(0)
    params = initial_variables(cohort_of(small_spec("cnn-l", seeds=40, initialization=(initialization,))))["params"]
    initialize = getattr(torch.nn.init, f"{initialization}_")
    layers = [layer for layer in torch_network("cnn-l", "tanh") if hasattr(layer, "weight")]
    assert len(layers) == len(params) == len([layer for layer in LAYERS["cnn-l"] if hasattr(layer, "name")])
    for name, layer in zip(sorted(params), layers, strict=True):
        draws = torch.cat([initialize(torch.empty_like(layer.weight)).ravel() for _ in range(40)]).numpy()
        # Kolmogorov-Smirnov: under one law a p-value below 1e-4 comes once in 10,000 draws; the draws are fixed
        assert stats.ks_2samp(params[name]["kernel"].ravel(), draws).pvalue > 1e-4


@pytest.mark.usefixtures("promotions_of_programs")
def test_label_smoothing_is_that_of_pytorch():
    draws = np.random.default_rng(0)
    logits_BOM, label_BM = draws.normal(size=(7, 10, 3)), draws.integers(0, 10, (7, 3))
    smoothing_M = np.array([0.0, 0.1, 0.9])
    with jax.enable_x64(True):
        tally = count_batch(jnp.asarray(logits_BOM), jnp.asarray(label_BM), jnp.ones(7), jnp.asarray(smoothing_M))
    for model, smoothing in enumerate(smoothing_M):
        wanted = torch.nn.functional.cross_entropy(
            torch.tensor(logits_BOM[..., model]),
            torch.tensor(label_BM[:, model]),
            reduction="sum",
            label_smoothing=float(smoothing),
        )
        np.testing.assert_allclose(tally.loss[model], wanted, rtol=1e-12)  # float64


@pytest.mark.usefixtures("promotions_of_programs")
def test_clipping_is_that_of_pytorch():
    draws = np.random.default_rng(1)
    gradients = {"conv": {"kernel": draws.normal(size=(3, 3, 2, 4))}, "dense": {"bias": draws.normal(size=(5, 4))}}
    most_M = np.array([0.0, 0.1, 3.0, 100.0])
    with jax.enable_x64(True):
        clipped = clip_gradients(jax.tree.map(jnp.asarray, gradients), jnp.asarray(most_M))
    for model, most in enumerate(most_M):
        leaves = [torch.zeros(leaf.shape[:-1], dtype=torch.float64) for leaf in jax.tree.leaves(gradients)]
        for leaf, values in zip(leaves, jax.tree.leaves(gradients), strict=True):
            leaf.grad = torch.tensor(values[..., model])
        if most > 0:
            torch.nn.utils.clip_grad_norm_(leaves, float(most))
        for leaf, values in zip(leaves, jax.tree.leaves(clipped), strict=True):
            np.testing.assert_allclose(values[..., model], leaf.grad, rtol=1e-12)  # float64
