"""The convolution for training against JAX's own and its automatic gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from populations import cohort_of, resnet_spec

from jaxzoo.models.convolution import ORDER, convolve
from jaxzoo.models.engines import population_forward
from jaxzoo.training.population import initial_variables

CASES = [
    (kernel, stride, padding, size)
    for kernel, padding in ((3, 1), (1, 0), (5, 0), (2, 0), (3, 0))
    for stride in (1, 2, 3)
    for size in ((8, 7), (9, 12))
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), CASES)
def test_values_and_gradients_are_jaxs(kernel, stride, padding, size):
    draws = np.random.default_rng(0)
    with jax.enable_x64(True):
        images = jnp.asarray(draws.standard_normal((3, *size, 4)))
        weights = jnp.asarray(draws.standard_normal((kernel, kernel, 4, 5)))

        def plain(images, weights):
            pads = ((padding, padding),) * 2
            return lax.conv_general_dilated(images, weights, (stride, stride), pads, dimension_numbers=ORDER)

        def own(images, weights):
            return convolve(images, weights, stride, padding)

        np.testing.assert_array_equal(own(images, weights), plain(images, weights))
        got, wanted = (
            jax.grad(lambda *both, f=f: jnp.sum(jnp.sin(f(*both))), argnums=(0, 1))(images, weights)
            for f in (own, plain)
        )
        for leaf, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(leaf, other, rtol=1e-12, atol=1e-12)  # float64: sums in another order


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
    assert len(orders) == 3 * 20 - 1  # forward and two gradients each; none by the images
    assert set(orders) == {"b01f_01io->b01f"}
