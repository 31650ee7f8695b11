"""Zoos of layers of one's own all the way: made, killed, gone on with, made sparse, read, probed, reported."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from populations import assert_same_weights

import jaxzoo
from jaxzoo.commands.generate import main as generate
from jaxzoo.commands.probe import main as probe
from jaxzoo.commands.report import main as report

TOML = """
[dataset]
name = "digits"
classes = 10
train = 1_257
validation = 180
test = 360
size = 28
channels = 1

[architectures.perceptron]
layers = ["flatten", { dense = 16 }, "layer_norm", "activation", "dropout", { dense = "classes" }]

[architectures.strided]
layers = [{ conv = 4, kernel = 3, stride = 3, padding = 1 }, { save = "a" }, "activation",
          { conv = 6, kernel = 3, padding = 1 }, { add = "a", channels = "common" }, "activation", { mean_pool = 3 },
          { conv = 8, kernel = 2, stride = 2, bias = false }, "activation", "dropout", "global_mean_pool",
          { dense = "classes" }]
"""
ZOO = """
[zoos.{name}]
architecture = "{name}"
batch_size = 100
epochs = 2
cohort_size = 10
twins = {{ method = "{method}", epochs = 1 }}
seeds = {{ first = 1, last = 10 }}
[zoos.{name}.grid]
activation = ["relu", "tanh"]
initialization = "torch_default"
dropout = 0.1
optimizer = "adam"
learning_rate = 1e-2
"""
METHODS = {"perceptron": "magnitude", "strided": "variational-dropout"}
KILLED = """
import os, signal, sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
import jaxzoo
saved = []
def kill(event):
    saved.extend([event] if isinstance(event, jaxzoo.EpochSaved) else [])
    if len(saved) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
(spec,) = [spec for spec in jaxzoo.read_config(sys.argv[1]) if spec.name == sys.argv[2]]
jaxzoo.generate(spec, sys.argv[3], on_event=kill)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "own.toml"
    path.write_text(TOML + "".join(ZOO.format(name=name, method=method) for name, method in METHODS.items()))
    return path


@pytest.fixture(scope="module")
def zoos(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("zoos")
    assert generate(["--config", str(config), "--out", str(out)]) == 0
    return {name: jaxzoo.open_zoo(out / name) for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_a_zoo_that_was_killed_ends_in_the_same_bits(name, zoos, config, tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for saves in (2, 6):  # in the first cohort; in the second one, behind the twins of the first
        command = [sys.executable, "-c", KILLED, str(config), name, str(tmp_path / name), str(saves)]
        assert subprocess.run(command, env=env, check=False, timeout=300).returncode == -signal.SIGKILL
    assert generate(["--config", str(config), "--zoo", name, "--out", str(tmp_path)]) == 0
    again = jaxzoo.open_zoo(tmp_path / name)
    assert_same_weights(again, zoos[name])
    assert [*jaxzoo.verify_zoo(again.path, deep=True)] == []


@pytest.mark.parametrize("name", METHODS)
def test_it_has_learned_and_its_twins_are_sparse(name, zoos):
    zoo = zoos[name]
    first, last = (zoo.metrics_at(epoch)["test_accuracy"].median() for epoch in (0, 2))
    assert last > first + 0.2
    twins = zoo.twins[METHODS[name]]
    assert twins.metrics_at(1)["sparsity"].max() > 0
    before = twins.weights(0)
    np.testing.assert_array_equal(before, np.where(before == 0, 0, zoo.weights(2)))  # some are zero at once
    table = zoo.evaluate(zoo.weights(2))
    # float32 sums of 360 losses in another order
    np.testing.assert_allclose(table["loss"], zoo.metrics_at(2)["test_loss"], rtol=2e-5)


@pytest.mark.parametrize("name", METHODS)
def test_probe_and_report_take_it(name, zoos, tmp_path, capsys):
    assert probe([str(zoos[name].path), "--seeds", "2"]) == 0
    assert "activation" in capsys.readouterr().out
    assert report([str(zoos[name].path), "--out", str(tmp_path / "report.html")]) == 0
    assert name in (tmp_path / "report.html").read_text()
