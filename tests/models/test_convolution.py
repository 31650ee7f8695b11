"""The convolution for training against JAX's own and its automatic gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from populations import cohort_of, resnet_spec

from jaxzoo.models.convolution import ORDER, WIDE, convolve
from jaxzoo.models.engines import population_forward
from jaxzoo.training.population import initial_variables

# kernel, stride, padding, size, channels of the images, batch
CASES = [
    (kernel, stride, padding, size, 4, 3)
    for kernel, padding in ((3, 1), (1, 0), (5, 0), (2, 0), (3, 0))
    for stride in (1, 2, 3)
    for size in ((8, 7), (9, 12))
]
# by matrix products, of a batch in parts and in one: Winograd's for 3 x 3 kernels with stride 1 and even sizes
CASES += [
    (kernel, stride, padding, size, WIDE, batch)
    for kernel, stride, padding in ((3, 1, 1), (3, 1, 0), (3, 2, 1), (1, 1, 0), (1, 2, 0), (2, 2, 1))
    for size, batch in (((8, 6), 3), ((7, 9), 2), ((32, 24), 4))
]


def drawn(dtype, kernel, size, channels, batch):
    """Images and a kernel, whose results have about the variance of the images."""
    draws = np.random.default_rng(0)
    weights = draws.standard_normal((kernel, kernel, channels, channels + 1)) / np.sqrt(kernel**2 * channels)
    return jnp.asarray(draws.standard_normal((batch, *size, channels)), dtype), jnp.asarray(weights, dtype)


def plain(images, weights, stride, padding):
    return lax.conv_general_dilated(
        images, weights, (stride, stride), ((padding, padding),) * 2, dimension_numbers=ORDER
    )


def results(convolution, images, weights, stride, padding):
    """The values, and the gradients by images and kernel of a sum of sines."""

    def loss(images, weights):
        values = convolution(images, weights, stride, padding)
        return jnp.sum(jnp.sin(values)), values

    gradients, values = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(images, weights)
    return values, *gradients


@pytest.mark.parametrize(("kernel", "stride", "padding", "size", "channels", "batch"), CASES)
def test_values_and_gradients_are_jaxs(kernel, stride, padding, size, channels, batch):
    with jax.enable_x64(True):
        drawn_64 = drawn(np.float64, kernel, size, channels, batch)
        got, wanted = (results(function, *drawn_64, stride, padding) for function in (convolve, plain))
    for array, other in zip(got, wanted, strict=True):
        # float64: sums of up to 3,072 terms near 1, in another order
        np.testing.assert_allclose(array, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("size", "batch"), [((16, 16), 16), ((4, 4), 16), ((32, 32), 2)])
def test_winograds_products_are_as_near_to_the_exact_ones_as_xlas_sums(size, batch, padding):
    with jax.enable_x64(True):
        exact = [np.asarray(one) for one in results(plain, *drawn(np.float64, 3, size, WIDE, batch), 1, padding)]
    got, usual = (results(how, *drawn(np.float32, 3, size, WIDE, batch), 1, padding) for how in (convolve, plain))
    for array, other, right in zip(got, usual, exact, strict=True):
        own_error, usual_error = (np.abs(np.asarray(one, float) - right).max() for one in (array, other))
        assert own_error < 2 * usual_error  # 0.3 to 1.1 here; tiles of 4 x 4 are ten times as far off


def test_models_side_by_side_have_the_results_of_each():
    images, weights = drawn(np.float32, 3, (16, 16), WIDE, 8)
    both_images, both_weights = jnp.stack([images, images + 1]), jnp.stack([weights, -2 * weights])

    def own(images, weights):
        return results(convolve, images, weights, 1, 1)

    together = jax.vmap(own)(both_images, both_weights)
    for model in range(2):
        for array, other in zip(together, own(both_images[model], both_weights[model]), strict=True):
            # float32: sums in another order, gradients by the kernel of 2,048 terms near 1
            np.testing.assert_allclose(array[model], other, rtol=1e-5, atol=1e-4)


def test_no_gradient_inside_a_loop_has_its_axes_in_an_order_without_fast_code():
    """What the compiled program of a training loop holds, on the CPU."""
    spec = resnet_spec()
    variables = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:1], 0, -1), initial_variables(cohort_of(spec)))
    forward = population_forward("vmap", spec.layers, 10, "relu")
    images = np.zeros((4, 32, 32, 3, 1), np.float32)

    def loss(params):
        return forward(params, variables["batch_stats"], images, None, None, jnp.ones(4))[0].sum()

    def step(_, params):
        return jax.tree.map(jnp.subtract, params, jax.grad(loss)(params))

    text = jax.jit(lambda params: lax.fori_loop(0, 3, step, params)).lower(variables["params"]).compile().as_text()
    orders = [
        line.partition("dim_labels=")[2].partition(",")[0] for line in text.splitlines() if " convolution(" in line
    ]
    # forward and two gradients each, none by the images; matrix products in their stead: Winograd's for three layers of
    # 64 channels, and for three 1 x 1 kernels the gradient by the kernel
    assert len(orders) == 3 * 20 - 1 - 3 * 3 - 3
    assert set(orders) == {"b01f_01io->b01f"}
