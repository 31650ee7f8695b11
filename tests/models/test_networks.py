"""One model: its size, its initial weights, its dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import cohort_of, small_spec

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.keys import member_keys
from jaxzoo.models.networks import build_network, drop_out
from jaxzoo.models.noise import uniform_noise
from jaxzoo.models.variables import parameter_count
from jaxzoo.spec.grid import INITIALIZATIONS
from jaxzoo.training.population import initial_variables

COUNTS = {
    "mnist-seed": 2_464,
    "cifar10-small-seed": 2_864,
    "cifar10-large-seed": 10_853,
    "cifar10-resnet18": 11_173_962,
    "cifar100-resnet18": 11_220_132,
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts_are_the_published_ones(name, count):
    spec = jaxzoo.load_spec(name)
    assert parameter_count(spec.layers, spec.dataset) == count


def test_a_network_is_told_its_activation_where_a_zoo_has_several():
    spec = small_spec(activation=("tanh", "relu"))
    with pytest.raises(InputError, match="activation is not given, expected one of: tanh, relu"):
        build_network(spec)
    assert build_network(spec, activation="relu").activation == "relu"


def initial_kernels(initialization, architecture="cnn-l", seeds=40, **grid):
    cohort = cohort_of(small_spec(architecture, seeds=seeds, initialization=(initialization,), **grid))
    return initial_variables(cohort)["params"]


# PyTorch's torch.nn.init with default arguments, for a kernel with fan in f and fan out g: the limit of a uniform law
# or the standard deviation of a normal one
LAWS = {
    "kaiming_uniform": lambda f, g: np.sqrt(6 / f),
    "kaiming_normal": lambda f, g: np.sqrt(2 / f),
    "xavier_uniform": lambda f, g: np.sqrt(6 / (f + g)),
    "xavier_normal": lambda f, g: np.sqrt(2 / (f + g)),
    "normal": lambda f, g: 1.0,
    "he_normal": lambda f, g: np.sqrt(2 / f),
    "glorot_normal": lambda f, g: np.sqrt(2 / (f + g)),
    "torch_default": lambda f, g: 1 / np.sqrt(f),
    # Keras cuts a normal law of 0.05 at two standard deviations and leaves what remains as narrow as that makes it
    "truncated_normal": lambda f, g: 0.05 * np.sqrt(1 - 4 * np.exp(-2) / np.sqrt(2 * np.pi) / 0.9544997),
}


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_initial_weights_follow_their_law(initialization):
    params = initial_kernels(initialization)
    for name, layer in params.items():
        kernel = layer["kernel"]
        fan_in, fan_out = kernel[0, ..., 0].size, kernel[0].size // kernel.shape[-2]
        tolerance = 4 / np.sqrt(kernel.size)  # four standard errors
        if initialization == "torch_default":
            assert np.abs(layer["bias"]).max() <= 1 / np.sqrt(fan_in)
            assert abs(layer["bias"].std() * np.sqrt(3 * fan_in) - 1) < 4 / np.sqrt(layer["bias"].size)
        else:
            assert (layer["bias"] == np.float32(0.01)).all()
        if initialization == "orthogonal":
            assert_orthogonal(kernel)
            continue
        if initialization == "uniform":
            assert 0 <= kernel.min() < kernel.max() < 1
            assert abs(kernel.mean() - 0.5) < tolerance
            assert abs(kernel.std() * np.sqrt(12) - 1) < tolerance
            continue
        scale = LAWS[initialization](fan_in, fan_out)
        assert abs(kernel.mean()) < scale * tolerance, name
        if initialization.endswith("uniform") or initialization == "torch_default":
            assert 0.99 * scale < np.abs(kernel).max() <= scale
            assert abs(kernel.std() * np.sqrt(3) / scale - 1) < tolerance
        else:
            assert abs(kernel.std() / scale - 1) < tolerance
            largest = np.abs(kernel).max()
            cut = {"truncated_normal": 0.1 / scale, "he_normal": 2 / 0.8796, "glorot_normal": 2 / 0.8796}
            if initialization in cut:  # at two standard deviations of the law before it is cut
                assert 0.98 * cut[initialization] < largest / scale <= 1.0001 * cut[initialization]
            else:
                assert largest > 3 * scale


def test_a_standard_deviation_is_that_of_the_initialisations_that_have_none_of_their_own():
    for initialization, drawn in (("normal", 1.0), ("truncated_normal", 0.05), ("he_normal", None)):
        plain = initial_kernels(initialization, "cnn-s", seeds=2)["conv2"]["kernel"]
        told = initial_kernels(initialization, "cnn-s", seeds=2, initialization_std=(0.02,))["conv2"]["kernel"]
        wanted = plain if drawn is None else plain * np.float32(0.02 / drawn)
        np.testing.assert_array_equal(told, wanted)


def assert_orthogonal(kernel):
    """Of each model's matrix (inputs, outputs), whichever of the two are fewer are orthogonal, and of length 1."""
    for matrix in kernel.reshape(len(kernel), -1, kernel.shape[-1]):
        short = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        # float32 sums of up to 288 products
        np.testing.assert_allclose(short.T @ short, np.eye(short.shape[1]), atol=5e-6)


def test_the_same_seed_draws_the_same_whatever_else_differs():
    params = initial_kernels("kaiming_uniform", "cnn-s", seeds=3)
    other = initial_kernels("kaiming_uniform", "cnn-s", seeds=2, activation=("relu",), optimizer=("sgd",))
    for layer in params:
        np.testing.assert_array_equal(params[layer]["kernel"][:2], other[layer]["kernel"])
    plain = initial_kernels("uniform", "cnn-s", seeds=3)["conv2"]["kernel"]
    limit = np.sqrt(6 / 200)
    # the same uniform draws, scaled; float32 rounds both
    np.testing.assert_allclose(params["conv2"]["kernel"], (2 * plain - 1) * limit, atol=1e-6)
    assert (plain[0] != plain[1]).all()


def test_uniform_noise_is_uniform_and_a_members_own():
    keys = member_keys(np.arange(4))
    shape = (10, 12, 12, 8)
    together = np.asarray(uniform_noise(keys, 0, shape))
    assert together.shape == (*shape, 4)
    for member in range(4):
        np.testing.assert_array_equal(together[..., member], uniform_noise(keys[member], 0, shape))
    mapped = jax.vmap(lambda key: uniform_noise(key, 0, shape), out_axes=-1)(keys)
    np.testing.assert_array_equal(together, mapped)
    np.testing.assert_array_equal(together[:7], uniform_noise(keys, 0, (7, *shape[1:])))
    np.testing.assert_array_equal(together[7:], uniform_noise(keys, 0, (3, *shape[1:]), first=7))

    counts = np.bincount(together.ravel() >> 12, minlength=16)  # sixteenths of the range
    assert counts.sum() == together.size
    expected = together.size / 16
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    other_draw = np.asarray(uniform_noise(keys, 1, shape))
    flat = np.stack([*together.reshape(-1, 4).T, *other_draw.reshape(-1, 4).T]).astype(float)
    correlation = np.corrcoef(flat) - np.eye(8)
    assert np.abs(correlation).max() < 5 / np.sqrt(flat.shape[1])


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5])
def test_dropout_keeps_the_mean_and_drops_its_rate(rate):
    noise = uniform_noise(jax.random.key(1), 0, (300_000,))
    values = np.asarray(drop_out(jnp.ones(300_000), noise, jnp.float32(rate)))
    assert set(np.unique(values)) <= {np.float32(0), np.float32(1) / np.float32(1 - np.float32(rate))}
    assert abs((values == 0).mean() - rate) < 0.005  # five standard errors
    if rate == 0:
        assert (values == 1).all()
