"""The optimizers against the documented update rules in NumPy, PyTorch's where it has the same."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

from jaxzoo.spec.optimizer import OPTIMIZER_PARAMETERS, OPTIMIZERS, Optimizer
from jaxzoo.training.optimizers import build_optimizer

pytestmark = pytest.mark.usefixtures("promotions_of_programs")

RATES, DECAYS = np.array([1e-1, 1e-2, 1e-3]), np.array([0.0, 1e-2, 1e-1])
# of each parameter a value for every model, none of them the default
SETTINGS = {
    "momentum": (0.0, 0.5, 0.95),
    "beta1": (0.0, 0.5, 0.95),
    "beta2": (0.9, 0.98, 0.5),
    "epsilon": (1e-3, 1e-2, 0.1),
    "decay": (0.9, 0.98, 0.5),
}
PARAMETERS = [(name, each) for name in OPTIMIZERS for each in OPTIMIZER_PARAMETERS[name]]
DRAWS = np.random.default_rng(1).standard_normal((21, 4, 3))


def steps_of(chain, state=None):
    """The weights (4, 3) of three models after 20 steps."""
    weights = {"kernel": jnp.asarray(DRAWS[0], jnp.float32)}
    state = chain.init(weights) if state is None else state
    for gradient in DRAWS[1:]:
        updates, state = chain.update({"kernel": jnp.asarray(gradient, jnp.float32)}, state, weights)
        weights = optax.apply_updates(weights, updates)
    return weights["kernel"]


def chain_of(optimizer, **settings):
    rates, decays = (jnp.asarray(values, jnp.float32) for values in (RATES, DECAYS))
    return build_optimizer(optimizer, rates, decays, {"momentum": 0.9} | settings)


def assert_each_is(got, optimizers):
    """Every model is where the plain rule of its own optimizer takes it."""
    for model, optimizer in enumerate(optimizers):
        start, gradients = DRAWS[0, :, model], DRAWS[1:, :, model]
        wanted = reference.optimize(optimizer, start, gradients, RATES[model], DECAYS[model])
        # float32: 20 steps, each rounded to 6e-8 of weights around 1
        np.testing.assert_allclose(got[:, model], wanted, rtol=1e-5, atol=4e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_member_moves_by_its_own_rate_and_decay(name):
    optimizer = Optimizer(name=name)
    assert_each_is(steps_of(chain_of(optimizer)), [optimizer] * 3)


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_a_parameter_acts(name, parameter):
    given = {parameter: True if parameter == "nesterov" else SETTINGS[parameter][1]}
    optimizer = Optimizer(name=name, **given)
    # a momentum of its own reaches the program by the cohort's key (see jaxzoo.spec.plan)
    settings = given if parameter == "momentum" else {}
    got = steps_of(chain_of(optimizer, **settings))
    assert_each_is(got, [optimizer] * 3)
    assert not np.allclose(got, steps_of(chain_of(Optimizer(name=name))), atol=1e-4)


@pytest.mark.parametrize(("name", "parameter"), [case for case in PARAMETERS if case[1] in SETTINGS])
def test_a_setting_may_differ_between_the_members(name, parameter):
    optimizer, values = Optimizer(name=name), SETTINGS[parameter]
    got = steps_of(chain_of(optimizer, **{parameter: jnp.asarray(values, jnp.float32)}))
    assert_each_is(got, [dataclasses.replace(optimizer, **{parameter: value}) for value in values])


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "lion"])
def test_members_may_count_their_steps_each(name):
    """Nothing assumes that the count is a scalar."""
    chain = chain_of(Optimizer(name=name))
    state = chain.init({"kernel": jnp.asarray(DRAWS[0], jnp.float32)})
    counted = [part._replace(count=jnp.zeros(3, jnp.int32)) if "count" in part._fields else part for part in state]
    np.testing.assert_array_equal(steps_of(chain, tuple(counted)), steps_of(chain))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_setting_that_the_optimizer_does_not_have_is_passed_over(name):
    foreign = {each: 0.123 for each in SETTINGS if each not in OPTIMIZER_PARAMETERS[name]}
    np.testing.assert_array_equal(
        steps_of(chain_of(Optimizer(name=name), **foreign)), steps_of(chain_of(Optimizer(name=name)))
    )
