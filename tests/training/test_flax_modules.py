"""Zoos of a Flax module of the caller's: training is the plain loop of the module, and what follows works."""

import dataclasses
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax_modules import LARGER, MODULES, Dropping, Nested, Normed, Plain, module_spec
from jax.sharding import Mesh
from populations import assert_same_weights, cohort_of, in_float64, population_of, small_images, write_digits_config

import jaxzoo
from jaxzoo.commands.generate import main as generate_command
from jaxzoo.commands.probe import main as probe
from jaxzoo.commands.report import main as report
from jaxzoo.commands.twins import main as twins_command
from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.errors import InputError
from jaxzoo.keys import Role, fold, member_keys
from jaxzoo.training.checks import check_generate
from jaxzoo.training.population import evaluate, get_state, initial_variables, put_images, train_epoch

EPOCHS, STEPS = 4, 5  # of an epoch


def keywords(module, train):
    """What the module's call takes, as someone writes it who knows the module."""
    return {Dropping: {"train": train}, Nested: {"deterministic": not train}, Normed: {"train": train}}.get(
        type(module), {}
    )


def run_plainly(module, variables, seed, rate, images, orders_SB):
    """One member by a plain loop of the module with optax, from its initial variables."""
    optimizer = optax.adam(rate)
    scale, shift = np.float32(1 / (255 * images.std)), np.float32(-images.mean / images.std)
    pixels = images.train.pixels * np.float64(scale) + np.float64(shift)
    (root,) = member_keys(np.array([seed]))
    params, stats = variables["params"], variables.get("batch_stats")
    state = optimizer.init(params)

    @jax.jit
    def step(params, stats, state, pixels, labels, key):
        def loss(params):
            given = {"params": params} if stats is None else {"params": params, "batch_stats": stats}
            logits, moved = module.apply(
                given, pixels, rngs={"dropout": key}, mutable=["batch_stats"], **keywords(module, train=True)
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), moved.get("batch_stats")

        gradients, moved = jax.grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), moved, state

    for number, order_B in enumerate(orders_SB):
        epoch, at = 1 + number // STEPS, number % STEPS
        key = fold(root, Role.DROPOUT, epoch, at)
        params, stats, state = step(params, stats, state, pixels[order_B], images.train.labels[order_B], key)
    return {"params": params} if stats is None else {"params": params, "batch_stats": stats}


@pytest.mark.usefixtures("promotions_of_programs")
@pytest.mark.parametrize("name", MODULES)
def test_20_steps_end_in_the_same_variables_as_a_plain_loop_of_the_module(name):
    """In float64; the last batch of modules without batch statistics is incomplete."""
    module, train = MODULES[name], 50 if name == "normed" else 47
    spec = module_spec(module, train=train, validation=13, test=25, batch_size=10, seeds=2)
    cohort, images = cohort_of(spec), small_images(spec.dataset)
    mesh = Mesh(np.array(jax.devices()[:1]), ("models",))
    with jax.enable_x64(True):
        population = population_of(cohort, mesh, engine="vmap", lanes=2)
        population = population._replace(slabs=in_float64(population.slabs))
        device_images = in_float64(put_images(images, mesh))
        orders = []
        for epoch in range(1, EPOCHS + 1):
            seed_M = population.slabs[0].hyperparameters[0].seed
            order_NM = np.asarray(population.program.shuffle(seed_M, NOTHING_SPECIAL, epoch).examples)[:train]
            orders += np.split(order_NM, range(10, train, 10))
            train_epoch(population, device_images, epoch)
        state = get_state(population)
        got = {"params": state.params, **({"batch_stats": state.batch_stats} if state.batch_stats else {})}
        start = jax.device_get(in_float64(initial_variables(cohort)))
        assert len(orders) == EPOCHS * STEPS
        for row, member in enumerate(cohort.members):
            begun = jax.tree.map(lambda leaf, row=row: leaf[row], start)
            # the rate as the hyperparameters of a slab have it
            rate = float(np.float32(member.hyperparameters["learning_rate"]))
            plain = run_plainly(module, begun, member.seed, rate, images, [order[:, row] for order in orders])
            assert jax.tree.structure(jax.device_get(plain)) == jax.tree.structure(begun)
            for leaf, wanted, first in zip(*map(jax.tree.leaves, (got, plain, begun)), strict=True):
                moved = np.abs(wanted - first).max()
                assert moved > 1e-4
                # float64 rounds to 1e-16; 20 steps of Adam, whose first ones divide by themselves, amplify it
                np.testing.assert_allclose(leaf[row], wanted, rtol=0, atol=1e-7 * moved)


def trained(spec, models=None):
    cohort = cohort_of(spec, models)
    mesh = Mesh(np.array(jax.devices()[:1]), ("models",))
    population = population_of(cohort, mesh, engine="vmap", lanes=4)
    images = put_images(small_images(spec.dataset), mesh)
    for epoch in (1, 2):
        train_epoch(population, images, epoch)
    return get_state(population), evaluate(population, images, ("test",))


@pytest.mark.parametrize("name", ["nested", "normed"])
def test_a_member_alone_ends_in_the_bits_that_it_has_in_company(name):
    spec = module_spec(MODULES[name], train=50, validation=13, test=25, batch_size=10, seeds=6)
    together, alone = trained(spec), trained(spec, [4])
    for leaf, own in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
        if np.ndim(leaf):
            np.testing.assert_array_equal(leaf[4], own[0])
    assert not (jax.tree.leaves(together[0].params)[0][3] == jax.tree.leaves(together[0].params)[0][4]).all()


KILLED = """
import os, signal, sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
from flax_modules import LARGER, MODULES, module_spec
import jaxzoo
saved = []
def kill(event):
    saved.extend([event] if isinstance(event, jaxzoo.EpochSaved) else [])
    if len(saved) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
jaxzoo.generate(module_spec(**LARGER), sys.argv[1], network=MODULES["nested"], on_event=kill)
"""
SPEC = module_spec(**LARGER)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zoo of 20 `Nested` in two cohorts, with twins."""
    return jaxzoo.generate(SPEC, tmp_path_factory.mktemp("modules") / "zoo", network=Nested())


@pytest.mark.parametrize("saves", [3, 7], ids=["in the first cohort", "in its twins"])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(made, saves, tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "zoo"), str(saves)]
    assert subprocess.run(command, env=env, check=False, timeout=300).returncode == -signal.SIGKILL
    left = jaxzoo.open_zoo(tmp_path / "zoo", partial=True)
    # killed when epoch 2 was handed over, which may be on disk or not: it goes on in the middle
    assert (left if saves == 3 else left.twins["magnitude"]).epochs[-1] in (1, 2)
    again = jaxzoo.generate(SPEC, tmp_path / "zoo", network=Nested())
    assert_same_weights(again, made)
    assert again.twins["magnitude"].metrics.equals(made.twins["magnitude"].metrics)
    assert [*jaxzoo.verify_zoo(tmp_path / "zoo", deep=True)] == []


def test_a_zoo_is_read_without_its_module(made):
    zoo = jaxzoo.open_zoo(made.path)
    assert zoo.spec == made.spec == dataclasses.replace(SPEC, network=zoo.spec.network)
    assert zoo.spec.digest == made.spec.digest
    assert (zoo.spec.architecture, zoo.spec.network.module) == ("Nested", None)
    assert {*zoo.members["activation"], *zoo.members["initialization"]} == {"none"}
    params = zoo.params(2)
    assert params["blocks_0"]["Dense_0"]["kernel"].shape == (20, 8, 10)
    assert [entry.path for entry in zoo.layout][:3] == [
        *(("stem", "kernel"), ("stem", "bias")),
        ("blocks_0", "Dense_1", "kernel"),  # the order in which the module makes them: the inner layer is called first
    ]
    np.testing.assert_array_equal(zoo.flatten(params), zoo.weights(2))
    selected = zoo.select(where="test_accuracy > 0.2", finite=True).final()
    assert selected.weights().shape == (len(selected), zoo.weights(2).shape[1])
    twins = zoo.twins["magnitude"]
    np.testing.assert_array_equal(twins.weights(0), zoo.weights(3))
    kernels = [leaf for path, leaf in leaves_of(twins.params(2)) if path[-1] == "kernel"]
    zeros = sum((kernel == 0).reshape(20, -1).sum(axis=1) for kernel in kernels)
    last = twins.metrics_at(2)
    np.testing.assert_allclose(last["sparsity"], zeros / sum(kernel[0].size for kernel in kernels), rtol=1e-6)
    np.testing.assert_allclose(last["sparsity_blocks_0_Dense_1"], 0.8, atol=0.01)  # 100 weights
    others = [leaf for path, leaf in leaves_of(twins.params(2)) if path[-1] in ("bias", "scale")]
    assert all((leaf != 0).any() for leaf in others)


def leaves_of(tree, path=()):
    for name, inner in tree.items():
        yield from leaves_of(inner, (*path, name)) if isinstance(inner, dict) else [((*path, name), inner)]


NEEDING = {
    "network": lambda zoo: zoo.network,
    "network_of": lambda zoo: zoo.network_of(1),
    "evaluate": lambda zoo: zoo.evaluate(zoo.weights(2)),
    "predict": lambda zoo: jaxzoo.predict_params(zoo, zoo.weights(2), zoo.images().normalised("test", slice(3))),
    "going on": lambda zoo: jaxzoo.generate(SPEC, zoo.path),
    "going on with what the zoo says": lambda zoo: jaxzoo.generate(zoo.spec, zoo.path),
    "twins": lambda zoo: jaxzoo.make_twins(zoo.path, jaxzoo.TwinSpec(method="magnitude")),
}


@pytest.mark.parametrize("case", NEEDING)
def test_what_computes_says_that_it_needs_the_module(made, case):
    zoo = jaxzoo.open_zoo(made.path)
    with pytest.raises(InputError, match="expected network=, the module Nested that the zoo was begun with") as raised:
        NEEDING[case](zoo)
    assert "\n" not in str(raised.value)


def test_the_module_is_applied_as_it_was_trained(made):
    zoo = jaxzoo.open_zoo(made.path, network=Nested())
    images = zoo.images()
    logits = jax.vmap(zoo.network.apply, (0, None))(zoo.variables(2), images.normalised("test"))
    accuracy = (np.asarray(logits).argmax(-1) == images.test.labels).mean(axis=1)
    np.testing.assert_allclose(zoo.metrics_at(2)["test_accuracy"], accuracy, atol=1e-6)
    np.testing.assert_allclose(zoo.evaluate(zoo.weights(2))["accuracy"], accuracy, atol=1e-6)
    twins = zoo.twins["magnitude"]
    np.testing.assert_allclose(
        twins.evaluate(twins.select(epochs=2))["loss"], twins.metrics_at(2)["test_loss"], rtol=1e-5
    )


class Other(Nested):
    def __call__(self, images, *, deterministic=True):
        return jnp.tanh(super().__call__(images, deterministic=deterministic))


Other.__name__ = Other.__qualname__ = "Nested"
STRANGERS = {
    "other code": (Other(), "is a Nested whose logits are not those of the module that the zoo was begun with"),
    "other settings": (Nested((8, 7)), r"another module: settings.widths is '\(8, 6\)', got '\(8, 7\)'; expected the"),
    "another class": (Plain(), "another module: name is 'Nested', got 'Plain'"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_another_module_is_refused(made, case):
    module, message = STRANGERS[case]
    for call in (
        lambda: jaxzoo.open_zoo(made.path, network=module),
        lambda: check_generate(SPEC, made.path, network=module),
        lambda: jaxzoo.make_twins(made.path, jaxzoo.TwinSpec(method="magnitude"), network=module),
    ):
        with pytest.raises(InputError, match=message) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_steps_the_optimizer_and_outputs_are_kept(made):
    zoo = jaxzoo.open_zoo(made.path)
    assert zoo.steps == (15, 30, 45, 60)
    assert (zoo.weights(step=15) != zoo.weights(1)).any()
    moments = zoo.optimizer(2)["mu"]
    assert moments["blocks_1"]["Dense_0"]["kernel"].shape == (20, 6, 10)
    logits = jaxzoo.predict_params(made, made.weights(3), made.images().normalised("test"))
    # float16 has eleven digits in base two
    np.testing.assert_allclose(zoo.outputs(3), logits, rtol=2**-10, atol=2**-10)


def test_probe_and_report_do_not_need_the_module(made, tmp_path, capsys):
    assert probe([str(made.path), "--seeds", "2"]) == 0
    page = tmp_path / "report.html"
    assert report([str(made.path), "--out", str(page), "--png", str(tmp_path / "pictures")]) == 0
    assert "Predictions are not compared: the networks are the module Nested" in capsys.readouterr().out
    assert "Nested, " in page.read_text()


def test_command_lines_that_train_say_that_they_do_not_know_the_module(made, tmp_path, capsys):
    (tmp_path / "tiny").symlink_to(made.path)
    config = write_digits_config(tmp_path / "config.toml")
    for command in (
        lambda: twins_command([str(made.path), "--method", "magnitude"]),
        lambda: generate_command(["--config", str(config), "--out", str(tmp_path)]),
    ):
        assert command() == 2  # code is not imported from what a zoo names
        error = capsys.readouterr().err
        assert "expected network=, the module Nested that the zoo was begun with, in a call from Python" in error
        assert error.count("\n") == 1


def test_a_zoo_grows_and_keeps_what_it_has(made, tmp_path):
    small = jaxzoo.generate(SPEC, tmp_path / "zoo", models=2, epochs=1, network=Nested())
    first = small.weights(1)
    grown = jaxzoo.generate(SPEC, tmp_path / "zoo", network=Nested())
    np.testing.assert_array_equal(grown.weights(1)[:2], first)
    assert grown.members["seed"].tolist() == made.members["seed"].tolist()
    np.testing.assert_array_equal(grown.weights(3), made.weights(3))


def test_scale_and_biases_of_initial_weights_act_at_any_depth():
    own = {"initialization_scale": (2.0,), "initialization_bias": (0.5,)}
    plain, changed = (
        initial_variables(cohort_of(module_spec(Nested(), seeds=2, grid=grid)))["params"] for grid in ({}, own)
    )
    block, other = plain["blocks_1"], changed["blocks_1"]
    np.testing.assert_array_equal(other["Dense_0"]["kernel"], 2 * block["Dense_0"]["kernel"])
    assert (other["Dense_0"]["bias"] == 0.5).all()
    np.testing.assert_array_equal(other["LayerNorm_0"]["bias"], block["LayerNorm_0"]["bias"])


@pytest.mark.parametrize("format", ["safetensors", "numpy", "parquet", "hub"])
def test_formats_of_names_and_shapes_hold_it(made, format, tmp_path):
    (out, *_) = jaxzoo.export_zoo(jaxzoo.open_zoo(made.path), tmp_path / "out", format)
    assert out.is_dir()
    with pytest.raises(InputError, match="architecture is 'Nested', expected what this version can hold"):
        jaxzoo.import_zoo(out, tmp_path / "back", format)


def test_what_needs_layers_is_refused_in_a_line(made, tmp_path):
    zoo = jaxzoo.open_zoo(made.path, network=Nested())
    for call in (
        lambda: jaxzoo.export_zoo(zoo, tmp_path / "a", "modelzoo"),
        lambda: jaxzoo.export_zoo(zoo, tmp_path / "b", "smallcnnzoo"),
        lambda: zoo.to_torch(0, 2),
        lambda: jaxzoo.permutation_spec(zoo),
        lambda: jaxzoo.build_network(zoo.spec),
        lambda: jaxzoo.predict_params(zoo.network, zoo.weights(2), zoo.images().normalised("test", slice(3))),
    ):
        with pytest.raises(InputError) as raised:
            call()
        assert "\n" not in str(raised.value)
    assert not [*tmp_path.iterdir()]


WRONG = {
    "no architecture": ({}, None, "architecture is missing, expected one of: cnn-s, .*or generate.*network=MyModule"),
    "both": ({"architecture": "cnn-s"}, Plain(), "network is given beside the architecture cnn-s, expected one of"),
    "dropout": ({"grid": {"dropout": (0.1,)}}, Plain(), r"dropout is \(0.1,\), expected 0: the module Plain has its"),
    "precision": ({"precision": "bfloat16"}, Plain(), "precision is 'bfloat16', expected 'float32'"),
    "activation": ({"grid": {"activation": ("tanh",)}}, Plain(), "grid.activation is tanh, expected none: the module"),
    "engine": ({}, Plain(), "engine is 'lanes', expected vmap for Plain"),
    "twins": ({"twins": "variational-dropout"}, Plain(), "twins is 'variational-dropout', expected 'magnitude', or 'n"),
    "incomplete batch": (
        {"batch_size": 7},
        Normed(),
        "dataset.train is 1200, expected a multiple of the batch size, 7",
    ),
    "fewer examples": ({"grid": {"train_fraction": (0.5,)}}, Normed(), "train_fraction is declared, expected none"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_module_cannot_have_is_refused(case, tmp_path):
    changes, module, message = WRONG[case]
    changes = {"grid": {}, **changes}
    if changes.get("architecture"):
        changes["grid"] = {"activation": ("tanh",), "initialization": ("kaiming_uniform",)}
    spec, engine = module_spec(**changes), "lanes" if case == "engine" else None
    with pytest.raises(InputError, match=message) as raised:
        check_generate(spec, tmp_path / "zoo", network=module, engine=engine)
    assert "\n" not in str(raised.value)
    assert not [*tmp_path.iterdir()]
