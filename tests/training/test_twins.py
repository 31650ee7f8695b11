"""Sparse twins of a zoo on disk: how they begin, what they hold, their command line, bad input."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from populations import write_digits_config

import jaxzoo
from jaxzoo.commands.generate import _twins, parse
from jaxzoo.errors import InputError
from jaxzoo.reading.stored import METRICS
from jaxzoo.spec.twin_spec import METHODS, TwinSpec
from jaxzoo.storage.snapshots import read_whole_variables
from jaxzoo.training.checks import check_generate
from jaxzoo.training.zoo import generate, make_twins

LAYERS = ("conv1", "conv2", "conv3", "dense1", "dense2")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    (spec,) = jaxzoo.read_config(write_digits_config(tmp_path_factory.mktemp("config") / "tiny.toml"))
    return spec


@pytest.fixture(scope="module")
def zoo(spec, tmp_path_factory):
    """A dense zoo with twins of both kinds made afterwards."""
    folder = tmp_path_factory.mktemp("zoos") / "tiny"
    generate(spec, folder, twins="none")
    before = files_of(folder)
    for method in METHODS:
        make_twins(folder, TwinSpec(method=method, epochs=4))
    assert {path: before[path] for path in files_of(folder) if "twins" not in path.parts} == before
    return jaxzoo.open_zoo(folder)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("method", METHODS)
def test_a_twin_begins_as_its_parent(zoo, method):
    twins = zoo.twins[method]
    assert twins.epochs == (0, 1, 2, 3, 4)
    assert twins.spec == zoo.spec
    assert twins.members.equals(zoo.members)
    parent, begun = zoo.metrics_at(3), twins.metrics_at(0)
    for name in ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy"):
        # variational dropout leaves out weights below e^-6.5 from the start
        np.testing.assert_allclose(begun[name], parent[name], atol=0 if method == "magnitude" else 0.01)
    weights, before = twins.weights(epoch=0), zoo.weights(epoch=3)
    kept = weights != 0
    np.testing.assert_array_equal(weights[kept], before[kept])
    assert np.abs(before[~kept]).max(initial=0) < np.exp(-6.4)
    if method == "magnitude":
        assert kept.all()


@pytest.mark.parametrize("method", METHODS)
def test_metrics_count_the_zeros_that_the_weights_have(zoo, method):
    twins = zoo.twins[method]
    metrics = twins.metrics
    assert list(metrics.columns) == [
        "model", "epoch", *METRICS, "sparsity", *(f"sparsity_{layer}" for layer in LAYERS),
    ]  # fmt: skip
    last = metrics[metrics["epoch"] == 4]
    weights = twins.weights(epoch=4)
    kernels = [entry.columns for entry in twins.layout if entry.kind == "kernel"]
    for layer, columns in zip(LAYERS, kernels, strict=True):
        np.testing.assert_allclose(last[f"sparsity_{layer}"], (weights[:, columns] == 0).mean(axis=1), rtol=1e-6)
    zeros = sum((weights[:, columns] == 0).sum(axis=1) for columns in kernels)
    sizes = sum(columns.stop - columns.start for columns in kernels)
    np.testing.assert_allclose(last["sparsity"], zeros / sizes, rtol=1e-6)
    if method == "magnitude":
        np.testing.assert_allclose(last["sparsity"], 0.8, atol=5 / sizes)  # rounded in each of five layers


def test_a_twin_is_linked_to_its_parent(zoo):
    record = json.loads((zoo.path / "twins" / "magnitude" / "zoo.json").read_text())
    assert record["twin"] == {"method": "magnitude", "epochs": 4, "sparsity": 0.8, "scope": "layer"}
    assert record["parent"] == {"digest": zoo.spec.digest, "epoch": zoo.spec.epochs}
    assert record["images"][0]["fingerprint"] == zoo.record.fingerprints["digits"]
    assert "magnitude pruning to a sparsity of 0.8" in (zoo.path / "twins" / "magnitude" / "README.md").read_text()


def test_making_them_in_generate_or_afterwards_is_the_same(spec, zoo, tmp_path):
    made = generate(spec, tmp_path / "z", twins=TwinSpec(epochs=4))
    for epoch in range(5):
        np.testing.assert_array_equal(
            made.twins["variational-dropout"].weights(epoch), zoo.twins["variational-dropout"].weights(epoch)
        )
    assert list(made.twins) == ["variational-dropout"]
    assert generate(spec, tmp_path / "z", twins="none").epochs == (0, 1, 2, 3)


def run(*arguments, verb="twins", cwd=None):
    command = [sys.executable, "-m", "jaxzoo", verb, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_the_command_line_makes_twins_and_sums_them_up(spec, tmp_path):
    generate(dataclasses.replace(spec, epochs=1), tmp_path / "z", twins="none", models=2)
    arguments = (tmp_path / "z", "--method", "magnitude", "--epochs", 2, "--sparsity", 0.5, "--scope", "layer")
    made = run(*arguments)
    assert made.returncode == 0, made.stderr
    assert "magnitude in" in made.stdout
    assert "after 2 epochs 50.0% zeros" in made.stdout
    assert run(*arguments).returncode == 0
    other = run(tmp_path / "z", "--method", "magnitude", "--epochs", 3)
    assert other.returncode == 2
    assert other.stderr.count("\n") == 1
    assert "twins/magnitude: was begun as other twins: epochs is 2, got 3; sparsity is 0.5, got 0.8;" in other.stderr
    assert "jaxzoo twins zoos/digits --method magnitude" in run("--help").stdout


BAD = {
    "no zoo": (("nowhere",), "nowhere: holds no zoo.json"),
    "no method": (("z", "--method", "lottery"), "argument --method: invalid choice: 'lottery'"),
    "no fraction": (("z", "--sparsity", "80"), "argument --sparsity: got '80', expected a number from 0 to 1"),
    "not a number": (("z", "--sparsity", "much"), "argument --sparsity: got 'much', expected a number from 0 to 1"),
    "of another method": (("z", "--sparsity", "0.5"), "--sparsity is of --method magnitude, got --method variational"),
    "no scope": (("z", "--scope", "world"), "argument --scope: invalid choice: 'world'"),
    "cohorts": (("z", "--cohorts", "5:6"), "cohorts are 5:6, expected a part of 0:2"),
    "unfinished": (("z",), "z: cohort 1 holds no epoch, expected it finished (3)"),
    "of another version": (("old",), "old/zoo.json: format is 7, expected 1"),
    "twins of twins": (("z/twins/magnitude",), "is a zoo of twins, expected a dense one"),
}


@pytest.fixture(scope="module")
def places(spec, tmp_path_factory):
    """A zoo of which one cohort is made, with its twins; and one of another version."""
    folder = tmp_path_factory.mktemp("places")
    generate(spec, folder / "z", cohorts=range(1), twins=TwinSpec(method="magnitude", epochs=1))
    (folder / "old").mkdir()
    (folder / "old" / "zoo.json").write_text('{"format": 7}')
    return folder


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_touches_nothing(places, arguments, message):
    before = files_of(places)
    done = run(*arguments, cwd=places)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert files_of(places) == before


def test_bad_twins_in_the_library_are_one_line(spec, zoo, tmp_path):
    for arguments, message in (
        ({"method": "lottery"}, "method is 'lottery', expected one of: "),
        ({"sparsity": 1.2}, r"sparsity is 1.2, expected 0 <= sparsity <= 1"),
        ({"sparsity": float("nan")}, r"sparsity is nan, expected a finite number"),
        ({"epochs": 0}, r"epochs is 0, expected 1 or more"),
    ):
        with pytest.raises(InputError, match=message):
            TwinSpec(**arguments)
    with pytest.raises(InputError, match="method is 'magic', expected one of: "):
        generate(spec, tmp_path / "z", twins="magic")
    with pytest.raises(InputError, match=r"twins/magnitude: was begun as other twins: epochs is 4, got 5;"):
        generate(spec, zoo.path, twins=TwinSpec(method="magnitude", epochs=5))
    assert not (tmp_path / "z").exists()


def test_a_setting_that_the_method_does_not_use_is_no_other_setting(spec, zoo):
    again = make_twins(zoo.path, TwinSpec(epochs=4, sparsity=0.5, scope="layer"))
    assert again.epochs == zoo.twins["variational-dropout"].epochs


def test_a_damaged_last_epoch_of_a_parent_is_one_line(spec, tmp_path):
    generate(spec, tmp_path / "z", twins="none", models=2, epochs=1)
    (tmp_path / "z" / "cohorts" / "000" / "snapshots" / "1" / "default" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(InputError, match=r"snapshots/1: is damaged: "):
        make_twins(tmp_path / "z", TwinSpec(method="magnitude", epochs=1))


def test_a_flipped_bit_in_a_parent_is_noticed(spec, tmp_path):
    """Wherever it is, but for bytes that nothing reads: Orbax's files have some, others in every run."""
    generate(spec, tmp_path / "z", twins="none", models=2, epochs=1)
    cohort = tmp_path / "z" / "cohorts" / "000"
    whole = read_whole_variables(cohort, 1)
    noticed = []
    for path in (cohort / "snapshots" / "1" / "default").rglob("d/*"):
        data = path.read_bytes()
        for quarter in (1, 2, 3):
            damaged = bytearray(data)
            damaged[quarter * len(data) // 4] ^= 1
            path.write_bytes(damaged)
            try:
                jax.tree.map(np.testing.assert_array_equal, read_whole_variables(cohort, 1), whole)
            except InputError:
                noticed.append((path, damaged))
            path.write_bytes(data)
    path, damaged = noticed[0]
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"snapshots/1: is damaged: "):
        make_twins(tmp_path / "z", TwinSpec(method="magnitude", epochs=1))


def test_what_twins_are_made_by_default_is_no_part_of_a_zoo(spec):
    other = dataclasses.replace(spec, twins=TwinSpec(method="magnitude"))
    assert other.digest == spec.digest


def test_twins_have_no_more_epochs_than_a_zoo_that_was_cut_short(spec, tmp_path):
    """A try of 3 epochs spent five of its six minutes on 25 epochs of twins."""
    long = dataclasses.replace(spec, epochs=50, twins=TwinSpec(method="magnitude"))

    def length(folder="z", **call):
        return check_generate(long, tmp_path / folder, **call).twin.epochs

    assert length() == 25
    assert length(epochs=3) == length(epochs=3, twins="variational-dropout") == length(epochs=3, twins=TwinSpec()) == 3
    assert length(epochs=40) == 25
    assert length(epochs=3, twins=TwinSpec(epochs=7)) == 7
    ten = dataclasses.replace(long, twins=TwinSpec(epochs=10))
    assert check_generate(ten, tmp_path / "z", epochs=3).twin.epochs == 3
    assert check_generate(ten, tmp_path / "z", twins=TwinSpec(method="magnitude")).twin.epochs == 10
    made = generate(long, tmp_path / "made", epochs=1, models=1)
    assert made.twins["magnitude"].epochs == (0, 1)
    assert make_twins(made.path, TwinSpec()).epochs == (0, 1)
    assert length("made", epochs=1, models=1) == 1


def test_twins_that_were_begun_keep_their_epochs(spec, tmp_path):
    """As a zoo that an earlier version cut short has them: the same call goes on."""
    made = generate(spec, tmp_path / "z", models=1, epochs=1, twins=TwinSpec(method="magnitude", epochs=4))
    job = check_generate(spec, made.path, models=1, epochs=1, twins="magnitude")
    assert job.twin.epochs == 4


def test_the_command_line_says_how_many_epochs_twins_have():
    spec = jaxzoo.load_spec("digits")
    assert _twins(spec, parse(["--zoo", "digits"])) is None
    assert _twins(spec, parse(["--zoo", "digits", "--twin-epochs", "7"])) == dataclasses.replace(spec.twins, epochs=7)
    said = _twins(spec, parse(["--zoo", "digits", "--twins", "magnitude", "--twin-epochs", "7"]))
    assert (said.method, said.epochs) == ("magnitude", 7)
    with pytest.raises(InputError, match="--twin-epochs is 7, expected none: no twins are asked for"):
        _twins(spec, parse(["--zoo", "digits", "--twins", "none", "--twin-epochs", "7"]))
