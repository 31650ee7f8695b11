"""The format numpy: zoos come back as they were, NumPy and pandas read the files, and damage is one line."""

import json

import numpy as np
import pandas as pd
import pytest
from exchange import assert_same_zoo, one_line, there_and_back
from populations import small_spec, store_zoo

from jaxzoo.formats import chosen
from jaxzoo.formats.exporting import export_zoo
from jaxzoo.formats.importing import import_zoo
from jaxzoo.reading.zoo import open_zoo


@pytest.fixture(scope="module")
def mixed_zoo(tmp_path_factory):
    spec = small_spec(activation=("tanh", "relu"), optimizer=("adam", "rms_prop"), seeds=2)
    return store_zoo(
        tmp_path_factory.mktemp("numpy") / "zoo", spec, finite=lambda model, epoch: (model, epoch) != (3, 2)
    )


def test_a_zoo_comes_back_as_it_was(mixed_zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(chosen, "PORTION_BYTES", 3 * 4 * 2464)  # of three models, so that an epoch takes several
    assert_same_zoo(mixed_zoo, there_and_back(mixed_zoo, tmp_path, "numpy"))


def test_some_models_and_epochs_come_back(mixed_zoo, tmp_path):
    back = there_and_back(mixed_zoo, tmp_path, "numpy", models=[1, 4, 5], epochs=[0, 2])
    assert back.epochs == (0, 2)
    np.testing.assert_array_equal(back.weights(2), mixed_zoo.weights(2, [1, 4, 5]))
    assert back.members["seed"].tolist() == mixed_zoo.members["seed"].iloc[[1, 4, 5]].tolist()


def test_running_statistics_come_back(tmp_path):
    zoo = store_zoo(tmp_path / "zoo", small_spec("resnet-18-narrow", seeds=2, epochs=1))
    assert_same_zoo(zoo, there_and_back(zoo, tmp_path, "numpy"))


def test_twins_come_back(digits_zoo, tmp_path):
    zoo = open_zoo(digits_zoo)
    back = there_and_back(zoo, tmp_path, "numpy")
    assert_same_zoo(zoo, back)
    assert_same_zoo(zoo.twins["magnitude"], back.twins["magnitude"])


def test_numpy_and_pandas_read_the_files(mixed_zoo, tmp_path):
    export_zoo(mixed_zoo, tmp_path / "out", "numpy", epochs="last")
    with np.load(tmp_path / "out" / "epoch_00002.npz") as arrays:
        np.testing.assert_array_equal(arrays["params/conv2/kernel"], mixed_zoo.params(2)["conv2"]["kernel"])
        assert arrays["models"].tolist() == list(range(8))
    assert (
        pd.read_csv(tmp_path / "out" / "members.csv")["optimizer"].tolist() == mixed_zoo.members["optimizer"].tolist()
    )


def rewrite(path, change):
    path.write_text(change(path.read_text()))


def described(folder, **changes):
    rewrite(folder / "zoo.json", lambda text: json.dumps(json.loads(text) | changes))


def with_objects(path):
    np.savez(path, **{"models": np.arange(8), "params/conv1/kernel": np.array([{}] * 8, object)})


DAMAGE = {
    "no zoo.json": (lambda out: (out / "zoo.json").unlink(), "zoo.json: cannot be read"),
    "no JSON": (lambda out: (out / "zoo.json").write_text("{"), "zoo.json: is damaged"),
    "unknown network": (lambda out: described(out, architecture="cnn-x"), "architecture is 'cnn-x'"),
    "no epoch": (lambda out: described(out, epochs=[]), r"epochs is \[\]"),
    "an epoch that is missing": (lambda out: described(out, epochs=[2, 7]), "epoch_00007.npz: cannot be read"),
    "another network": (lambda out: described(out, architecture="cnn-l"), "epoch 2: .* expected"),
    "no members": (lambda out: (out / "members.csv").unlink(), "members.csv: cannot be read"),
    "no seed": (lambda out: rewrite(out / "members.csv", lambda text: text.replace("seed", "sod")), "has no seed"),
    "metrics without epochs": (
        lambda out: rewrite(out / "metrics.csv", lambda text: text.replace("epoch", "era")),
        "expected model and epoch",
    ),
    "metrics of fewer models": (
        lambda out: rewrite(out / "metrics.csv", lambda text: "\n".join(text.splitlines()[:-1])),
        "the metrics of model 7 at epoch 2 are missing",
    ),
    "other models": (
        lambda out: rewrite(out / "members.csv", lambda text: "\n".join(text.splitlines()[:-1])),
        "its models are not those of members.csv",
    ),
    "no zip": (lambda out: (out / "epoch_00002.npz").write_bytes(b"PK"), "epoch_00002.npz: is damaged"),
    "objects": (lambda out: with_objects(out / "epoch_00002.npz"), "conv1/kernel is object"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_cannot_be_read_is_one_line(mixed_zoo, tmp_path, case):
    export_zoo(mixed_zoo, tmp_path / "out", "numpy", epochs="last")
    damage, match = DAMAGE[case]
    damage(tmp_path / "out")
    with one_line(match):
        import_zoo(tmp_path / "out", tmp_path / "back", "numpy")
    assert not (tmp_path / "back").exists()
