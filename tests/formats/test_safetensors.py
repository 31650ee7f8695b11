"""Safetensors: what is written comes back bit for bit in both layouts, others' files are read, damage is one line."""

import json
import shutil
import sys

import numpy as np
import pytest
from exchange import assert_same_zoo
from populations import small_spec, store_zoo
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxzoo.errors import InputError
from jaxzoo.formats import chosen, imported_zoo
from jaxzoo.formats.exporting import export_zoo
from jaxzoo.formats.importing import import_zoo
from jaxzoo.models.variables import each_leaf, network_shapes
from jaxzoo.spec.layers import LAYERS

EPOCHS = (0, 2)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Six models of two activations, three epochs."""
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", small_spec(seeds=3, activation=("tanh", "relu")))


@pytest.fixture
def exported(zoo, tmp_path, request):
    """The folder of an export of models 1 to 5 at two epochs."""
    per_model = getattr(request, "param", False)
    (folder,) = export_zoo(zoo, tmp_path / "x", "safetensors", epochs=EPOCHS, models=range(1, 6), per_model=per_model)
    return folder


def leaves_of(zoo, epoch, models=None):
    return {"/".join(path): leaf for path, leaf in each_leaf(zoo.variables(epoch, models))}


@pytest.mark.parametrize("exported", [False, True], indirect=True, ids=["stacked", "per-model"])
def test_a_zoo_comes_back_bit_for_bit(zoo, exported, tmp_path):
    back = import_zoo(exported, tmp_path / "back", "safetensors")
    assert_same_zoo(zoo, back, range(1, 6), EPOCHS)


@pytest.mark.parametrize("per_model", [False, True])
def test_portions_change_nothing(zoo, exported, tmp_path, monkeypatch, per_model):
    """With one model in memory at a time, and with the temporary files of that gone; then two models at a time."""
    monkeypatch.setattr(chosen, "PORTION_BYTES", 1)
    monkeypatch.setattr(imported_zoo, "MOST_MODELS", 2)
    (folder,) = export_zoo(zoo, tmp_path / "p", "safetensors", per_model=per_model)
    assert_same_zoo(zoo, import_zoo(folder, tmp_path / "back", "safetensors"))
    if not per_model:
        names = {"members.csv", "metrics.csv", "zoo.json", *(f"epoch_{epoch:05d}.safetensors" for epoch in range(3))}
        assert {path.name for path in folder.iterdir()} == names
        first = load_file(folder / "epoch_00002.safetensors")
        np.testing.assert_array_equal(first["params/conv2/kernel"], zoo.params(2)["conv2"]["kernel"])


def test_the_library_itself_reads_both_layouts(zoo, exported, tmp_path):
    path = exported / "epoch_00002.safetensors"
    tensors = load_file(path)
    assert tensors.pop("models").tolist() == [1, 2, 3, 4, 5]
    assert tensors.keys() == leaves_of(zoo, 2).keys()
    np.testing.assert_array_equal(tensors["params/conv1/kernel"], zoo.params(2, range(1, 6))["conv1"]["kernel"])
    assert path.stat().st_mode == (exported / "zoo.json").stat().st_mode  # whoever reads the tables reads weights, too
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["description"]) == json.loads((exported / "zoo.json").read_text())
    (folder,) = export_zoo(zoo, tmp_path / "m", "safetensors", models=[4], epochs="last", per_model=True)
    one = load_file(folder / "model_00004" / "epoch_00002.safetensors")
    np.testing.assert_array_equal(one["params/dense2/bias"], zoo.params(2, [4])["dense2"]["bias"][0])


def write_by_hand(folder, models=3, epochs=(4, 7), per_model=False):
    """A tree of ResNets with drawn statistics, as somebody else would write it. Returns the arrays by epoch."""
    shapes = network_shapes(LAYERS["resnet-18-narrow"], 10, (32, 32, 3))
    draws = np.random.default_rng(5)
    arrays = {
        epoch: {
            "/".join(path): draws.random((models, *shape), np.float32) - np.float32(0.25)
            for path, shape in each_leaf(shapes)
        }
        for epoch in epochs
    }
    folder.mkdir()
    numbers = np.arange(10, 10 + models)
    for epoch, tensors in arrays.items():
        if per_model:
            for row, number in enumerate(numbers):
                (folder / f"model_{number:05d}").mkdir(exist_ok=True)
                own = {name: leaf[row].copy() for name, leaf in tensors.items()}
                save_file(own, folder / f"model_{number:05d}" / f"epoch_{epoch:05d}.safetensors")
        else:
            save_file({**tensors, "models": numbers}, folder / f"epoch_{epoch:05d}.safetensors")
    table = {"architecture": "resnet-18-narrow", "image_shape": [32, 32, 3], "classes": 10, "epochs": [*epochs]}
    (folder / "zoo.json").write_text(json.dumps({**table, "batch_size": None, "twins": None}))
    lines = [f"{number},{number},relu,,,,,," for number in numbers]
    header = "model,seed,activation,initialization,dropout,optimizer,learning_rate,weight_decay,note"
    (folder / "members.csv").write_text("\n".join([header, *lines, ""]))
    rows = [f"{number},{epoch},{0.25 + row}" for epoch in epochs for row, number in enumerate(numbers)]
    (folder / "metrics.csv").write_text("\n".join(["model,epoch,test_loss", *rows, ""]))
    return arrays


@pytest.mark.parametrize("per_model", [False, True])
def test_a_tree_made_by_hand_is_read_and_written_again(tmp_path, per_model):
    """ResNets have running statistics, too; hyperparameters and most metrics are not known."""
    arrays = write_by_hand(tmp_path / "hand", per_model=per_model)
    back = import_zoo(tmp_path / "hand", tmp_path / "back", "safetensors")
    assert back.epochs == (4, 7)
    assert back.members["seed"].tolist() == [10, 11, 12]
    assert back.metrics_at(7)["test_loss"].tolist() == [0.25, 1.25, 2.25]
    for epoch, wanted in arrays.items():
        got = leaves_of(back, epoch)
        assert got.keys() == wanted.keys()
        assert any(name.startswith("batch_stats/") for name in got)
        for name, leaf in wanted.items():
            np.testing.assert_array_equal(got[name], leaf)
    (again,) = export_zoo(back, tmp_path / "again", "safetensors", per_model=per_model)
    assert_same_zoo(back, import_zoo(again, tmp_path / "z", "safetensors"))


def change(path, **changes):
    """Writes the file of an epoch again, with some tensors others, or gone."""
    tensors = {name: leaf.copy() for name, leaf in load_file(path).items()} | changes
    save_file({name: leaf for name, leaf in tensors.items() if leaf is not None}, path)


KERNEL = "params/conv1/kernel"
LAST = "epoch_00002.safetensors"
FAULTS = {
    "missing file": (
        lambda path: path.unlink(),
        r"epoch_00002.safetensors: cannot be read \(.*\), expected the weights",
    ),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-7]), "epoch_00002.safetensors: is damaged: "),
    "empty": (lambda path: path.write_bytes(b""), "epoch_00002.safetensors: is damaged: "),
    "wrong shape": (
        lambda path: change(path, **{KERNEL: np.zeros((5, 3, 3, 1, 8), np.float32)}),
        r"epoch 2: params/conv1/kernel is \(5, 3, 3, 1, 8\), expected \(5, 5, 5, 1, 8\)",
    ),
    "too few models": (
        lambda path: change(path, **{KERNEL: np.zeros((4, 5, 5, 1, 8), np.float32)}),
        r"kernel is F32 of shape \(4, 5, 5, 1, 8\), expected F16 or F32 or F64 of 5 models or more",
    ),
    "whole numbers": (
        lambda path: change(path, **{KERNEL: np.zeros((5, 5, 5, 1, 8), np.int32)}),
        "kernel is I32 of shape",
    ),
    "no axes": (
        lambda path: change(path, **{KERNEL: np.zeros((), np.float32)}),
        r"kernel is F32 of shape \(\), expected",
    ),
    "missing tensor": (lambda path: change(path, **{KERNEL: None}), "conv1/kernel is missing, expected"),
    "strange tensor": (lambda path: change(path, more=np.zeros(5, np.float32)), r"more is \(5,\), expected nothing"),
    "a tensor within another": (
        lambda path: change(path, params=np.zeros(5, np.float32)),
        "params/conv1/bias: lies within another array, expected names",
    ),
    "one number for all": (lambda path: change(path, models=np.array(5)), r"its 1 models are \[5\], expected the 5"),
    "no models": (lambda path: change(path, models=None), "is damaged: .*models"),
    "extra model": (
        lambda path: change(path, models=np.arange(1, 7)),
        r"epoch_00002.safetensors: its 6 models are \[1, 2, 3, 4, 5, 6\], expected the 5 of the table",
    ),
    "other models": (lambda path: change(path, models=np.arange(5, 0, -1)), r"its 5 models are \[5, 4, 3, 2, 1\]"),
    "no members": (lambda path: (path.parent / "members.csv").unlink(), r"members.csv: cannot be read"),
    "no description": (lambda path: (path.parent / "zoo.json").unlink(), r"zoo.json: cannot be read"),
    "a seed of words": (
        lambda path: (path.parent / "members.csv").write_text(
            (path.parent / "members.csv").read_text().replace("\n1,2,", "\n1,two,")
        ),
        "model 0: seed is 'two', expected a whole number, 0 or more",
    ),
    "no numbers": (
        lambda path: (path.parent / "members.csv").write_text("seed,activation\n1,tanh\n"),
        "members.csv: has no model, expected a row for each model",
    ),
}


def assert_one_line(folder, out, message):
    with pytest.raises(InputError, match=message) as caught:
        import_zoo(folder, out, "safetensors")
    assert len(str(caught.value).splitlines()) == 1
    assert not [path for path in out.parent.iterdir() if path.name.startswith(out.name)]


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_is_one_line_and_nothing_half_written(exported, tmp_path, fault):
    damage, message = FAULTS[fault]
    damage(exported / LAST)
    assert_one_line(exported, tmp_path / "back", message)


PER_MODEL_FAULTS = {
    "missing file": (
        lambda path: path.unlink(),
        r"model_00003/epoch_00002.safetensors: is no file, expected the weights",
    ),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-7]), "model_00003/epoch_00002.* is damaged: "),
    "wrong shape": (
        lambda path: change(path, **{KERNEL: np.zeros((3, 3), np.float32)}),
        r"model_00003/.* is \(3, 3\), exp",
    ),
    "missing tensor": (lambda path: change(path, **{KERNEL: None}), "model_00003/.*kernel is missing, expected"),
    "strange tensor": (lambda path: change(path, more=np.zeros(5, np.float32)), "model_00003/.*expected nothing"),
    "extra model": (
        lambda path: shutil.copytree(path.parent, path.parent.with_name("model_00009")),
        "model_00009: is of no model in members.csv, expected 5 models",
    ),
}


@pytest.mark.parametrize("exported", [True], indirect=True, ids=["per-model"])
@pytest.mark.parametrize("fault", PER_MODEL_FAULTS)
def test_damage_of_files_per_model_is_one_line(exported, tmp_path, fault):
    damage, message = PER_MODEL_FAULTS[fault]
    damage(exported / "model_00003" / LAST)
    assert_one_line(exported, tmp_path / "back", message)


def test_without_the_library_one_line_says_what_to_install(zoo, exported, tmp_path, monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"^safetensors.numpy cannot be .* pip install 'jaxzoo\[formats\]'$"):
        export_zoo(zoo, tmp_path / "y", "safetensors")
    assert not (tmp_path / "y").exists()
    with pytest.raises(InputError, match="safetensors cannot be imported"):
        import_zoo(exported, tmp_path / "back", "safetensors")
