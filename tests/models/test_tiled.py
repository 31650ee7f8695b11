"""The forms for a TPU, with the model axis folded to two, against the plain ones. They run on the CPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxzoo.models.lanes import tiled, tiled_gradients, tiled_sampled
from jaxzoo.models.lanes.batches import fold_batch, repeat_for_images, unfold_batch
from jaxzoo.models.lanes.convolution import convolve
from jaxzoo.models.lanes.pooling import max_pool
from jaxzoo.models.lanes.sampling import sample

pytestmark = pytest.mark.usefixtures("promotions_of_programs")

# (B, H, W, C, K, O)
SHAPES = {
    "one channel": (2, 9, 8, 1, 3, 2),
    "an even kernel, a last row and column that no window covers": (4, 8, 7, 3, 2, 3),
    "an even kernel, all columns covered": (2, 5, 7, 2, 2, 3),
    "channels and outputs in groups": (2, 6, 8, 8, 3, 12),
}
FEW_OPERANDS = 34  # of an operation: one channel, output or image at a time


def draw(*shape):
    """Whole numbers: sums are exact, and windows have ties."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32).round(0)


def fold(array):
    return array.reshape(*array.shape[:-1], 2, 3)


def limit(monkeypatch, registers, operands, bytes):
    monkeypatch.setattr(tiled, "MOST_REGISTERS", registers)
    monkeypatch.setattr(tiled, "FUSED_OPERANDS", operands)
    monkeypatch.setattr(tiled_gradients, "FUSED_OPERANDS", operands)
    monkeypatch.setattr(tiled_gradients, "MOST_BYTES", bytes)


@pytest.mark.parametrize("operands", [tiled.FUSED_OPERANDS, FEW_OPERANDS])
@pytest.mark.parametrize(("side_by_side", "registers"), [(1, 0), (2, 0), (2, 1e6)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_convolution_and_pooling_in_one_equal_the_two(shape, side_by_side, registers, operands, monkeypatch):
    B, H, W, C, K, O = shape
    images, kernel, bias = draw(B, H, W, C, 6), draw(K, K, C, O, 6), draw(O, 6)
    wanted, pullback = jax.vjp(lambda x, k, b: max_pool(convolve(x, k)) + b, images, kernel, bias)
    cotangent = np.flip(draw(*wanted.shape))
    limit(monkeypatch, registers, operands, side_by_side * kernel.nbytes)

    def with_gradients(*args):
        values, pullback = jax.vjp(tiled.convolve_pool, *args)
        return values, *pullback(fold(cotangent))

    got = jax.jit(with_gradients)(fold(images), fold(kernel), fold(bias))
    for array, expected in zip(got, (wanted, *pullback(cotangent)), strict=True):
        np.testing.assert_array_equal(array, fold(expected))


@pytest.mark.parametrize(("registers", "operands"), [(0, FEW_OPERANDS), (1e6, tiled.FUSED_OPERANDS)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_drawing_and_pooling_in_one_equal_the_parts(shape, registers, operands, monkeypatch):
    """In float64: a window's near tie is decided by the last bit."""
    B, H, W, C, K, O = shape

    def parts(images, kernel, spread, bias, noise):
        return max_pool(sample(convolve(images, kernel), convolve(images * images, spread) + bias, noise))

    def with_gradients(form, cotangent, arguments):
        values, pullback = jax.vjp(form, *arguments)
        return values, *pullback(cotangent)[:4]

    random = np.random.default_rng(0).standard_normal
    with jax.enable_x64(True):
        images, noise = random((B, H, W, C, 6)), random((B, H - K + 1, W - K + 1, O, 6))
        kernel, spread, bias = random((K, K, C, O, 6)), np.square(random((K, K, C, O, 6))), np.square(random((O, 6)))
        limit(monkeypatch, registers, operands, 2 * kernel.nbytes)
        arguments = [images, kernel, spread, bias, noise]
        cotangent = random((B, (H - K + 1) // 2, (W - K + 1) // 2, O, 6))
        wanted = with_gradients(parts, cotangent, arguments)
        folded = functools.partial(with_gradients, tiled_sampled.convolve_sample_pool)
        got = jax.jit(folded)(fold(cotangent), [fold(array) for array in arguments])
        for array, expected in zip(got, wanted, strict=True):
            # sums of at most 10,000 terms in another order
            np.testing.assert_allclose(array, fold(expected), rtol=1e-9, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("B", [1, 8, 10])
def test_images_in_the_place_of_models_come_back(B):
    values = draw(B, 3, 2, 1, 4)
    folded = fold_batch(values)
    assert folded.shape == (-(-B // 8), 3, 2, 8, 4)
    np.testing.assert_array_equal(folded[(B - 1) // 8, ..., (B - 1) % 8, :], values[-1, ..., 0, :])
    np.testing.assert_array_equal(unfold_batch(folded, B), values)
    gradient = jax.vjp(repeat_for_images, {"bias": jnp.ones((5, 1, 4))})[1]({"bias": jnp.ones((5, 8, 4))})[0]
    np.testing.assert_array_equal(gradient["bias"], np.full((5, 1, 4), 8.0))
