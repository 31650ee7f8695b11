"""What every export and import does, whatever the format."""

import dataclasses
import itertools
import json
import subprocess
import sys

import pandas as pd
import pytest
from exchange import assert_same_zoo, there_and_back
from populations import small_spec, store_zoo

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.formats.chosen import Chosen, choose
from jaxzoo.formats.format import Found, Network
from jaxzoo.formats.formats import FORMATS
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.checkpoints import saved_epochs

OF_ALL = [name for name in FORMATS if name != "wildpark"]  # which holds chains of convolutions alone


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Ten models, of which half drop out, over three epochs."""
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", small_spec(seeds=5, epochs=2, dropout=(0.0, 0.25)))


def test_models_epochs_and_a_condition_choose_what_is_exported(zoo):
    assert choose(zoo) == Chosen(zoo, tuple(range(10)), (0, 1, 2))
    assert choose(zoo, "last", [3, 1]) == Chosen(zoo, (1, 3), (2,))
    assert choose(zoo, 1, where="dropout > 0 and seed == 2").models == (6,)
    assert choose(zoo, [0, 2], zoo.members["dropout"] == 0).models == (0, 1, 2, 3, 4)
    for arguments, message in (
        (("first",), "epochs is 'first', expected numbers, a mask, or 'last'"),
        ((7,), "epoch is 7, expected one of 0..2"),
        ((None, [11]), "model is 11, expected 0..9"),
        ((None, None, "dropout > 1"), "no state is left"),
        ((None, [0], "dropout > 0"), "no model is left to export"),
    ):
        with pytest.raises(InputError, match=message):
            choose(zoo, *arguments)


def test_a_zoo_is_read_in_portions(zoo, monkeypatch):
    monkeypatch.setattr("jaxzoo.formats.chosen.PORTION_BYTES", 3 * 4 * 2464 + 1)
    portions = [*choose(zoo, "last", range(1, 9)).portions(2)]
    assert [portion.models for portion in portions] == [(1, 2, 3), (4, 5, 6), (7, 8)]
    assert [len(portion.variables["params"]["conv1"]["bias"]) for portion in portions] == [3, 3, 2]


@pytest.mark.parametrize("format", OF_ALL)
def test_small_portions_come_back_whole_in_several_cohorts(zoo, format, tmp_path, monkeypatch):
    if format == "modelzoo":
        pytest.importorskip("torch")
    monkeypatch.setattr("jaxzoo.formats.chosen.PORTION_BYTES", 2 * 4 * 2464)
    monkeypatch.setattr("jaxzoo.formats.imported_zoo.COHORT_BYTES", 2 * 4 * 2464)
    (folder,) = jaxzoo.export_zoo(zoo, tmp_path / "x", format, models=range(5))
    back = jaxzoo.import_zoo(folder, tmp_path / "z", format)
    assert len(back.cohorts) == 3
    assert_same_zoo(zoo, back, range(5))
    assert [*jaxzoo.verify_zoo(back.path, deep=True)] == []


@pytest.mark.parametrize("format", OF_ALL)
def test_optimizers_come_back_by_their_labels(format, tmp_path):
    if format == "modelzoo":
        pytest.importorskip("torch")
    given = (Optimizer(name="adam", beta1=0.5, epsilon=1e-6), Optimizer(name="sgd", nesterov=True))
    given += (Optimizer(name="rms_prop", decay=0.9),)
    spec = small_spec(seeds=1, epochs=1, optimizer=("adamw", "rms_prop", *given))
    zoo = store_zoo(tmp_path / "z", dataclasses.replace(spec, schedule=Schedule(kind="step", every=1)))
    labels = ["adam(beta1=0.5, epsilon=1e-06)", "sgd(nesterov=True)", "rms_prop(decay=0.9)"]
    assert zoo.members["optimizer"].tolist() == ["adamw", "rms_prop", *labels]
    back = there_and_back(zoo, tmp_path, format)
    assert_same_zoo(zoo, back)
    again = there_and_back(back, tmp_path / "again", format)
    assert_same_zoo(zoo, again)


def test_the_states_are_counted_and_splits_stand_beside(zoo, tmp_path):
    begun, done = [], []
    hears = {"on_begin": begun.append, "on_states": done.append}
    folders = jaxzoo.export_zoo(zoo, tmp_path / "x", "numpy", epochs=[0, 2], **hears)
    assert folders == (tmp_path / "x",)
    assert begun == [20] == [sum(done)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x-splits.json"]
    splits = json.loads((tmp_path / "x-splits.json").read_text())
    parts = [splits[name] for name in ("train", "validation", "test")]
    assert sorted(itertools.chain(*parts)) == [*range(10)]
    assert splits["by"] == "seed"
    seeds = [{*zoo.members["seed"][part]} for part in parts]
    assert sum(map(len, seeds)) == len(set.union(*seeds))
    # the same models go to the same part, whatever is left out
    jaxzoo.export_zoo(zoo, tmp_path / "y", "numpy", epochs="last", models=[0, 7, 9])
    fewer = json.loads((tmp_path / "y-splits.json").read_text())
    assert all({*fewer[name]} == {*splits[name]} & {0, 7, 9} for name in ("train", "validation", "test"))


def test_twins_go_beside_and_come_back(digits_zoo, tmp_path):
    zoo = jaxzoo.open_zoo(digits_zoo)
    folders = jaxzoo.export_zoo(zoo, tmp_path / "x", "numpy")
    assert [folder.name for folder in folders] == ["x", "x-magnitude"]
    back = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "numpy", dataset="digits")
    assert_same_zoo(zoo, back)
    assert_same_zoo(zoo.twins["magnitude"], back.twins["magnitude"])
    # what reads zoos takes it like another, but for what would go on with it
    assert zoo.evaluate(zoo.weights(2)).equals(back.evaluate(back.weights(2)))
    assert back.network_of(3) == zoo.network_of(3)
    with pytest.raises(InputError, match="is that of an imported zoo, expected a zoo that jaxzoo trained"):
        jaxzoo.make_twins(back.path, TwinSpec(method="magnitude"))
    with pytest.raises(InputError, match="is that of an imported zoo"):
        jaxzoo.generate(zoo.spec, back.path)
    assert "digest" not in json.loads((back.path / "zoo.json").read_text())
    assert back.record.fingerprints == {}
    # and goes out again
    again = jaxzoo.export_zoo(back, tmp_path / "y", "numpy", epochs="last")
    assert [folder.name for folder in again] == ["y", "y-magnitude"]
    alone = jaxzoo.export_zoo(zoo, tmp_path / "w", "numpy", twins=False)
    assert alone == (tmp_path / "w",)


def test_an_import_without_a_dataset_has_no_images_and_names_the_datasets(zoo, tmp_path):
    jaxzoo.export_zoo(zoo, tmp_path / "x", "numpy", epochs="last")
    with pytest.raises(InputError, match=r"its images are not known, expected an import that names a dataset"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "numpy").images()
    for dataset, message in (("minst", "expected one of: mnist"), ("cifar10", r"images of shape \(28, 28, 1\)")):
        with pytest.raises(InputError, match=message):
            jaxzoo.import_zoo(tmp_path / "x", tmp_path / "w", "numpy", dataset=dataset)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_a_target_that_is_not_empty_stays_as_it_is(zoo, format, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("years of work")
    for call in (jaxzoo.export_zoo, jaxzoo.import_zoo):
        with pytest.raises(InputError, match="is not empty, expected a new folder or an empty one"):
            call(zoo.path, tmp_path / "x", format, **({"models": range(5)} if call is jaxzoo.export_zoo else {}))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x" / "thesis.tex").read_text() == "years of work"


def test_a_failure_half_way_leaves_nothing(zoo, tmp_path, monkeypatch):
    def fail(*arguments):
        raise InputError("the disk is gone")

    monkeypatch.setattr("jaxzoo.formats.numpy_files._write_epoch", fail)
    with pytest.raises(InputError, match="the disk is gone"):
        jaxzoo.export_zoo(zoo, tmp_path / "x", "numpy")
    assert [*tmp_path.iterdir()] == []
    monkeypatch.undo()
    jaxzoo.export_zoo(zoo, tmp_path / "x", "numpy")
    (tmp_path / "x" / "epoch_00002.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match=r"epoch_00002.npz: is damaged"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "numpy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x-splits.json"]


def test_names_and_options_are_checked(zoo, tmp_path):
    for arguments, message in (
        ({"format": "modelzo"}, "expected one of: modelzoo"),
        ({"format": "numpy", "per_model": True}, "per_model is an option of the format"),
    ):
        with pytest.raises(InputError, match=message):
            jaxzoo.export_zoo(zoo, tmp_path / "x", **arguments)
    with pytest.raises(InputError, match="format is 'tar', expected one of"):
        jaxzoo.import_zoo(zoo.path, tmp_path / "z", "tar")
    assert [*tmp_path.iterdir()] == []


def test_what_a_source_lacks_is_named(tmp_path, monkeypatch):
    """A reader of a format may be handed anything; the importer trusts none of it."""
    rows = [{"seed": 1, "activation": "tanh"}]
    metrics = pd.DataFrame({"model": [0], "epoch": [0], "train_loss": [1.0]})
    found = Found(Network("cnn-s", (28, 28, 1), 10), rows, (0,), metrics, lambda epoch, models: {"params": {}})
    cases = (
        ({}, r"params/conv1/kernel is missing, expected \(1, 5, 5, 1, 8\)"),
        ({"metrics": metrics[:0]}, "the metrics of model 0 at epoch 0 are missing, expected one row for each"),
        ({"metrics": pd.concat([metrics, metrics])}, "the metrics of model 0 at epoch 0 are there twice"),
    )
    for changes, message in cases:
        kind = FORMATS["numpy"]._replace(read=lambda *arguments, given=changes: found._replace(**given))
        monkeypatch.setattr("jaxzoo.formats.importing.FORMATS", {"numpy": kind})
        with pytest.raises(InputError, match=message):
            jaxzoo.import_zoo(tmp_path, tmp_path / "z", "numpy")
    assert [*tmp_path.iterdir()] == []


def test_the_command_lines(zoo, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "jaxzoo", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)

    done = run("export", zoo.path, "--format", "numpy", "--out", "x", "--epochs", "0,2", "--models", "0:4")
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "x")), done.stderr
    assert "8.00/8.00" in done.stderr
    done = run("import", "x", "--format", "numpy", "--out", "z", "--name", "four")
    assert (done.returncode, done.stdout.strip()) == (0, f"{tmp_path / 'z'}: 4 models of cnn-s, 2 epochs"), done.stderr
    back = jaxzoo.open_zoo(tmp_path / "z")
    assert (back.spec.name, back.epochs, len(back.members)) == ("four", (0, 2), 4)
    assert saved_epochs(tmp_path / "z" / "cohorts" / "000" / "snapshots") == [0, 2]
    for arguments, message in (
        (("export", zoo.path, "--format", "numpy", "--out", "x"), "jaxzoo export: "),
        (("export", zoo.path, "--format", "numpy", "--out", "y", "--epochs", "2:"), "expected numbers as in 10,20"),
        (("export", zoo.path, "--format", "smallcnnzoo", "--out", "y", "--final-step", "1"), "final_step is 1"),
        (("import", "x", "--format", "numpy", "--out", "w", "--twins", "lottery=x"), "expected METHOD=DIR with one of"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr


@pytest.mark.parametrize("name", OF_ALL)
def test_factors_come_back(name, tmp_path):
    """In the original layout a model knows of no other: there pairs are left out."""
    if name == "modelzoo":
        pytest.importorskip("torch")
    factors = {"label_noise": (0.0, 0.1), "beta1": (0.8,), "excluded_class": (-1, 3)}
    spec = small_spec(seeds=1, epochs=1)
    grid = dataclasses.replace(spec.grid, **factors)
    vary = jaxzoo.Vary(factor="gradient_clip", value=1, from_epoch=1)
    zoo = store_zoo(tmp_path / "z", dataclasses.replace(spec, grid=grid, vary=(vary,)))
    back = there_and_back(zoo, tmp_path, name)
    columns = ["seed", "learning_rate", *factors, "gradient_clip"]
    columns += [] if name == "modelzoo" else ["base", "change", "change_epoch"]
    members = zoo.members[columns]
    got = back.members[columns].fillna({"change": ""} if "change" in columns else {})
    pd.testing.assert_frame_equal(got, members, check_dtype=False)
    assert back.weights(1).tolist() == zoo.weights(1).tolist()
