"""Activations side by side: of each model the function of Flax, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxzoo.models.lanes.activation import activation_of
from jaxzoo.models.networks import ACTIVATION_FUNCTIONS

SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 30.0, -30.0, 1e-30]
SETS = [tuple(sorted(ACTIVATION_FUNCTIONS)), ("gelu", "tanh"), ("leaky_relu", "relu"), ("identity", "sigmoid", "silu")]


@pytest.mark.usefixtures("promotions_of_programs")
@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_each_model_has_its_own_activation_and_gradient(names):
    with jax.enable_x64(True):
        values = jnp.concatenate([jnp.array(SPECIAL), jnp.linspace(-9, 9, 200)])
        code_M = jnp.array([*range(len(names)), 0])
        cotangent = jnp.cos(jnp.arange(len(values)))
        got, pull_back = jax.vjp(activation_of(names, code_M), jnp.tile(values[:, None], len(code_M)))
        (gradient,) = pull_back(jnp.tile(cotangent[:, None], len(code_M)))
        for model, code in enumerate(code_M):
            wanted, pull_back_one = jax.vjp(ACTIVATION_FUNCTIONS[names[code]], values)
            # float64, and formulas of a few operations
            np.testing.assert_allclose(got[:, model], wanted, rtol=1e-13, atol=1e-14)
            finite = np.isfinite(values)
            np.testing.assert_allclose(gradient[finite, model], pull_back_one(cotangent)[0][finite], atol=1e-13)


def test_one_activation_is_the_function_itself():
    values = jnp.linspace(-2, 2, 9)
    np.testing.assert_array_equal(activation_of(("gelu",), None)(values), ACTIVATION_FUNCTIONS["gelu"](values))
