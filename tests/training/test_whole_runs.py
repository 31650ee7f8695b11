"""50 steps of the lanes engine are those of jax.vmap over one Flax model with optax's own optimizer and schedule."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from populations import cohort_of, in_float64, population_of, small_images, small_spec

from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.models.networks import build_network
from jaxzoo.spec.optimizer import OPTIMIZERS, Optimizer
from jaxzoo.spec.schedule import Schedule
from jaxzoo.training.population import get_state, initial_variables, put_images, train_epoch

pytestmark = pytest.mark.usefixtures("promotions_of_programs")

EPOCHS, STEPS = 10, 5  # of an epoch
COSINE = Schedule(kind="cosine", warmup=1.5, end=0.01)
STEP = Schedule(kind="step", every=3, factor=0.3)
CASES = [(Optimizer(name=name), Schedule()) for name in OPTIMIZERS]
CASES += [
    (Optimizer(name="adam", beta1=0.5, beta2=0.9, epsilon=1e-3), COSINE),
    (Optimizer(name="adamw", beta1=0.8, epsilon=1e-4), STEP),
    (Optimizer(name="nadam", beta1=0.6, beta2=0.95), COSINE),
    (Optimizer(name="lion", beta1=0.95, beta2=0.98), COSINE),
    (Optimizer(name="sgd", momentum=0.7, nesterov=True), STEP),
    (Optimizer(name="rms_prop", decay=0.9, epsilon=1e-4), Schedule()),
]


def optax_curve(schedule):
    """The schedule as someone writes it who knows optax."""
    if schedule == COSINE:  # 1.5 epochs of 5 steps, to the nearest even number of steps
        parts = [optax.linear_schedule(1 / 9, 1.0, 8), optax.cosine_decay_schedule(1.0, EPOCHS * STEPS - 8, 0.01)]
        return optax.join_schedules(parts, [8])
    if schedule == STEP:
        return optax.exponential_decay(1.0, 3 * STEPS, 0.3, staircase=True)
    return optax.constant_schedule(1.0)


def optax_optimizer(optimizer, rate, decay):
    """As optax has it, with weight decay inside the gradient where it is not the optimizer's."""
    own = {"b1": optimizer.beta1, "b2": optimizer.beta2, "eps": optimizer.epsilon, "decay": optimizer.decay}
    own = {name: value for name, value in own.items() if value is not None}
    inside = optax.add_decayed_weights(decay)
    match optimizer.name:
        case "sgd":
            momentum = 0.9 if optimizer.momentum is None else optimizer.momentum
            return optax.chain(inside, optax.sgd(rate, momentum, nesterov=bool(optimizer.nesterov)))
        case "rms_prop":
            return optax.chain(inside, optax.rmsprop(rate, **({"decay": 0.99} | own), eps_in_sqrt=False))
        case "adamw" | "lion":
            return getattr(optax, optimizer.name)(rate, **own, weight_decay=decay)
    return optax.chain(inside, getattr(optax, optimizer.name)(rate, **own))


def run_plainly(spec, start, images, orders_SBM):
    """Parameters (M, ...) after a step for each batch of images."""
    (optimizer,), network, curve = spec.grid.optimizer, build_network(spec), optax_curve(spec.schedule)
    rate_M, decay_M = (
        np.array([member.hyperparameters[name] for member in cohort_of(spec).members], np.float32).astype(float)
        for name in ("learning_rate", "weight_decay")
    )

    def chain(rate, decay):
        # optax divides a whole count in float32
        return optax_optimizer(optimizer, lambda count: rate * curve(count.astype(float)), decay)

    @jax.jit
    @jax.vmap
    def step(params, state, rate, decay, pixels, labels):
        def loss(params):
            logits = network.apply({"params": params}, pixels)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = chain(rate, decay).update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state = jax.vmap(lambda params, rate, decay: chain(rate, decay).init(params))(start, rate_M, decay_M)
    scale, shift = np.float32(1 / (255 * images.std)), np.float32(-images.mean / images.std)
    pixels = images.train.pixels * np.float64(scale) + np.float64(shift)
    params = start
    for order_BM in orders_SBM:
        params, state = step(
            params, state, rate_M, decay_M, pixels[order_BM.T], jnp.asarray(images.train.labels[order_BM.T])
        )
    return params


@pytest.mark.parametrize(
    ("optimizer", "schedule"), CASES, ids=lambda value: value.label if hasattr(value, "label") else None
)
def test_50_steps_end_in_the_same_weights_as_flax_and_optax(optimizer, schedule):
    rates = (1e-2, 3e-3) if optimizer.name == "sgd" else (1e-3, 3e-4)
    grid = {"optimizer": optimizer, "learning_rate": rates, "weight_decay": (1e-2,)}
    spec = dataclasses.replace(small_spec(train=50, seeds=1, epochs=EPOCHS, **grid), schedule=schedule)
    cohort, images = cohort_of(spec), small_images(spec.dataset)
    mesh = Mesh(np.array(jax.devices()[:1]), ("models",))
    with jax.enable_x64(True):
        population = population_of(cohort, mesh, lanes=2)
        population = population._replace(slabs=in_float64(population.slabs))
        device_images = in_float64(put_images(images, mesh))
        hyper = population.slabs[0].hyperparameters[0]
        orders = []
        for epoch in range(1, EPOCHS + 1):
            order_NM = np.asarray(population.program.shuffle(hyper.seed, NOTHING_SPECIAL, epoch).examples)[:50]
            orders += np.split(order_NM, range(spec.batch_size, spec.dataset.train, spec.batch_size))
            train_epoch(population, device_images, epoch)
        got = get_state(population).params
        start = jax.device_get(in_float64(initial_variables(cohort)["params"]))
        wanted = jax.device_get(run_plainly(spec, start, images, orders))
    assert len(orders) == EPOCHS * STEPS
    for name, layer in wanted.items():
        for kind, leaf in layer.items():
            moved = np.abs(leaf - start[name][kind]).max()
            assert moved > 1e-4
            # float64 rounds to 1e-16; 50 steps amplified float32's 6e-8 by up to 1e6
            np.testing.assert_allclose(got[name][kind], leaf, rtol=0, atol=1e-8 * moved)
