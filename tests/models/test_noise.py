"""The random numbers of dropout and of variational dropout, in the pattern of counters and keys that training uses.

Every number here is an integer that follows from fixed seeds, so a test passes always or never. Its bound says how
seldom it would fail on perfect random numbers, should keys or counters one day be others: with everything counted,
less than once in 5,000 changes.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxzoo.keys import Role, fold, member_keys
from jaxzoo.models.noise import (
    FAST_ROUNDS,
    ROUNDS,
    _normals_of_stacked,
    _normals_put_in_place,
    _normals_side_by_side,
    _random_words,
    _threefry,
    _to_normal,
    normal_noise,
    uniform_noise,
)

MEMBERS, STEPS, LAYERS, IMAGES, BLOCKS = 16, 8, 4, 16, 128
NUMBERS = 4 * MEMBERS * STEPS * LAYERS * IMAGES * BLOCKS  # 2^22; a block is 64 bits, four numbers of 16 bits
SEEDS, EPOCH = 1 + np.arange(MEMBERS), 3
AXES = ("members", "steps", "layers", "images", "units")  # along which two blocks are neighbours


def step_keys(member_key):
    """A twin's keys of consecutive steps of an epoch, (STEPS,), as training folds them."""
    epoch_key = fold(fold(member_key, Role.TWIN), Role.SAMPLING, EPOCH)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(epoch_key, jnp.arange(STEPS))


def training_keys():
    """Keys (MEMBERS, STEPS) of members of consecutive seeds at consecutive steps."""
    return jax.vmap(step_keys)(member_keys(SEEDS))


@functools.cache
def training_words(rounds):
    """The 64 bits of every block as two words of 32 bits, uint32 (MEMBERS, STEPS, LAYERS, IMAGES, BLOCKS, 2)."""
    draw = jax.jit(_random_words, static_argnums=(1, 2, 3, 4, 5))
    layers = [draw(training_keys(), layer, IMAGES, BLOCKS, 0, rounds) for layer in range(LAYERS)]
    # from (layers, words, images, blocks, members, steps)
    return np.ascontiguousarray(np.transpose(layers, (4, 5, 0, 2, 3, 1)))


def halves_of(words):
    """The 16-bit halves of words (..., 2), lower half first, in the order in which `normal_noise` uses them."""
    return np.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(*words.shape[:-1], 4)


def signs_of(words):
    """Every bit of words (..., 2) as -1 or 1, float32 (blocks, 64)."""
    bits = np.unpackbits(words.astype("<u4", order="C").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    return 2 * bits.astype(np.float32) - 1


def neighbours(rounds, axis):
    """The words of all blocks but the last along an axis, and those of the blocks after them."""
    words = np.moveaxis(training_words(rounds), AXES.index(axis), 0)
    return words[:-1], words[1:]


def is_uniform(rounds):
    """Chi-square of all 65,536 values, on both sides, at 1 in a million."""
    counts = np.bincount(halves_of(training_words(rounds)).ravel(), minlength=2**16)
    expected = NUMBERS / 2**16  # 64 draws of each value
    statistic = ((counts - expected) ** 2).sum() / expected
    # numbers that are spread too evenly are not random, either
    return 5e-7 < scipy.stats.chi2.cdf(statistic, 2**16 - 1) < 1 - 5e-7


def is_balanced(rounds):
    """Each of the 64 bits of a block is set half of the time: 64 bounds of 6 standard errors, 1 in 8 million."""
    signs = signs_of(training_words(rounds))
    return np.abs(signs.mean(axis=0, dtype=np.float64)).max() < 6 / np.sqrt(len(signs))


def has_independent_bits(rounds, axis):
    """Each bit of a block against each of its neighbour's: 4,096 correlations, 6 standard errors, 1 in 120,000."""
    before, after = (signs_of(words) for words in neighbours(rounds, axis))
    # sums of at most 2^20 terms of -1 or 1 are exact in float32
    return np.abs(before.T @ after).max() < 6 * np.sqrt(len(before))


def has_independent_numbers(rounds, axis):
    """Each number of a block against each of its neighbour's: 16 correlations, 5 standard errors, 1 in 100,000."""
    before, after = (halves_of(words).reshape(-1, 4).astype(np.float64).T for words in neighbours(rounds, axis))
    correlation = np.corrcoef(before, after)[:4, 4:]
    return np.abs(correlation).max() < 5 / np.sqrt(before.shape[1])


FLIPPED = {"key": (0, 1), "layer": (2,), "index": (3,)}  # which of the four words that Threefry is given
FLIPS = 2**14  # blocks whose input has a bit flipped


@functools.partial(jax.jit, static_argnums=1)
def flip_counts(inputs, rounds, words):
    """How often each of the 64 output bits flips, (64,), where the inputs (4, N) have the bits `words` (4,) flipped."""
    changed = inputs ^ words[:, None]
    differences = [
        one ^ other for one, other in zip(_threefry(*inputs, rounds), _threefry(*changed, rounds), strict=True)
    ]
    bits = [(word[None] >> jnp.arange(32, dtype=jnp.uint32)[:, None]) & jnp.uint32(1) for word in differences]
    return jnp.concatenate([bit.sum(axis=1) for bit in bits])


def training_inputs():
    """Keys, layers and indices of FLIPS blocks of training, spread over all that there are, uint32 (4, FLIPS)."""
    keys = np.asarray(jax.random.key_data(training_keys())).reshape(-1, 2)
    chosen = np.random.default_rng(0).integers(0, NUMBERS // 4, FLIPS)
    key, layer, index = np.unravel_index(chosen, (len(keys), LAYERS, IMAGES * BLOCKS))
    return jnp.asarray(np.stack([*keys[key].T, layer, index]).astype(np.uint32))


def has_avalanche(rounds, part):
    """A flipped input bit flips each of the 64 output bits half of the time: 6 standard errors, 1 in 120,000."""
    inputs = training_inputs()
    for word, bit in itertools.product(FLIPPED[part], range(32)):
        flip = np.zeros(4, np.uint32)
        flip[word] = 1 << bit
        share = np.asarray(flip_counts(inputs, rounds, flip)) / FLIPS
        if np.abs(2 * share - 1).max() >= 6 / np.sqrt(FLIPS):
            return False
    return True


def has_normal_moments(rounds):
    """Mean, variance, skewness and kurtosis of the normal numbers within 5 standard errors of a normal's, 1 in 400,000.

    By themselves the 65,536 values are off by less: see the test of the normal's moments.
    """
    normal = np.asarray(_to_normal(jnp.asarray(halves_of(training_words(rounds)).ravel())), np.float64)
    moments = [normal.mean(), normal.var() - 1, (normal**3).mean(), (normal**4).mean() - 3]
    # the standard errors of a normal's raw moments: var(x^3) = 15, var(x^4) = 105 - 9
    errors = np.sqrt(np.array([1, 2, 15, 96]) / NUMBERS)
    return bool((np.abs(moments) < 5 * errors).all())


def is_normal(rounds):
    """Kolmogorov-Smirnov at 1 in a million. The 65,536 values alone give 1/131,072, the bound is at 1/800."""
    normal = np.asarray(_to_normal(jnp.asarray(halves_of(training_words(rounds)).ravel())), np.float64)
    return scipy.stats.kstest(normal, "norm").pvalue > 1e-6


# every check, and the fewest rounds of Threefry from which on it passes (docs/twins.md has them)
FEWEST = {
    is_uniform: 6,
    is_balanced: 6,
    has_normal_moments: 4,
    is_normal: 4,
    has_independent_bits: {"members": 6, "steps": 6, "layers": 10, "images": 8, "units": 8},
    has_independent_numbers: {"members": 5, "steps": 4, "layers": 9, "images": 6, "units": 6},
    has_avalanche: {"key": 10, "layer": 10, "index": 8},
}


def checks():
    """Each check with its arguments and its fewest rounds, for pytest."""
    for check, fewest in FEWEST.items():
        for part, rounds in fewest.items() if isinstance(fewest, dict) else [(None, fewest)]:
            arguments = () if part is None else (part,)
            yield pytest.param(check, arguments, rounds, id="-".join((check.__name__, *arguments)))


@pytest.mark.parametrize(("check", "arguments", "fewest"), [*checks()])
def test_the_rounds_of_training_pass_and_too_few_fail(check, arguments, fewest):
    assert check(FAST_ROUNDS, *arguments)
    assert check(fewest, *arguments)
    assert not check(fewest - 1, *arguments)  # the check can fail


def test_normal_noise_is_made_of_these_numbers():
    keys, shape = training_keys()[:, 2], (IMAGES, BLOCKS, 4)
    # (members, images, 4, blocks): in an image the first halves of all blocks come first
    halves = np.moveaxis(halves_of(training_words(FAST_ROUNDS)[:, 2, 1]), 3, 2)
    wanted = np.moveaxis(np.asarray(_to_normal(jnp.asarray(halves))).reshape(MEMBERS, *shape), 0, -1)
    # not to the last bit: a compiler may order the polynomials' sums otherwise
    np.testing.assert_allclose(normal_noise(keys, 1, shape), wanted, atol=1e-5)


# 65,536 exact quantiles have 2.0e-5 less variance and 8.7e-4 less kurtosis; float32 and the polynomials change a third
# of the former. Both are far below what 2^22 numbers tell, 5 standard errors: 3.5e-3 and 2.4e-2.
VARIANCE_LACKS, KURTOSIS_LACKS = 3e-5, 1e-3


def test_the_65536_values_are_those_of_a_normal():
    values = np.asarray(_to_normal(jnp.arange(2**16, dtype=jnp.uint32)), np.float64)
    # the exact quantiles of 65,536 equal parts lack what lies beyond the outermost, at 4.33
    exact = scipy.special.ndtri((np.arange(2**16) + 0.5) / 2**16)
    assert (values == -values[::-1]).all()  # mean and skewness are 0
    assert 4.32 < values.max() < 4.34
    assert abs(exact.var() - 1) < VARIANCE_LACKS
    assert abs((exact**4).mean() - 3) < KURTOSIS_LACKS
    # the polynomials are off by up to 2e-4, where the numbers are rare
    assert abs(values.var() - 1) < VARIANCE_LACKS
    assert abs((values**4).mean() - 3) < KURTOSIS_LACKS


# Threefry-2x32 of Random123, the library of Salmon et al.: counter, key, words
KNOWN_ANSWERS = {
    (13, "zeros"): ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, "ones"): ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0xFD36D048, 0x2D17272C)),
    (13, "pi"): ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
    (20, "zeros"): ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, "pi"): ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
}


@pytest.mark.parametrize(("rounds", "name"), KNOWN_ANSWERS)
def test_the_words_are_those_of_the_authors_library(rounds, name):
    counter, key, words = KNOWN_ANSWERS[rounds, name]
    found = _threefry(*(jnp.uint32(word) for word in (*key, *counter)), rounds)
    assert tuple(int(word) for word in found) == words


def test_uniform_noise_is_jaxs_own_threefry():
    keys, layer, first = training_keys()[:3, 1], 2, 5
    noise = np.asarray(uniform_noise(keys, layer, (4, 6, 4), first))  # 6 blocks for each of 4 images
    index = np.arange(4 * 6, dtype=np.uint32) + np.uint32(first * 6)
    for member, key in enumerate(jax.random.key_data(keys)):
        inputs = jnp.broadcast_arrays(key[0], key[1], jnp.uint32(layer), index)
        words = np.stack(jax.extend.random.threefry2x32_p.bind(*inputs), axis=-1)
        np.testing.assert_array_equal(noise[..., member].ravel(), halves_of(words).ravel())
    assert ROUNDS == 20


@pytest.mark.parametrize("form", [_normals_side_by_side, _normals_put_in_place])
@pytest.mark.parametrize("models", [(3,), (2, 3)])
def test_normal_numbers_stand_in_one_order_on_every_device(form, models):
    words = np.random.default_rng(0).integers(0, 2**32, (2, 5, 7, *models), np.uint32)
    np.testing.assert_array_equal(form(*words), _normals_of_stacked(*map(jnp.asarray, words)))
