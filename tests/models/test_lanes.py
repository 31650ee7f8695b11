"""The lanes kernels against NumPy, model by model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jaxzoo.models.lanes import convolution, dense, pooling, tiled
from jaxzoo.models.lanes.convolution import convolve
from jaxzoo.models.lanes.dense import multiply
from jaxzoo.models.lanes.pooling import max_pool

pytestmark = pytest.mark.usefixtures("promotions_of_programs")

M = 3
# (B, H, W, C, K, O): the layers of both architectures, and odd ones
CONVOLUTIONS = {
    "cnn-s conv1": (3, 28, 28, 1, 5, 8),
    "cnn-s conv2": (3, 12, 12, 8, 5, 6),
    "cnn-s conv3": (3, 4, 4, 6, 2, 4),
    "cnn-l conv1": (2, 32, 32, 3, 3, 16),
    "cnn-l conv2": (2, 15, 15, 16, 3, 32),
    "cnn-l conv3": (2, 6, 6, 32, 3, 15),
    "one image, not square": (1, 7, 9, 2, 3, 2),
    "one pixel out": (2, 3, 3, 5, 3, 1),
}


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def assert_close(actual, expected):
    # float32 sums of up to 6,000 terms against float64: a few units in the last place of the largest term
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=4e-6 * scale)


@pytest.mark.parametrize("shape", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_and_its_gradients_equal_numpy(shape):
    B, H, W, C, K, O = shape
    images, kernel = draw(B, H, W, C, M), draw(K, K, C, O, M)
    cotangent = draw(B, H - K + 1, W - K + 1, O, M)

    values, pullback = jax.vjp(jax.jit(convolve), images, kernel)
    gradients = pullback(jnp.asarray(cotangent))

    for model in range(M):
        one = [array[..., model].astype(np.float64) for array in (images, kernel, cotangent)]
        assert_close(values[..., model], reference.convolve(*one[:2]))
        expected = reference.convolution_gradients(*one)
        for gradient, wanted in zip(gradients, expected, strict=True):
            assert_close(gradient[..., model], wanted)


def test_convolution_shares_images_with_one_model_axis():
    images, kernel = draw(2, 8, 8, 2, 1), draw(3, 3, 2, 4, M)
    repeated = np.repeat(images, M, axis=-1)
    np.testing.assert_array_equal(convolve(images, kernel), convolve(repeated, kernel))


@pytest.mark.parametrize("shape", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_the_gradients_of_shared_images_are_those_of_images_of_every_model(shape):
    """`convolve` promised shared images, and its gradient ended in a TypeError."""
    B, H, W, C, K, O = shape
    images, kernel, cotangent = draw(B, H, W, C, 1), draw(K, K, C, O, M), draw(B, H - K + 1, W - K + 1, O, M)
    pull = jax.vjp(jax.jit(convolve), images, kernel)[1]
    pull_each = jax.vjp(jax.jit(convolve), np.repeat(images, M, axis=-1), kernel)[1]
    (by_images, by_kernel), (by_each, wanted) = pull(jnp.asarray(cotangent)), pull_each(jnp.asarray(cotangent))
    assert by_images.shape == images.shape
    assert_close(by_images, by_each.sum(axis=-1, keepdims=True))
    assert_close(by_kernel, wanted)


def test_the_gradients_of_shared_values_of_a_dense_layer_are_those_of_values_of_every_model():
    values, kernel, cotangent = draw(4, 20, 1), draw(20, 7, M), draw(4, 7, M)
    pull = jax.vjp(multiply, values, kernel)[1]
    pull_each = jax.vjp(multiply, np.repeat(values, M, axis=-1), kernel)[1]
    (by_values, by_kernel), (by_each, wanted) = pull(jnp.asarray(cotangent)), pull_each(jnp.asarray(cotangent))
    assert by_values.shape == values.shape
    assert_close(by_values, by_each.sum(axis=-1, keepdims=True))
    assert_close(by_kernel, wanted)


def test_the_forms_for_other_devices_equal_those_for_the_cpu():
    """Both forms of each kernel, on the CPU: what a TPU runs is held to the same values."""
    images, kernel, cotangent = draw(3, 12, 12, 8, M), draw(5, 5, 8, 6, M), draw(3, 8, 8, 6, M)
    assert_close(
        convolution._correlate_by_rows(images, kernel),
        np.asarray(convolution._correlate_by_channels(images, kernel)),
    )
    gray, one = images[:, :, :, :1], kernel[:, :, :1]
    assert_close(
        convolution._correlate_by_rows(gray, one),
        np.asarray(convolution._correlate_by_channels(gray, one)),
    )
    assert_close(
        convolution._kernel_gradient_by_taps(5, images, cotangent),
        np.asarray(convolution._kernel_gradient_by_blocks(5, images, cotangent)),
    )
    winner, pooled = np.random.default_rng(0).integers(0, 4, (3, 4, 5, 6, M), np.int8), draw(3, 4, 5, 6, M)
    np.testing.assert_array_equal(pooling.unpool_by_stacking(winner, pooled), pooling._unpool_by_place(winner, pooled))
    values, weights = draw(10, 36, 1, M), draw(36, 20, M)
    assert_close(
        dense._unrolled_sum(values, weights, axis=(1, 0)), np.asarray(dense._looped_sum(values, weights, axis=(1, 0)))
    )


# (B, H, W, C, K, O); images whose last row and column no window covers; outputs in two groups, more than fit at once
TILED = {"one channel": (2, 9, 8, 1, 3, 2), "odd sizes": (4, 8, 7, 3, 2, 3), "groups": (2, 6, 6, 2, 3, 12)}


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("shape", TILED.values(), ids=TILED)
def test_convolution_and_pooling_in_one_equal_the_two(shape, at_once, monkeypatch):
    """The form for a TPU, models folded to (2, 3), on the CPU. Whole numbers: sums are exact, windows have ties."""
    B, H, W, C, K, O = shape
    images, kernel, bias = (draw(*sizes, 6).round(0) for sizes in ((B, H, W, C), (K, K, C, O), (O,)))
    wanted, pullback = jax.vjp(lambda x, k, b: max_pool(convolve(x, k)) + b, images, kernel, bias)
    cotangent = np.flip(draw(*wanted.shape)).round(0)
    monkeypatch.setattr(tiled, "MOST_BYTES", at_once * kernel.nbytes)

    def fold(array):
        return array.reshape(*array.shape[:-1], 2, 3)

    def with_gradients(*args):
        values, pullback = jax.vjp(tiled.convolve_pool, *args)
        return values, *pullback(fold(cotangent))

    got = jax.jit(with_gradients)(fold(images), fold(kernel), fold(bias))
    for array, expected in zip(got, (wanted, *pullback(cotangent)), strict=True):
        np.testing.assert_array_equal(array, fold(expected))


@pytest.mark.parametrize("count", [1, 2, 10, 13, 17, 60])
def test_dense_sums_of_any_length(count):
    values, kernel = draw(4, count, M), draw(count, 3, M)
    for model in range(M):
        wanted = values[..., model].astype(np.float64) @ kernel[..., model].astype(np.float64)
        assert_close(multiply(values, kernel)[..., model], wanted)


@pytest.mark.parametrize(("H", "W"), [(24, 24), (15, 13), (2, 3)])
def test_max_pool_and_its_gradient_equal_numpy(H, W):
    values = draw(2, H, W, 3, M).round(0)  # rounded: windows with ties
    cotangent = draw(2, H // 2, W // 2, 3, M)

    maximum, pullback = jax.vjp(max_pool, values)
    (gradient,) = pullback(jnp.asarray(cotangent))

    for place in np.ndindex(2, 3, M):
        image, channel, model = place
        wanted = reference.max_pool_and_gradient(
            values[image, :, :, channel, model], cotangent[image, :, :, channel, model]
        )
        np.testing.assert_array_equal(maximum[image, :, :, channel, model], wanted[0])
        np.testing.assert_array_equal(gradient[image, :, :, channel, model], wanted[1])


def test_dense_layer_and_its_gradients_equal_numpy():
    values, kernel, cotangent = draw(10, 60, M), draw(60, 20, M), draw(10, 20, M)
    product, pullback = jax.vjp(multiply, values, kernel)
    by_values, by_kernel = pullback(jnp.asarray(cotangent))
    for model in range(M):
        x, w, g = (array[..., model].astype(np.float64) for array in (values, kernel, cotangent))
        assert_close(product[..., model], x @ w)
        assert_close(by_values[..., model], g @ w.T)
        assert_close(by_kernel[..., model], x.T @ g)
