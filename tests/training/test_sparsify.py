"""Sparse twins' arithmetic against obvious versions; pruning; noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from jax.sharding import Mesh
from populations import cohort_of, in_float64, population_of, small_images, small_spec

from jaxzoo.keys import member_keys
from jaxzoo.models.engines import population_forward
from jaxzoo.models.lanes.pooling import max_pool
from jaxzoo.models.lanes.sampling import sample as fast_sample
from jaxzoo.models.networks import DropoutSource, Network, SamplingSource, sample
from jaxzoo.models.noise import normal_noise
from jaxzoo.models.sparsity import sparsity_metrics
from jaxzoo.spec.layers import CNN_S, LAYERS, Conv, Dense
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training.population import get_params, get_state, initial_variables, put_images, train_epoch
from jaxzoo.training.sparsify import magnitude, variational

CONV, DENSE = Conv("conv1", 5, 8), Dense("dense1", 20)
VARIATIONAL, MAGNITUDE = TwinSpec(epochs=4), TwinSpec(method="magnitude", epochs=4)


def one_device():
    return Mesh(np.array(jax.devices()[:1]), ("models",))


def trained_like(architecture, models=3, channels=1):
    """Parameters with log variances as training might leave them, model axis last; some weights gone."""
    cohort = cohort_of(small_spec(architecture, seeds=models))
    params = jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, -1), initial_variables(cohort)["params"])
    draws = np.random.default_rng(0)
    full = variational.with_log_variances(LAYERS[architecture], params)
    for name, kinds in full.items():
        if name.endswith("_log_variance"):
            for kind, leaf in kinds.items():
                kinds[kind] = (leaf + draws.uniform(0, 12, leaf.shape)).astype(np.float32)
    return full


def test_noise_is_normal_and_a_members_own():
    keys, shape = member_keys(np.arange(4)), (10, 13, 13, 8)
    together = np.asarray(normal_noise(keys, 2, shape))
    for member in range(4):
        # not to the last bit: a compiler may order the polynomials' sums otherwise
        np.testing.assert_allclose(together[..., member], normal_noise(keys[member], 2, shape), atol=1e-5)
    np.testing.assert_allclose(together[6:], normal_noise(keys, 2, (4, *shape[1:]), first=6), atol=1e-5)
    assert scipy.stats.kstest(together.ravel(), "norm").pvalue > 0.01
    rows = np.stack([*together.reshape(-1, 4).T, *np.asarray(normal_noise(keys, 3, shape)).reshape(-1, 4).T])
    rows = np.concatenate([rows, np.roll(rows[:, :], 1, axis=1)])
    assert np.abs(np.corrcoef(rows) - np.eye(16)).max() < 5 / np.sqrt(rows.shape[1])


def test_every_step_of_the_noise_is_the_normal_quantile():
    from jaxzoo.models.noise import _to_normal

    bits = np.arange(2**16, dtype=np.uint32)
    wanted = scipy.special.ndtri((bits + 0.5) / 2**16)
    np.testing.assert_allclose(_to_normal(jnp.asarray(bits)), wanted, atol=2e-4)  # two polynomials, 1e-4 each


def test_threefry_is_jaxs():
    from jaxzoo.models.noise import ROUNDS, _threefry

    key = jax.random.key_data(jax.random.key(5))
    left, right = np.arange(8, dtype=np.uint32), np.arange(100, 108, dtype=np.uint32)
    words = jax.extend.random.threefry2x32_p.bind(*jnp.broadcast_arrays(key[0], key[1], left, right))
    for word, wanted in zip(_threefry(key[0], key[1], left, right, ROUNDS), words, strict=True):
        np.testing.assert_array_equal(word, wanted)


@pytest.mark.parametrize("log_alpha", [-6.0, -2.0, 0.0, 1.0, 3.0, 7.0])
def test_the_divergence_is_that_of_numerical_integration(log_alpha):
    """KL(N(w, alpha w^2) || log-uniform) is E log|x| - log sigma and a constant, x ~ N(1, alpha), w = 1.

    The constant is chosen so that it vanishes for large alpha.
    """
    alpha = np.exp(log_alpha)

    def expectation(alpha):
        spread = np.sqrt(alpha)

        def integrand(x):
            return scipy.stats.norm.pdf(x, 1, spread) * np.log(abs(x))

        pieces = [(-40 * spread - 1, -1e-9), (1e-9, 1), (1, 1 + 40 * spread)]
        return sum(scipy.integrate.quad(integrand, *piece, limit=500)[0] for piece in pieces)

    limit = expectation(np.exp(14.0)) - 7.0
    wanted = expectation(alpha) - 0.5 * log_alpha - limit
    # the approximation's own error, given as below 0.009 nats by its authors
    np.testing.assert_allclose(variational.kl_divergence(jnp.float32(log_alpha)), wanted, atol=0.015)


def test_the_ramp_of_the_divergence():
    weights = [float(variational.kl_weight(epoch, 25)) for epoch in (1, 2, 25)]
    np.testing.assert_allclose(weights, [0.0, 0.01 / 25, 0.01 * 24 / 25])


def obvious_log_alpha(layer, mean, log_variance):
    limit = 8 if isinstance(layer, Conv) else 10
    return np.clip(log_variance - 2 * np.log(np.abs(mean) + 1e-15), -limit, limit)


@pytest.mark.parametrize("architecture", ["cnn-s", "cnn-l"])
def test_moments_and_sparse_weights_are_the_formulas(architecture):
    layers = LAYERS[architecture]
    params = trained_like(architecture)
    derived, divergence = variational.moments(layers, params)
    sparse = variational.sparse_params(layers, params)
    wanted = np.zeros(3)
    for layer in layers:
        if not isinstance(layer, Conv | Dense):
            continue
        for kind in ("kernel", "bias"):
            mean = params[layer.name][kind].astype(np.float64)
            if isinstance(layer, Dense) and kind == "bias":
                assert kind not in derived[f"{layer.name}_variance"]
                np.testing.assert_array_equal(sparse[layer.name][kind], mean)
                continue
            log_alpha = obvious_log_alpha(layer, mean, params[f"{layer.name}_log_variance"][kind])
            got = derived[f"{layer.name}_variance"][kind]
            np.testing.assert_allclose(got, np.exp(log_alpha) * mean**2, rtol=2e-5)  # float32 exponentials
            sigmoid = 1 / (1 + np.exp(-(1.8732 + 1.48695 * log_alpha)))
            terms = -(0.63576 * sigmoid - 0.5 * np.log1p(np.exp(-log_alpha)) - 0.63576)
            wanted += terms.reshape(-1, 3).sum(axis=0)
            near = np.abs(log_alpha - 3) < 1e-4  # where float32 may decide otherwise
            np.testing.assert_array_equal((np.asarray(sparse[layer.name][kind]) == 0)[~near], (log_alpha >= 3)[~near])
    np.testing.assert_allclose(divergence, wanted, rtol=1e-5)
    share = np.mean(np.asarray(sparse["conv2"]["kernel"]) == 0)
    assert 0.05 < share < 0.95


def numpy_conv(x, kernel):
    K = kernel.shape[0]
    rows, columns = x.shape[1] - K + 1, x.shape[2] - K + 1
    patches = np.stack([x[:, i : i + rows, j : j + columns] for i in range(K) for j in range(K)], axis=3)
    return np.einsum("bhwkc,kco->bhwo", patches, kernel.reshape(K * K, *kernel.shape[2:]))


def numpy_forward(layers, params, x, noises):
    """Sampled logits of one model with tanh, in float64: every layer's mean and variance written out."""
    noises = iter(noises)
    for layer in layers:
        if isinstance(layer, Conv | Dense):
            weights, spread = params[layer.name], params[f"{layer.name}_log_variance"]
            alphas = {kind: np.exp(obvious_log_alpha(layer, weights[kind], spread[kind])) for kind in spread}
            product = numpy_conv if isinstance(layer, Conv) else np.matmul
            mean = product(x, weights["kernel"]) + weights["bias"]
            variance = product(x**2, alphas["kernel"] * weights["kernel"] ** 2)
            if "bias" in alphas:
                variance = variance + alphas["bias"] * weights["bias"] ** 2
            x = mean + np.sqrt(variance + 1e-8) * next(noises)
        elif type(layer).__name__ == "MaxPool":
            height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
            x = np.max([x[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)], axis=0)
        elif type(layer).__name__ == "Activation":
            x = np.tanh(x)
        elif type(layer).__name__ == "Flatten":
            x = x.reshape(len(x), -1)
    return x


def sampled_shapes(layers, image):
    shapes = []
    size, channels = image[0], image[2]
    for layer in layers:
        if isinstance(layer, Conv):
            size, channels = size - layer.kernel + 1, layer.features
            shapes.append((size, size, channels))
        elif isinstance(layer, Dense):
            shapes.append((layer.features or 10,))
        elif type(layer).__name__ == "MaxPool":
            size //= 2
    return shapes


@pytest.mark.usefixtures("promotions_of_programs")
@pytest.mark.parametrize("engine", ["lanes", "vmap"])
@pytest.mark.parametrize("architecture", ["cnn-s", "cnn-l"])
def test_sampled_logits_are_numpys(architecture, engine):
    spec = small_spec(architecture)
    layers = LAYERS[architecture]
    params = trained_like(architecture)
    pixels = small_images(spec.dataset).train.pixels[:6] / np.float32(255)
    images = np.stack([pixels[:2], pixels[2:4], pixels[4:]], axis=-1)
    keys = member_keys(np.arange(3))
    derived, _ = variational.moments(layers, params)
    forward = population_forward(engine, LAYERS[architecture], 10, "tanh")
    logits, _ = forward(derived, {}, images, None, SamplingSource(keys, 5), None)
    shapes = sampled_shapes(layers, pixels.shape[1:])
    for model in range(3):
        one = jax.tree.map(lambda leaf, model=model: leaf[..., model].astype(np.float64), params)
        noises = [normal_noise(keys[model], draw, (2, *shape), 5) for draw, shape in enumerate(shapes)]
        wanted = numpy_forward(layers, one, images[..., model].astype(np.float64), noises)
        np.testing.assert_allclose(logits[..., model], wanted, atol=2e-4)  # float32, five layers


@pytest.mark.usefixtures("promotions_of_programs")
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("architecture", ["cnn-s", "cnn-l"])
def test_sampled_gradients_of_lanes_are_those_of_flax(architecture, dropout):
    """In float64: near ties in pooling windows are decided by the last bit."""
    with jax.enable_x64(True):
        check_sampled_gradients(architecture, dropout)


def check_sampled_gradients(architecture, dropout):
    layers = LAYERS[architecture]
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), trained_like(architecture))
    pixels = small_images(small_spec(architecture).dataset).train.pixels[:6] / 255
    images = jnp.stack([pixels[:2], pixels[2:4], pixels[4:]], axis=-1)
    keys = member_keys(np.arange(3))
    rates = jnp.array([0.0, 0.3, 0.5])
    network = Network(layers, 10, "gelu")

    def loss_of_one(params, images, key, rate):
        draw = DropoutSource(rate, key) if dropout else None
        logits = network.apply({"params": variational.moments(layers, params)[0]}, images, draw, SamplingSource(key))
        return jnp.sum(logits**2)

    def loss(params):
        draw = DropoutSource(rates, keys) if dropout else None
        forward = population_forward("lanes", LAYERS[architecture], 10, "gelu")
        derived, _ = variational.moments(layers, params)
        return jnp.sum(forward(derived, {}, images, draw, SamplingSource(keys), None)[0] ** 2)

    gradients = jax.jit(jax.grad(loss))(params)
    for model in range(3):
        one = jax.tree.map(lambda leaf, model=model: leaf[..., model], params)
        wanted = jax.grad(loss_of_one)(one, images[..., model], keys[model], rates[model])
        for got, leaf in zip(jax.tree.leaves(gradients), jax.tree.leaves(wanted), strict=True):
            # the noise is float32 and its polynomials may be rounded otherwise; in units of the leaf's largest
            np.testing.assert_allclose(got[..., model], leaf, atol=1e-5 * np.abs(leaf).max())


@pytest.mark.usefixtures("promotions_of_programs")
def test_the_fast_sample_is_the_plain_one():
    draws = np.random.default_rng(0)
    mean, noise = draws.standard_normal((2, 4, 6, 6, 3, 5), np.float32)
    variance = draws.random((4, 6, 6, 3, 5), np.float32) ** 4
    variance[0] = 0

    def both(function):
        return jax.vjp(lambda mean, variance: max_pool(function(mean, variance, noise)), mean, variance)

    (fast, fast_back), (plain, plain_back) = both(fast_sample), both(sample)
    np.testing.assert_allclose(fast, plain, rtol=2e-6, atol=1e-6)  # a root times its reciprocal
    for got, wanted in zip(fast_back(jnp.ones_like(plain)), plain_back(jnp.ones_like(plain)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_pruning_takes_the_smallest_weights():
    params = {name: kinds for name, kinds in trained_like("cnn-s").items() if "log" not in name}
    for sparsity in (0.0, 0.37, 0.8, 1.0):
        by_layer = magnitude.prune(params, jnp.float32(sparsity), "layer")
        everywhere = magnitude.prune(params, jnp.float32(sparsity), "global")
        for model in range(3):
            sizes = {name: np.abs(params[name]["kernel"][..., model]).ravel() for name in params}
            for name, size in sizes.items():
                gone = np.sort(np.argsort(size, kind="stable")[: round(sparsity * size.size)])
                mask = np.asarray(by_layer[name]["kernel"])[..., model].ravel()
                np.testing.assert_array_equal(np.flatnonzero(mask == 0), gone)
            flat = np.concatenate([*sizes.values()])
            gone = np.sort(np.argsort(flat, kind="stable")[: round(sparsity * flat.size)])
            masks = np.concatenate([np.asarray(everywhere[name]["kernel"])[..., model].ravel() for name in params])
            np.testing.assert_array_equal(np.flatnonzero(masks == 0), gone)


def test_the_schedule_of_pruning_is_cubic_over_the_first_half():
    got = [float(magnitude.sparsity_at(epoch, 25, 0.8)) for epoch in (1, 6, 13, 20)]
    np.testing.assert_allclose(got, [0.8 * (1 - (12 / 13) ** 3), 0.8 * (1 - (7 / 13) ** 3), 0.8, 0.8], rtol=1e-6)


def train_twins(twin, *, engine="lanes", lanes=4, epochs=4, **grid):
    spec = small_spec("cnn-s", seeds=3, **grid)
    cohort = cohort_of(spec)
    population = population_of(cohort, one_device(), engine=engine, lanes=lanes, twin=twin)
    images = put_images(small_images(spec.dataset), one_device())
    yield population
    for epoch in range(1, epochs + 1):
        train_epoch(population, images, epoch)
        yield population


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rms_prop"])
def test_pruned_weights_stay_at_zero_under_momentum_and_decay(optimizer):
    gone = None
    for population in train_twins(MAGNITUDE, optimizer=(optimizer,), weight_decay=(1e-2,)):
        kernels = [kinds["kernel"] for kinds in get_params(population).values()]
        flat = np.concatenate([kernel.reshape(len(kernel), -1) for kernel in kernels], axis=1)
        if gone is not None:
            assert (flat[gone] == 0).all()
        gone = flat == 0
    np.testing.assert_allclose(gone.mean(axis=1), 0.8, atol=1 / gone.shape[1])
    biases = [kinds["bias"] for kinds in get_params(population).values()]
    assert all((bias != 0).any() for bias in biases)


@pytest.mark.parametrize("twin", [VARIATIONAL, MAGNITUDE], ids=lambda twin: twin.method)
def test_a_twin_does_not_depend_on_its_company(twin):
    ends = []
    for models in (None, [1], [2, 1]):
        spec = small_spec("cnn-s", seeds=3, dropout=(0.3,))
        cohort = cohort_of(spec, models)
        population = population_of(cohort, one_device(), lanes=4, twin=twin)
        images = put_images(small_images(spec.dataset), one_device())
        for epoch in (1, 2):
            train_epoch(population, images, epoch)
        row = [member.seed for member in cohort.members].index(2)
        ends.append(jax.tree.map(lambda leaf, row=row: leaf[row] if leaf.ndim else leaf, get_state(population)))
    for end in ends[1:]:
        jax.tree.map(np.testing.assert_array_equal, ends[0], end)


def test_both_engines_train_the_same_twins():
    """In float64, as for dense training: near ties in pooling windows are decided by the last bit."""
    ends = []
    with jax.enable_x64(True):
        for engine in ("lanes", "vmap"):
            spec = small_spec("cnn-s", seeds=2, dropout=(0.3,), learning_rate=(1e-2,), optimizer=("sgd",))
            cohort = cohort_of(spec)
            population = population_of(cohort, one_device(), engine=engine, lanes=2, twin=VARIATIONAL)
            population = population._replace(slabs=in_float64(population.slabs))
            images = put_images(small_images(spec.dataset), one_device())
            for epoch in (1, 2, 3):
                train_epoch(population, images, epoch)
            ends.append(get_state(population).params)
    for got, wanted in zip(jax.tree.leaves(ends[0]), jax.tree.leaves(ends[1]), strict=True):
        # noise is float32 in both; its polynomials may be rounded otherwise
        np.testing.assert_allclose(got, wanted, atol=1e-5 * max(1, np.abs(wanted).max()))


def test_sparsity_counts_zero_weights_and_no_biases():
    params = {
        "conv1": {"kernel": np.array([[[1.0, 0.0]], [[0.0, 0.0]]]), "bias": np.zeros((2, 1))},
        "dense1": {"kernel": np.array([[[1.0], [0.0], [2.0], [3.0]]] * 2), "bias": np.ones((2, 1))},
    }
    metrics = sparsity_metrics(params)
    assert list(metrics) == ["sparsity", "sparsity_conv1", "sparsity_dense1"]
    np.testing.assert_allclose(metrics["sparsity"], [2 / 6, 3 / 6])
    np.testing.assert_allclose(metrics["sparsity_conv1"], [0.5, 1.0])


def test_layers_of_a_twin_are_those_of_the_network():
    assert [name for name in variational.means(CNN_S, trained_like("cnn-s"))] == [
        "conv1", "conv2", "conv3", "dense1", "dense2",
    ]  # fmt: skip
