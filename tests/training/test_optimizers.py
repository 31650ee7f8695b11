"""The optimizers against PyTorch's documented update rules in NumPy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

from jaxzoo.spec.grid import OPTIMIZERS
from jaxzoo.training.optimizers import build_optimizer

pytestmark = pytest.mark.usefixtures("promotions_of_programs")

RATES, DECAYS = np.array([1e-1, 1e-2, 1e-3]), np.array([0.0, 1e-2, 1e-1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_member_moves_by_its_own_rate_and_decay(optimizer):
    draws = np.random.default_rng(1).standard_normal((21, 4, 3))
    start, gradients = draws[0], draws[1:]
    rates, decays = (jnp.asarray(values, jnp.float32) for values in (RATES, DECAYS))
    chain = build_optimizer(optimizer, 0.9, rates, decays)

    weights = {"kernel": jnp.asarray(start, jnp.float32)}
    state = chain.init(weights)
    for gradient in gradients:
        updates, state = chain.update({"kernel": jnp.asarray(gradient, jnp.float32)}, state, weights)
        weights = optax.apply_updates(weights, updates)

    for model in range(3):
        wanted = reference.optimize(optimizer, start[:, model], gradients[..., model], RATES[model], DECAYS[model])
        # float32: 20 steps, each rounded to 6e-8 of weights around 1
        np.testing.assert_allclose(weights["kernel"][:, model], wanted, rtol=1e-5, atol=4e-6)
