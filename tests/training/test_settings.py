"""No setting of a caller's JAX changes a weight or ends a call, and every setting is left as it was found."""

import contextlib
import dataclasses
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import cohort_of, replace_dataset, small_spec, write_folder

import jaxzoo
from jaxzoo.analysis.alignment import Alignment
from jaxzoo.analysis.diversity import prediction_agreement
from jaxzoo.analysis.predict import predict_logits
from jaxzoo.settings import PINNED, PINNED_INTERNALLY, pinned_settings, recorded_settings, under_callers_settings
from jaxzoo.training.population import _initializer, initial_variables
from jaxzoo.training.programs import build_program

# what a caller may have set, some of it for a whole process
SETTINGS = {
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_enable_x64": True,
    "jax_default_matmul_precision": "BF16_BF16_F32",
    "jax_random_seed_offset": 7,
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_numpy_rank_promotion": "raise",
    "jax_numpy_dtype_promotion": "strict",
    "jax_transfer_guard": "disallow_explicit",
    "jax_disable_jit": True,
    "jax_debug_key_reuse": True,
    "jax_check_tracer_leaks": True,
    "jax_use_direct_linearize": False,
    "jax_optimization_level": "O0",
    "jax_exec_time_optimization_effort": -1.0,
    "jax_error_checking_behavior_nan": "raise",
    "jax_disable_most_optimizations": True,
}


@contextlib.contextmanager
def caller_sets(name, value):
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """A one-cycle zoo of a sane member and two that diverge: one ends in infinite weights, one in no numbers."""
    folder = tmp_path_factory.mktemp("images") / "few"
    grid = {"learning_rate": (1e-3, 15.0, 100.0), "weight_decay": (100.0,), "optimizer": ("sgd",), "dropout": (0.3,)}
    spec = small_spec(seeds=1, train=25, batch_size=5, epochs=3, initialization=("kaiming_normal",), **grid)
    spec = replace_dataset(spec, folder=str(folder))
    write_folder(folder, spec.dataset)
    return dataclasses.replace(spec, schedule=jaxzoo.Schedule(kind="one-cycle"))


def make(spec, folder, **options):
    """The zoo and its twins, by matrix products, whose precision is a setting."""
    return jaxzoo.generate(spec, folder, twins=jaxzoo.TwinSpec(epochs=1), engine="vmap", lanes=1, **options)


def bits(zoo):
    """Every number of a zoo and of its twins."""
    return [zoo.weights(epoch) for epoch in zoo.epochs] + [bits(twins) for twins in zoo.twins.values()]


def compute(zoo):
    """Every public call that computes with weights, on arrays of NumPy and of JAX."""
    images, labels = np.ones((3, 28, 28, 1), np.float32), np.arange(3)
    with jax.transfer_guard("allow"):
        weights, one = jnp.asarray(zoo.weights(1)), jnp.asarray(zoo.weights(1, [0]))
    sane = zoo.weights(1, [0])
    alignment = Alignment.of(zoo)
    (batch,) = zoo.select(models=0, epochs=1).batches(4, seed=0, labels=["test_loss"], as_jax=True)
    return [
        jaxzoo.predict_params(zoo, weights, images),
        *jaxzoo.loss_and_gradient(zoo, weights, images, labels),
        zoo.evaluate(sane, "validation", data_dir=zoo.spec.dataset.folder).to_numpy(),
        jaxzoo.interpolate(sane, one, 3),
        alignment.match(sane, one).aligned,
        np.asarray(jax.device_get(batch.weights)),
    ]


@pytest.fixture(scope="module")
def usual(spec, tmp_path_factory):
    zoo = make(spec, tmp_path_factory.mktemp("zoos") / "usual")
    sane, infinite, no_number = zoo.weights(3)
    assert np.isfinite(sane).all()
    assert np.isinf(infinite).any()
    assert np.isnan(no_number).any()
    return zoo


def assert_same_bits(got, wanted):
    for one, other in zip(got, wanted, strict=True):
        if isinstance(one, list):
            assert_same_bits(one, other)
        else:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("name", "value"), SETTINGS.items(), ids=SETTINGS)
def test_a_zoo_has_the_same_bits_whatever_its_caller_has_set(name, value, spec, usual, tmp_path):
    seen = []

    def look(*_):
        seen.append(dict(jax.config.values))
        return False

    if name in ("jax_debug_nans", "jax_debug_infs"):
        build_program.cache_clear()  # JAX checks the results of those programs alone that were compiled since
    with caller_sets(name, value):
        found = dict(jax.config.values)
        zoo = make(spec, tmp_path / "zoo", on_event=look, should_stop=look)
        logits = predict_logits(zoo, np.ones((1, 28, 28, 1), np.float32), 1)
        agreement = prediction_agreement(logits.argmax(-1), 10)
        computed = compute(zoo)
        assert jax.config.values == found
    assert_same_bits(bits(zoo), bits(usual))
    np.testing.assert_array_equal(logits, predict_logits(usual, np.ones((1, 28, 28, 1), np.float32), 1))
    assert agreement.agreement[0, 0] == 1
    assert_same_bits(computed, compute(usual))
    assert seen
    assert all(settings == found for settings in seen)


def test_a_zoo_has_the_same_bits_beside_a_callers_mesh(spec, usual, tmp_path):
    mesh = jax.make_mesh((2,), ("models",), axis_types=(jax.sharding.AxisType.Explicit,))
    seen = []
    with jax.set_mesh(mesh):
        zoo = make(spec, tmp_path / "zoo", on_event=lambda event: seen.append(jax.sharding.get_mesh()))
        assert jax.sharding.get_mesh() == mesh
    assert set(seen) == {mesh}
    assert_same_bits(bits(zoo), bits(usual))


def test_a_process_that_optimises_little_draws_the_same_initial_values(spec):
    """Compiled anew: a compiled program that is at hand would hide what the setting does."""
    cohort = cohort_of(spec)
    usual = initial_variables(cohort)
    _initializer.cache_clear()
    with caller_sets("jax_disable_most_optimizations", True):
        hurried = initial_variables(cohort)
    _initializer.cache_clear()
    jax.tree.map(np.testing.assert_array_equal, hurried, usual)


def everything():
    return {name: jax.config.values[name] for name in (*PINNED, *PINNED_INTERNALLY)}


def test_settings_are_pinned_inside_and_for_this_thread_alone():
    inside, elsewhere = [], []
    with jax.default_device(jax.devices()[1]), jax.debug_nans(True):
        found = everything()
        with pinned_settings():
            inside.append(everything())
            other = threading.Thread(target=lambda: elsewhere.append(everything()))
            other.start()
            other.join()
        assert everything() == found
    assert inside == [PINNED | PINNED_INTERNALLY]
    assert elsewhere[0]["jax_numpy_rank_promotion"] == "raise"  # as tests/conftest.py has it for the process


def test_settings_are_as_found_after_an_error_and_inside_a_callback():
    seen = []

    def callback():
        seen.append(everything())
        with pinned_settings():  # as a callback that calls us has it
            seen.append(everything())
        raise ValueError("the callback's own")

    with jax.enable_x64(True):
        found = everything()
        with pinned_settings():
            with pytest.raises(ValueError, match="the callback's own"), pinned_settings():
                under_callers_settings(callback)()
            seen.append(everything())
        assert everything() == found
    pins = PINNED | PINNED_INTERNALLY
    assert seen == [found, pins, pins]


def test_the_recorded_settings_are_the_pinned_ones():
    assert recorded_settings() == {
        "prng": "threefry2x32",
        "threefry_partitionable": True,
        "x64": False,
        "matmul_precision": "default",
    }
    with pinned_settings():
        assert str(jax.random.key_impl(jax.random.key(0))) == recorded_settings()["prng"]


def test_checks_and_readers_trace_under_any_settings(tmp_path):
    """Sizes on disk and shapes are known from traces, which come before the pinned call, or without one."""
    code = (
        "import jax, sys, jaxzoo\n"
        "for name, value in dict(enable_x64=True, numpy_rank_promotion='raise', numpy_dtype_promotion='strict',\n"
        "                        transfer_guard='disallow_explicit', debug_nans=True).items():\n"
        "    jax.config.update(f'jax_{name}', value)\n"
        "from jaxzoo.training.checks import check_generate, space_of\n"
        "for twins in ('magnitude', 'variational-dropout'):\n"
        "    for name in ('digits', 'cifar10-resnet18'):\n"
        "        job = check_generate(jaxzoo.load_spec(name), sys.argv[1], models=1, epochs=1, twins=twins)\n"
        "        print(*(part.total for part in space_of(job)))\n"
    )
    usual = code.replace("jax.config.update", "(lambda *_: None)")
    run = {"capture_output": True, "text": True, "check": True}
    said = [subprocess.run([sys.executable, "-c", each, tmp_path / "zoo"], **run).stdout for each in (code, usual)]
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 4
