"""Factors: what each does to a member, against a loop over plain batches that anyone would write."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from populations import cohort_of, in_float64, population_of, small_images, small_spec

from jaxzoo.devices import model_mesh
from jaxzoo.keys import Role, fold
from jaxzoo.models.networks import Network
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.spec.pairs import Vary
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training.population import get_state, initial_variables, put_images, train_epoch
from jaxzoo.training.programs import build_program, state_shapes
from jaxzoo.training.schedules import moment_at

pytestmark = pytest.mark.usefixtures("promotions_of_programs")

N, BATCH = 50, 10
CONSTANT = Schedule()
CASES = {
    "fewer examples": ({"train_fraction": (0.3, 1.0), "label_noise": (0.0, 0.2)}, "adam", Schedule(kind="one-cycle")),
    "fewer, over a cosine": ({"train_fraction": (0.52, 0.7)}, "nadam", Schedule(kind="cosine", warmup=1, end=0.1)),
    "left out, and a patch": (
        {"excluded": (0.2,), "subset": (0, 7), "excluded_class": (-1, 3), "trigger": (0.0, 0.3), "momentum": (0.5,)},
        "sgd",
        Schedule(kind="step", every=2),
    ),
    "loss and optimizer": (
        {
            "label_smoothing": (0.1,),
            "gradient_clip": (0.0, 0.5),
            "beta1": (0.8,),
            "beta2": (0.9, 0.99),
            "epsilon": (1e-4,),
            "initialization_scale": (0.5,),
            "initialization_bias": (0.1, 0.0),
        },
        "adamw",
        CONSTANT,
    ),
}


def factor_spec(factors, optimizer="adam", schedule=CONSTANT, epochs=10):
    rate = 1e-2 if optimizer == "sgd" else 1e-3
    plain = {"optimizer": (optimizer,), "learning_rate": (rate,), "weight_decay": (1e-2,)}
    spec = small_spec(train=N, seeds=1, epochs=epochs, **plain)
    return dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, **factors), schedule=schedule)


def examples_of(member, labels):
    """Which examples a member sees, under which labels and with the patch: picked one by one."""
    point, root = member.hyperparameters, jax.random.key(member.seed)

    def first(share, role, key=root):
        rank = np.asarray(jax.random.permutation(fold(key, role), N))
        return rank < round(point.get(share, 0.0) * N)

    seen = first("train_fraction", Role.SUBSET) if "train_fraction" in point else np.ones(N, bool)
    of_subset = jax.random.key(point["subset"]) if "subset" in point else root
    seen &= ~first("excluded", Role.EXCLUDED, of_subset)
    own = labels.copy()
    others = np.asarray(jax.random.randint(fold(root, Role.OTHER_LABEL), (N,), 1, 10, jnp.int32))
    patched = first("trigger", Role.TRIGGER)
    for index in range(N):
        if labels[index] == point.get("excluded_class", -1):
            seen[index] = False
        if first("label_noise", Role.LABEL_NOISE)[index]:
            own[index] = (labels[index] + others[index]) % 10
        if patched[index]:
            own[index] = 0
    return seen, own, patched


def optimizer_of(point, rate, beta1):
    """Optax's own, with decay where PyTorch has it. A schedule may move `beta1`."""
    decay = float(np.float32(point["weight_decay"]))
    given = {"b1": "beta1", "b2": "beta2", "eps": "epsilon"}
    own = {theirs: float(np.float32(point[ours])) for theirs, ours in given.items() if ours in point}
    own |= {} if beta1 is None else {"b1": beta1}
    inside = optax.add_decayed_weights(decay)
    match point["optimizer"]:
        case "sgd":
            return optax.chain(inside, optax.sgd(rate, point["momentum"]))
        case "adamw":
            return optax.adamw(rate, **own, weight_decay=decay)
    return optax.chain(inside, getattr(optax, point["optimizer"])(rate, **own))


def train_plainly(spec, member, images, start):
    """One member in float64, batch by batch."""
    point, root = member.hyperparameters, jax.random.key(member.seed)
    network = Network(spec.layers, 10, point["activation"])
    seen, labels, patched = examples_of(member, images.train.labels)
    raw = images.train.pixels.copy()
    raw[patched, -3:, -3:] = 255
    scale, shift = np.float32(1 / (255 * images.std)), np.float32(-images.mean / images.std)
    pixels = raw * np.float64(scale) + np.float64(shift)
    steps = -(-seen.sum() // BATCH)
    smoothing = float(np.float32(point.get("label_smoothing", 0.0)))
    clip = point.get("gradient_clip", 0.0)

    @jax.jit
    def loss_and_gradient(params, pixels, labels):
        def loss(params):
            logits = network.apply({"params": params}, pixels)
            hot = optax.smooth_labels(jax.nn.one_hot(labels, 10), smoothing)
            return optax.softmax_cross_entropy(logits, hot).mean()

        return jax.value_and_grad(loss)(params)

    params, state, total = start, None, 0.0
    for epoch in range(1, spec.epochs + 1):
        order = np.asarray(jax.random.permutation(fold(root, Role.SHUFFLE, epoch), N))
        order = order[seen[order]]
        total = 0.0
        for number in range(steps):
            batch = order[number * BATCH : (number + 1) * BATCH]
            loss, gradient = loss_and_gradient(params, pixels[batch], labels[batch])
            if clip:
                norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
                gradient = jax.tree.map(lambda leaf, norm=norm: leaf * min(1.0, clip / (norm + 1e-6)), gradient)
            step = (epoch - 1) * steps + number
            moment = moment_at(spec.schedule, step, int(steps), int(spec.epochs * steps))
            rate = float(np.float32(point["learning_rate"])) * (1.0 if moment is None else moment.rate)
            optimizer = optimizer_of(point, rate, None if moment is None else moment.momentum)
            state = optimizer.init(params) if state is None else state
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            total += float(loss) * len(batch)
    return params, total / seen.sum()


@pytest.mark.parametrize("case", CASES)
def test_a_member_ends_in_the_same_weights_as_by_a_plain_loop(case):
    spec = factor_spec(*CASES[case])
    cohort, images = cohort_of(spec), small_images(spec.dataset)
    mesh = Mesh(np.array(jax.devices()[:1]), ("models",))
    with jax.enable_x64(True):
        population = population_of(cohort, mesh, lanes=4)
        population = population._replace(slabs=in_float64(population.slabs))
        device_images = in_float64(put_images(images, mesh))
        for epoch in range(1, spec.epochs + 1):
            metrics = train_epoch(population, device_images, epoch)
        got = get_state(population).params
        starts = jax.device_get(in_float64(initial_variables(cohort)["params"]))
        for member in cohort.members:
            start = jax.tree.map(lambda leaf, row=member.row: leaf[row], starts)
            wanted, loss = jax.device_get(train_plainly(spec, member, images, start))
            moved = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), wanted, start)))
            own = jax.tree.map(lambda leaf, row=member.row: leaf[row], got)
            apart = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), own, wanted)))
            assert moved > 1e-3
            assert apart < 1e-8 * moved, member  # float64 rounds to 1e-16; 50 steps amplified it by up to 1e6
            np.testing.assert_allclose(metrics["train_loss"][member.row], loss, rtol=1e-8)


MIXED_ADAM = {
    "beta1": (0.9, 0.5),
    "beta2": (0.99,),
    "epsilon": (1e-8, 1e-3),
    "initialization_bias": (0.0, 0.1),
    "excluded": (0.2,),
    "subset": (0, 7),
    "excluded_class": (-1, 3),
}
MIXED = {
    "train_fraction": (0.3, 1.0),
    "excluded": (0.1,),
    "label_noise": (0.0, 0.3),
    "trigger": (0.1,),
    "gradient_clip": (0.0, 1.0),
    "label_smoothing": (0.1,),
    "momentum": (0.9, 0.5),
    "initialization_scale": (0.5, 1.0),
}


def end_of(spec, models, lanes=4, twin=None):
    cohort = cohort_of(spec, models)
    population = population_of(cohort, model_mesh(), lanes=lanes, twin=twin)
    images = put_images(small_images(spec.dataset), model_mesh())
    for epoch in (1, 2):
        metrics = train_epoch(population, images, epoch)
    leaves = [leaf for leaf in jax.tree.leaves((get_state(population), metrics)) if leaf.ndim]
    return {model: [leaf[row] for leaf in leaves] for row, model in enumerate(models)}


@pytest.mark.parametrize(("factors", "optimizer"), [(MIXED, "sgd"), (MIXED_ADAM, "adam")], ids=["sgd", "adam"])
def test_a_member_ends_in_the_same_bits_whatever_its_company(factors, optimizer):
    spec = factor_spec(factors, optimizer, Schedule(kind="cosine"))
    everyone = end_of(spec, range(32))
    for models in ([13], [31, 2, 13]):
        for model, leaves in end_of(spec, models).items():
            for leaf, other in zip(leaves, everyone[model], strict=True):
                np.testing.assert_array_equal(leaf, other)


def orders_of(spec, epoch, twin=None):
    """Of every member the examples that it sees in an epoch, with their labels."""
    cohort = cohort_of(spec)
    population = population_of(cohort, model_mesh(), lanes=2, twin=twin)
    labels = put_images(small_images(spec.dataset), model_mesh()).labels
    found = []
    for slab in population.slabs:
        hyper = slab.hyperparameters[0]
        seen = population.program.see(hyper, labels)
        order = jax.device_get(population.program.shuffle(hyper.seed, seen, epoch))
        for lane in range(population.program.width):
            count = N if order.seen is None else order.seen[lane]
            own = order.labels[:count, lane]
            found.append(dict(zip(order.examples[:count, lane].tolist(), own.tolist(), strict=True)))
    return found[: len(cohort.members)]


def test_shares_are_nested_and_the_same_in_every_epoch_and_for_twins():
    spec = factor_spec({"train_fraction": (0.3, 0.6), "label_noise": (0.0, 0.2, 0.5)})
    labels = small_images(spec.dataset).train.labels
    first, second, twins = orders_of(spec, 1), orders_of(spec, 2), orders_of(spec, 1, TwinSpec())
    assert [*first[0]] != [*second[0]]  # the order is another one
    assert [*first[0]] != [*twins[0]]
    assert first == second == twins  # what is seen is not
    small, large = first[:3], first[3:]
    assert [len(seen) for seen in first] == [15] * 3 + [30] * 3
    for few, many in zip(small, large, strict=True):
        assert few.items() <= many.items()
    changed = [{index for index, label in seen.items() if label != labels[index]} for seen in large]
    assert changed[0] == set()
    assert changed[0] < changed[1] < changed[2]


@pytest.mark.parametrize("twin", [None, TwinSpec()], ids=["dense", "twins"])
def test_twins_of_partners_are_made_after_the_change(twin):
    vary = Vary(factor="label_noise", value=0.2, from_epoch=3)
    spec = dataclasses.replace(factor_spec({}), vary=(vary,))
    population = population_of(cohort_of(spec), model_mesh(), lanes=2, twin=twin)
    noisy = [hyper.whole["label_noise"].tolist()[:2] for hyper in population.slabs[0].hyperparameters]
    assert (list(population.phases), noisy) == (([1, 3], [[0, 0], [0, 10]]) if twin is None else ([1], [[0, 10]]))


def test_an_undeclared_factor_is_in_no_program_and_a_neutral_one_changes_no_number():
    plain = factor_spec({}, "adamw")
    neutral = {"train_fraction": 1.0, "label_noise": 0.0, "gradient_clip": 0.0, "trigger": 0.0, "beta1": 0.9}
    declared = factor_spec({name: (value,) for name, value in neutral.items()}, "adamw")
    assert cohort_of(plain).key.factors == ()
    assert state_shapes(cohort_of(plain).key, None, 2).optimizer[0].count.shape == ()
    assert state_shapes(cohort_of(declared).key, None, 2).optimizer[0].count.shape == (2,)
    for leaf, other in zip(end_of(plain, [0])[0], [a for a in end_of(declared, [0])[0] if a.ndim], strict=False):
        np.testing.assert_allclose(leaf, other, rtol=1e-4, atol=1e-6)  # float32, 10 steps, a sum in another order


def test_members_of_other_batch_sizes_are_of_other_programs():
    spec = factor_spec({"batch_size": (5, 10)}, epochs=1)
    keys = [cohort.key for cohort in plan_zoo(spec).cohorts]
    assert [key.batch_size for key in keys] == [5, 10]
    assert [build_program(key, "lanes", 2, model_mesh()).steps for key in keys] == [10, 5]
    assert {key.factors for key in keys} == {()}


def test_batch_statistics_of_a_member_are_of_the_examples_that_it_sees():
    factors = {"train_fraction": (0.25, 0.5)}
    grid = {"activation": ("relu",), "optimizer": (Optimizer(name="sgd"),), "learning_rate": (0.05,), **factors}
    spec = small_spec("resnet-18-narrow", train=20, batch_size=5, seeds=1, epochs=1, **grid)
    cohort, images = cohort_of(spec), small_images(spec.dataset)
    mesh = Mesh(np.array(jax.devices()[:1]), ("models",))
    population = population_of(cohort, mesh, engine="vmap", lanes=2)
    train_epoch(population, put_images(images, mesh), 1)
    together = get_state(population).batch_stats
    for member in cohort.members:
        alone = population_of(cohort_of(spec, [member.model]), mesh, engine="vmap", lanes=2)
        train_epoch(alone, put_images(images, mesh), 1)
        for leaf, other in zip(jax.tree.leaves(together), jax.tree.leaves(get_state(alone).batch_stats), strict=True):
            np.testing.assert_array_equal(leaf[member.row], other[0])
            assert np.isfinite(leaf).all()
