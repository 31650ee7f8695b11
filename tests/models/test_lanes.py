"""The lanes kernels against NumPy, model by model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jaxzoo.models.lanes import convolution, dense, pooling, strided
from jaxzoo.models.lanes.convolution import convolve
from jaxzoo.models.lanes.dense import multiply
from jaxzoo.models.lanes.pooling import max_pool
from jaxzoo.models.lanes.sampled_pooling import convolve_sample_pool
from jaxzoo.models.lanes.strided import convolve_strided
from jaxzoo.models.lanes.windows import max_pool_all, max_pool_windows, mean_pool_windows
from jaxzoo.models.networks import sample

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


# (B, H, W, C, K, O, stride, padding): the layers of the Small CNN Zoo, and whatever meets a form of its own
STRIDED = {
    "small cnn zoo conv1": (2, 28, 28, 1, 3, 16, 2, 0),
    "small cnn zoo conv2": (2, 13, 13, 16, 3, 16, 2, 0),
    "small cnn zoo conv3": (8, 6, 6, 16, 3, 16, 2, 0),
    "padded, few terms": (2, 8, 9, 1, 3, 2, 1, 1),
    "padded, kernel in blocks of rows": (2, 7, 8, 3, 7, 2, 1, 3),
    "kernel in blocks of rows, not square": (1, 12, 9, 2, 6, 3, 2, 1),
    "padding as wide as the kernel": (2, 5, 4, 2, 2, 3, 1, 2),
    "padding wider than the kernel": (1, 5, 4, 2, 2, 3, 3, 4),
    "stride longer than the kernel": (2, 9, 11, 2, 2, 3, 3, 0),
    "one pixel of each window": (2, 7, 6, 5, 1, 4, 2, 0),
    "stride passes the image": (2, 3, 3, 2, 3, 2, 5, 1),
    "wide rows in blocks of columns": (1, 2, 32, 1, 3, 80, 1, 1),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", STRIDED.values(), ids=STRIDED)
def test_strided_and_padded_convolutions_equal_numpy(shape, shared):
    B, H, W, C, K, O, stride, padding = shape
    images, kernel = draw(B, H, W, C, 1 if shared else M), draw(K, K, C, O, M)
    values, pullback = jax.vjp(
        jax.jit(functools.partial(convolve_strided, stride=stride, padding=padding)), images, kernel
    )
    cotangent = np.flip(draw(*values.shape))
    by_images, by_kernel = pullback(jnp.asarray(cotangent))

    every_images = np.broadcast_to(images, (*images.shape[:-1], M))
    wanted_sum = np.zeros(every_images.shape)
    for model in range(M):
        one = [array[..., model].astype(np.float64) for array in (every_images, kernel, cotangent)]
        assert_close(values[..., model], reference.convolve(*one[:2], stride, padding))
        wanted_sum[..., model], wanted_kernel = reference.convolution_gradients(*one, stride, padding)
        assert_close(by_kernel[..., model], wanted_kernel)
    assert_close(by_images, wanted_sum.sum(-1, keepdims=True) if shared else wanted_sum)


@pytest.mark.parametrize("shape", STRIDED.values(), ids=STRIDED)
def test_strided_forms_for_other_devices_equal_those_for_the_cpu_when_folded(shape):
    """Model axes (2, 3), as a TPU has them, through what it runs and through what a CPU runs."""
    B, H, W, C, K, O, stride, padding = shape
    images, kernel = draw(B, H + 2 * padding, W + 2 * padding, C, 6), draw(K, K, C, O, 6)
    one, other = (strided._forms_of_correlation(stride)[device] for device in ("cpu", "default"))
    values = one(images, kernel)
    assert_close(fold(values), np.asarray(other(fold(images), fold(kernel))))
    assert_close(fold(values), np.asarray(one(fold(images), fold(kernel))))
    cotangent = np.flip(draw(*values.shape))
    by_taps = convolution.kernel_gradient_by_taps(K, images, cotangent, stride)
    by_blocks = convolution.kernel_gradient_by_blocks(
        K, fold(images), fold(cotangent), stride, block=strided._block(fold(cotangent))
    )
    assert_close(fold(by_taps), np.asarray(by_blocks))


def fold(array):
    return array.reshape(*array.shape[:-1], 2, 3)


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
        convolution.correlate_by_rows(images, kernel),
        np.asarray(convolution.correlate_by_channels(images, kernel)),
    )
    gray, one = images[:, :, :, :1], kernel[:, :, :1]
    assert_close(
        convolution.correlate_by_rows(gray, one),
        np.asarray(convolution.correlate_by_channels(gray, one)),
    )
    assert_close(
        convolution.kernel_gradient_by_taps(5, images, cotangent),
        np.asarray(convolution.kernel_gradient_by_blocks(5, images, cotangent, block=(1, 2, 8))),
    )
    winner, pooled = np.random.default_rng(0).integers(0, 4, (3, 4, 5, 6, M), np.int8), draw(3, 4, 5, 6, M)
    np.testing.assert_array_equal(pooling.unpool_by_stacking(winner, pooled), pooling._unpool_by_place(winner, pooled))
    values, weights = draw(10, 36, 1, M), draw(36, 20, M)
    assert_close(
        dense._unrolled_sum(values, weights, axis=(1, 0)), np.asarray(dense._looped_sum(values, weights, axis=(1, 0)))
    )


# (B, H, W, C, K, O, models that share an image)
SAMPLED = {
    **{name: (*CONVOLUTIONS[name], 1) for name in ("cnn-s conv1", "cnn-s conv2", "cnn-l conv2", "cnn-l conv3")},
    **{name: (*CONVOLUTIONS[name], 1) for name in ("cnn-l conv1", "one image, not square")},
    "a single window": (2, 4, 4, 2, 3, 2, 1),
    "shared images": (2, 8, 8, 2, 3, 2, M),
}


@pytest.mark.parametrize("shape", SAMPLED.values(), ids=SAMPLED)
def test_drawing_and_pooling_in_one_equal_the_parts(shape):
    """In float64: a window's near tie is decided by the last bit."""
    B, H, W, C, K, O, sharing = shape
    with jax.enable_x64(True):
        images, noise = draw(B, H, W, C, M // sharing), draw(B, H - K + 1, W - K + 1, O, M)
        kernel, spread, bias = draw(K, K, C, O, M), np.square(draw(K, K, C, O, M)), np.square(draw(O, M))
        arguments = [jnp.asarray(array, float) for array in (images, kernel, spread, bias, noise)]

        def parts(images, kernel, spread, bias, noise):
            return max_pool(sample(convolve(images, kernel), convolve(images * images, spread) + bias, noise))

        wanted, wanted_pullback = jax.vjp(parts, *arguments)
        values, pullback = jax.vjp(jax.jit(convolve_sample_pool), *arguments)
        cotangent = jnp.asarray(np.flip(draw(*wanted.shape)), float)
        gradients, wanted_gradients = pullback(cotangent)[:4], wanted_pullback(cotangent)[:4]
        for array, expected in zip((values, *gradients), (wanted, *wanted_gradients), strict=True):
            # the root of 1e-8 and a variance loses no more digits than float64 has to spare
            np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


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


WINDOWS = [(2, 2), (2, 1), (3, 2), (3, 1), (1, 2), (2, 3), (3, 3), (4, 3)]  # (size, stride)


@pytest.mark.parametrize(("size", "stride"), WINDOWS)
@pytest.mark.parametrize(("H", "W"), [(9, 12), (5, 4)])
def test_pooling_over_windows_and_its_gradient_equal_numpy(H, W, size, stride):
    values = draw(2, H, W, 3, M).round(0)  # rounded: windows with ties
    for pool, by_numpy in (
        (max_pool_windows, reference.max_pool_and_gradient),
        (mean_pool_windows, reference.mean_pool_and_gradient),
    ):
        result, pullback = jax.vjp(jax.jit(functools.partial(pool, window=size, stride=stride)), values)
        cotangent = np.flip(draw(*result.shape))
        (gradient,) = pullback(jnp.asarray(cotangent))
        assert result.shape[1:3] == ((H - size) // stride + 1, (W - size) // stride + 1)
        for place in np.ndindex(2, 3, M):
            image, channel, model = place
            index = np.s_[image, :, :, channel, model]
            wanted = by_numpy(values[index], cotangent[index], size, stride)
            np.testing.assert_allclose(result[index], wanted[0], rtol=0, atol=1e-6)  # a mean of 16 small numbers
            np.testing.assert_allclose(gradient[index], wanted[1], rtol=0, atol=2e-6)  # up to 9 windows overlap


def test_the_maximum_over_all_positions_and_its_gradient_equal_numpy():
    values, cotangent = draw(2, 5, 4, 3, M).round(0), draw(2, 3, M)  # rounded: ties
    maximum, pullback = jax.vjp(jax.jit(max_pool_all), values)
    (gradient,) = pullback(jnp.asarray(cotangent))
    wanted = np.zeros_like(values)
    for image, channel, model in np.ndindex(2, 3, M):
        one = values[image, :, :, channel, model]
        assert maximum[image, channel, model] == one.max()
        place = np.unravel_index(one.argmax(), one.shape)
        wanted[(image, *place, channel, model)] = cotangent[image, channel, model]
    np.testing.assert_array_equal(gradient, wanted)


def test_not_a_number_wins_over_all():
    values = draw(1, 4, 4, 1, M)
    values[0, 1, 1, 0, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(max_pool_all(values))[0, 0], [False, True, False])
    maxima = np.isnan(max_pool_windows(values, 2, 1))[0, :, :, 0]
    assert maxima[:2, :2, 1].all()
    assert maxima.sum() == 4


# the last ones have kernels whose gradients are computed in parts: in one block of images, and in three
@pytest.mark.parametrize(("B", "I", "O"), [(10, 60, 20), (10, 784, 64), (50, 331, 99)])
def test_dense_layer_and_its_gradients_equal_numpy(B, I, O):
    values, kernel, cotangent = draw(B, I, M), draw(I, O, M), draw(B, O, M)
    product, pullback = jax.vjp(multiply, values, kernel)
    by_values, by_kernel = pullback(jnp.asarray(cotangent))
    for model in range(M):
        x, w, g = (array[..., model].astype(np.float64) for array in (values, kernel, cotangent))
        assert_close(product[..., model], x @ w)
        assert_close(by_values[..., model], g @ w.T)
        assert_close(by_kernel[..., model], x.T @ g)
