"""lanes = vmap of Flax = one Flax model after the other, in logits, gradients and after 100 steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from populations import cohort_of, in_float64, population_of, small_images, small_spec

from jaxzoo.keys import Role, fold, member_keys
from jaxzoo.models.engines import engines_for, population_forward, usual_way
from jaxzoo.models.networks import DropoutSource, Network
from jaxzoo.models.tally import count_batch
from jaxzoo.spec.grid import ACTIVATIONS
from jaxzoo.spec.layers import CNN_S, LAYERS
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.training.optimizers import build_optimizer
from jaxzoo.training.population import get_state, initial_variables, put_images, train_epoch

pytestmark = pytest.mark.usefixtures("promotions_of_programs")

ARCHITECTURES = ("cnn-s", "cnn-l")
RATES = {"adam": (1e-3, 3e-4), "sgd": (1e-2, 1e-3), "rms_prop": (1e-3, 3e-4)}
CASES = [(name, [*RATES][place % 3], (0.0,)) for place, name in enumerate(ACTIVATIONS)]
CASES += [("tanh", "adam", (0.0, 0.5)), ("gelu", "sgd", (0.3,)), ("relu", "rms_prop", (0.0, 0.3))]


def one_device():
    return Mesh(np.array(jax.devices()[:1]), ("models",))


def grid_spec(architecture, activation, optimizer, dropout, **changes):
    return small_spec(
        architecture,
        seeds=1,
        activation=(activation,),
        optimizer=(optimizer,),
        dropout=dropout,
        learning_rate=RATES[optimizer],
        weight_decay=(1e-2,),
        **changes,
    )


def relative_distance(left, right):
    """The largest distance of two trees, in units of the largest number in a leaf."""
    distances = jax.tree.map(lambda a, b: np.abs(a - b).max() / max(np.abs(b).max(), 1e-3), left, right)
    return max(jax.tree.leaves(distances))


def test_few_models_get_few_lanes():
    """Half of the models side by side on a CPU, where the others stand on another core."""
    cpu = {models: usual_way(CNN_S, "float32", models, "cpu") for models in (1, 2, 3, 4, 5, 17, 31, 33, 1000)}
    assert {models: lanes for models, (_, lanes) in cpu.items()} == {
        1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 17: 16, 31: 16, 33: 16, 1000: 16
    }  # fmt: skip
    assert {engine for engine, _ in cpu.values()} == {"lanes"}
    assert usual_way(CNN_S, "float32", 3, "gpu") == ("vmap", 3)
    assert usual_way(CNN_S, "float32", 100, "gpu") == ("lanes", 128)
    assert usual_way(LAYERS["resnet-18-narrow"], "float32", 50, "cpu") == ("vmap", 1)
    assert usual_way(CNN_S, "bfloat16", 50, "cpu") == ("vmap", 16)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_and_gradients_of_both_engines_are_those_of_flax(architecture, activation):
    spec = small_spec(architecture, seeds=3, activation=(activation,))
    cohort = cohort_of(spec)
    params = initial_variables(cohort)["params"]
    lanes_last = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), params)
    pixels = small_images(spec.dataset).train.pixels
    images_MBHWC = pixels[:30].reshape(3, 10, *pixels.shape[1:]) / np.float32(255)
    dropout = DropoutSource(jnp.array([0.0, 0.3, 0.5]), member_keys(np.arange(3)))
    network = Network(LAYERS[architecture], 10, activation)

    def loss_of_one(params, images, rate, key):
        return jnp.sum(jnp.sin(network.apply({"params": params}, images, DropoutSource(rate, key))))

    for engine in ("lanes", "vmap"):
        forward = population_forward(engine, LAYERS[architecture], 10, activation)
        images_BHWCM = jnp.moveaxis(images_MBHWC, 0, -1)

        def loss(params, forward=forward, images_BHWCM=images_BHWCM):
            logits, _ = forward(params, {}, images_BHWCM, dropout, None, None)
            loss_M = jnp.sum(jnp.sin(logits), axis=(0, 1))
            return jnp.sum(loss_M), loss_M

        gradients, loss_M = jax.jit(jax.grad(loss, has_aux=True))(lanes_last)
        for model in range(3):
            one = jax.tree.map(lambda leaf, model=model: leaf[model], params)
            arguments = (one, images_MBHWC[model], dropout.rate[model], dropout.key[model])
            value, wanted = jax.value_and_grad(loss_of_one)(*arguments)
            np.testing.assert_allclose(loss_M[model], value, atol=1e-4)  # float32: 100 terms, each off by up to 1e-6
            got = jax.tree.map(lambda leaf, model=model: leaf[..., model], gradients)
            assert relative_distance(got, wanted) < 2e-5  # float32 sums of up to 5,760 terms


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("activation", "optimizer", "dropout"), CASES)
def test_both_engines_end_in_the_same_weights_after_100_steps(architecture, activation, optimizer, dropout):
    """In float64: in float32 near ties in pooling windows, decided by the last bit, move the weights apart by 1e-3."""
    spec = grid_spec(architecture, activation, optimizer, dropout, train=47)  # 5 steps an epoch, the last of 7 images
    cohort = cohort_of(spec)
    ends, losses = [], []
    with jax.enable_x64(True):
        images = put_images(small_images(spec.dataset), one_device())
        for engine in ("lanes", "vmap"):
            population = population_of(cohort, one_device(), engine=engine, lanes=len(cohort.members))
            population = population._replace(slabs=in_float64(population.slabs))
            for epoch in range(1, 21):
                metrics = train_epoch(population, images, epoch)
            ends.append(get_state(population).params)
            losses.append(metrics["train_loss"])

    start = initial_variables(cohort)["params"]
    moved = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), ends[1], start)))
    apart = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), *ends)))
    assert moved > 1e-2
    assert apart < 1e-8 * moved  # float64 rounds to 1e-16; 100 steps amplified float32's 6e-8 by up to 1e6
    np.testing.assert_allclose(*losses, rtol=1e-8)


def test_a_population_is_one_flax_and_optax_loop_per_member():
    spec = grid_spec("cnn-s", "tanh", "adam", (0.0, 0.5), epochs=2)
    cohort = cohort_of(spec)
    images = small_images(spec.dataset)
    population = population_of(cohort, one_device(), lanes=4)
    device_images = put_images(images, one_device())
    for epoch in (1, 2):
        metrics = train_epoch(population, device_images, epoch)
    end = get_state(population).params

    for member in cohort.members:
        weights, loss = train_alone(spec, member, images)
        got = jax.tree.map(lambda leaf, row=member.row: leaf[row], end)
        assert relative_distance(got, weights) < 1e-4  # 10 steps in float32
        np.testing.assert_allclose(metrics["train_loss"][member.row], loss, rtol=1e-4)


def train_alone(spec, member, images):
    """One member as anyone would write it: its own shuffle, batches, dropout and optimizer."""
    values = member.hyperparameters
    network = Network(spec.layers, 10, values["activation"], values["initialization"])
    root = jax.random.key(member.seed)
    pixels = (images.train.pixels / 255 - images.mean) / images.std
    pixels = jnp.asarray(pixels, jnp.float32)
    labels = jnp.asarray(images.train.labels)
    params = network.init(fold(root, Role.INITIALIZATION), pixels[:1])["params"]
    optimizer = build_optimizer(
        Optimizer(name=values["optimizer"]), values["learning_rate"], values["weight_decay"], {"momentum": 0.9}
    )
    state = optimizer.init(params)

    def batch_loss(params, batch, key):
        logits = network.apply({"params": params}, pixels[batch], DropoutSource(jnp.float32(values["dropout"]), key))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()

    for epoch in range(1, spec.epochs + 1):
        order = np.asarray(jax.random.permutation(fold(root, Role.SHUFFLE, epoch), len(labels)))
        total = 0.0
        for step, first in enumerate(range(0, len(order), spec.batch_size)):
            batch = order[first : first + spec.batch_size]
            loss, gradient = jax.value_and_grad(batch_loss)(params, batch, fold(root, Role.DROPOUT, epoch, step))
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            total += float(loss) * len(batch)
    return params, total / len(order)


def equations_of(jaxpr):
    """Every equation, those inside of other equations too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(inner, "eqns"):
                yield from equations_of(inner)
            elif hasattr(inner, "jaxpr"):
                yield from equations_of(inner.jaxpr)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "resnet-18-narrow"])
def test_float32_means_float32_on_every_device(architecture):
    """By default a TPU multiplies float32 in bfloat16, and a GPU in 19 bits."""
    spec = small_spec(architecture)
    cohort = cohort_of(spec)
    variables = jax.tree.map(lambda leaf: jnp.moveaxis(jnp.asarray(leaf), 0, -1), initial_variables(cohort))
    images = jnp.ones((3, spec.dataset.size, spec.dataset.size, spec.dataset.channels, 1))
    for engine in engines_for(spec.layers):
        forward = population_forward(engine, spec.layers, 10, "tanh", "float32", "tpu")

        def loss(params, forward=forward):
            logits, _ = forward(params, variables.get("batch_stats", {}), images, None, None, None)
            return count_batch(logits, jnp.zeros((3, 1), jnp.int32), jnp.ones(3)).loss.sum()

        equations = [*equations_of(jax.make_jaxpr(jax.grad(loss))(variables["params"]).jaxpr)]
        products = [each for each in equations if each.primitive.name in ("dot_general", "conv_general_dilated")]
        assert products
        highest = jax.lax.Precision.HIGHEST
        assert {each.params["precision"] for each in products} <= {highest, (highest, highest)}
