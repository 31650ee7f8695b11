"""The bench: what it counts is right, it runs, and what cannot be measured is one clear line."""

import importlib.util
import json
import subprocess
import sys

import pytest

from jaxzoo.bench.contenders import matmul_peak, population, typical_cohort
from jaxzoo.bench.rates import Subject, contenders_of
from jaxzoo.spec.arithmetic import training_flops
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.layers import LAYERS
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.twin_spec import TwinSpec


def test_flops_of_a_training_sample():
    """By hand: twice the multiply-adds; the first layer twice (forward, kernel), the others three times."""
    by_hand = 2 * (2 * 24 * 24 * 8 * 25 + 3 * (8 * 8 * 6 * 200 + 3 * 3 * 4 * 24 + 36 * 20 + 20 * 10))
    spec = load_spec("mnist-seed")
    assert training_flops(spec.layers, spec.dataset) == by_hand
    strided = 2 * (2 * 13 * 13 * 16 * 9 + 3 * (6 * 6 * 16 * 144 + 2 * 2 * 16 * 144 + 16 * 10))
    assert training_flops(LAYERS["small-cnn-zoo"], spec.dataset) == strided


MIXED_AND_TWINS = [("lanes", True, None), ("vmap", False, None), ("lanes", False, TwinSpec())]


@pytest.mark.parametrize(("engine", "mixed", "twin"), MIXED_AND_TWINS)
def test_a_population_is_timed(engine, mixed, twin):
    cohorts = plan_zoo(load_spec("digits")).cohorts  # four kinds of cohorts, and few images
    contender = population(cohorts if mixed else cohorts[:1], engine, 3, twin)
    assert contender.run(0.1) > 0
    assert contender.setup_seconds > 0
    assert contender.peak_memory() > 50


def test_networks_with_batch_normalisation_have_the_contenders_that_can_train_them():
    pytest.importorskip("torch")
    subject = Subject("resnet", typical_cohort(load_spec("cifar10-resnet18")))
    assert set(contenders_of(subject, models=2)) == {"matmul", "PyTorch, a model per core", "vmap, seed zoo"}


def test_the_matmul_is_timed():
    assert matmul_peak().run(0.1) > 1e8


def run(*arguments):
    command = [sys.executable, "-m", "jaxzoo", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_the_table_is_printed_and_kept(tmp_path):
    chosen = ["lanes, seed zoo", "twins, magnitude"]
    if importlib.util.find_spec("torch"):
        chosen += ["PyTorch, a model per core", "torch.func vmap"]
    few = ("--models", 2, "--rounds", 2, "--seconds", 1, "--contenders", *chosen)
    done = run("--architectures", "cnn-s", *few, "--json", tmp_path / "t.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "t.json").read_text())
    rows = {row["contender"]: row for row in found["rates"]}
    assert set(rows) == set(chosen)
    assert all(row["lowest"] <= row["samples_per_s"] <= row["highest"] for row in rows.values())
    assert "twins, magnitude" in done.stdout
    assert {row["zoo"] for row in found["zoos"]} >= {"mnist-seed", "svhn-hyp-10-r"}
    assert "no hours for cifar10-resnet18" in done.stdout
    assert found["command"].startswith("jaxzoo bench --architectures cnn-s --models 2")
    if importlib.util.find_spec("torch"):
        assert rows["PyTorch, a model per core"]["ratio"] == 1
    else:
        assert "without PyTorch" in done.stderr


def test_the_quick_one_has_few_ways_and_says_n_and_spread(tmp_path):
    done = run("--quick", "--models", 2, "--rounds", 2, "--json", tmp_path / "q.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "q.json").read_text())
    chosen = ["lanes, seed zoo", "twins, variational-dropout"]
    chosen = ["PyTorch, a model per core", *chosen] if importlib.util.find_spec("torch") else chosen
    assert [row["contender"] for row in found["rates"]] == chosen
    assert {row["architecture"] for row in found["rates"]} == {"cnn-s"}
    assert (found["options"]["rounds"], found["options"]["seconds"]) == (2, 1)
    assert "medians of 2 turns of 1 s" in done.stdout
    assert "with_twins_h" in done.stdout
    assert "at the rate of one kind" in done.stdout


BAD = {
    "unknown chip": (("--tpu", "v99"), "--tpu is 'v99', expected one of: v5e"),
    "no lanes": (("--tpu", "v5e", "--lanes", "0"), "argument --lanes: got '0', expected a whole number, 1 or more"),
    "no rounds": (("--rounds", "0"), "argument --rounds: got '0', expected a whole number, 1 or more"),
    "unknown contender": (("--contenders", "lane"), "contenders is 'lane', expected one of: "),
    "unknown architecture": (("--architectures", "vgg"), "invalid choice: 'vgg'"),
    "zoos with --here": (("--here", "--zoos", "svhn-seed"), "--here takes no --zoos, expected --architectures"),
    "here and a chip": (("--here", "--tpu", "v5e"), "argument --tpu: not allowed with argument --here"),
    "json of a merge": (("--merge", "a", "--json", "b"), "--merge takes no --json"),
    "no folder": (("--json", "nowhere/a.json"), "--json: nowhere is no folder, expected one to write a file in"),
    "no file": (("--merge", "nowhere.json"), "nowhere.json: cannot be read (No such file or directory)"),
    "unknown zoo": (("--tpu", "v5e", "--zoos", "svnh"), "there is no zoo 'svnh'; nearest: "),
}
if importlib.util.find_spec("libtpu") is None:
    BAD["no libtpu"] = (("--tpu", "v5e"), "--tpu: libtpu is not installed")


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_status_2(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
