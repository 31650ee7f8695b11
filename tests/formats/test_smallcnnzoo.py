"""The layout of the Small CNN Zoo: what its readers rely on, a folder made by hand, and what is refused."""

import dataclasses
import gzip
import json

import jax
import numpy as np
import pandas as pd
import pytest
from exchange import assert_same_zoo, one_line, store_with_a_diverged_model, there_and_back
from populations import resnet_spec, small_spec, store_zoo

import jaxzoo
from jaxzoo.errors import InputError

GRID = {"activation": ("tanh", "relu"), "optimizer": ("adam", "rms_prop"), "dropout": (0.3,), "weight_decay": (1e-4,)}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return store_zoo(tmp_path_factory.mktemp("small") / "z", small_spec(seeds=2, epochs=2, **GRID))


def test_what_the_readers_rely_on(zoo, tmp_path):
    (folder,) = jaxzoo.export_zoo(zoo, tmp_path / "x", "smallcnnzoo", epochs=[0, 2], final_step=86)
    weights, table = np.load(folder / "weights.npy"), pd.read_csv(folder / "metrics.csv.gz")
    layout = pd.read_csv(folder / "layout.csv")
    assert (weights.shape, weights.dtype, len(table)) == ((16, 2464), np.float32, 16)
    assert sorted({*table["step"]}) == [0, 86]
    names = ("activation", "dropout", "learning_rate", "l2reg", "optimizer", "w_init", "random_seed")
    metrics = ("train_accuracy", "train_loss", "test_accuracy", "test_loss", "modeldir", "step")
    assert {*(f"config.{name}" for name in names), *metrics} <= {*table.columns}
    assert {*table["config.optimizer"]} == {"adam", "rmsprop"}
    assert layout["varname"].tolist()[:3] == [
        *("sequential/conv2d/bias:0", "sequential/conv2d/kernel:0", "sequential/conv2d_1/bias:0")
    ]
    # bias before kernel, kernels height, width, in, out
    last = weights[table["step"] == 86]
    for name, layer, kind in (
        *(("conv2d/bias", "conv1", "bias"), ("conv2d_1/kernel", "conv2", "kernel")),
        *(("dense/kernel", "dense1", "kernel"), ("dense_1/bias", "dense2", "bias")),
    ):
        (row,) = layout[layout["varname"] == f"sequential/{name}:0"].to_dict("records")
        leaf = zoo.params(2)[layer][kind]
        assert row["shape"] == str(leaf.shape[1:])
        np.testing.assert_array_equal(last[:, row["start_idx"] : row["end_idx"]].reshape(leaf.shape), leaf)
    (split,) = folder.glob("*split.csv")
    assert sorted(np.loadtxt(split, int).tolist()) == [*range(16)]


def test_a_zoo_comes_back_without_models_that_are_not_finite(tmp_path):
    zoo = store_with_a_diverged_model(tmp_path / "z", small_spec(seeds=3, epochs=2, **GRID))
    said = []
    back = there_and_back(zoo, tmp_path, "smallcnnzoo", on_notice=said.append)
    assert_same_zoo(zoo, back, [0, *range(2, 12)])
    assert said == [f"{zoo.path}: 1 models that are not finite are left out"]
    assert back.spec.batch_size == zoo.spec.batch_size
    splits = json.loads((tmp_path / "out-splits.json").read_text())
    assert 1 not in [*splits["train"], *splits["validation"], *splits["test"]]


def test_the_last_epoch_has_the_number_that_was_asked_for(zoo, tmp_path):
    back = there_and_back(zoo, tmp_path, "smallcnnzoo", final_step=86)
    assert back.epochs == (0, 1, 86)
    np.testing.assert_array_equal(back.weights(86), zoo.weights(2))
    for step, wanted in ((1, "expected 2"), (10**9, "expected 2")):
        with one_line(wanted):
            jaxzoo.export_zoo(zoo, tmp_path / "y", "smallcnnzoo", final_step=step)


def test_what_it_cannot_hold_is_refused(tmp_path):
    with one_line("which the format smallcnnzoo cannot hold, expected one of the formats modelzoo, safetensors"):
        jaxzoo.export_zoo(store_zoo(tmp_path / "z", resnet_spec()), tmp_path / "x", "smallcnnzoo")
    assert not (tmp_path / "x").exists()


SHAPES = (
    *(((16,), "bias"), ((3, 3, 1, 16), "kernel"), ((16,), "bias"), ((3, 3, 16, 16), "kernel")),
    *(((16,), "bias"), ((3, 3, 16, 16), "kernel"), ((10,), "bias"), ((16, 10), "kernel")),
)
STEPS = (0, 20, 86)
MODELS = ("/cns/a/1", "/cns/a/2", "/cns/b/7")


def write_by_hand(folder):
    """The published layout, with words of its own and columns that nobody asked for."""
    folder.mkdir()
    draws = np.random.default_rng(5)
    weights = draws.normal(0, 0.3, (len(STEPS) * len(MODELS), 4970)).astype(np.float32)
    np.save(folder / "weights.npy", weights)
    lines = ["varname,start_idx,end_idx,size,shape"]
    first = 0
    for number, (shape, kind) in enumerate(SHAPES):
        stop = first + int(np.prod(shape))
        lines.append(f'sequential/layer_{number // 2}/{kind}:0,{first},{stop},{stop - first},"{shape}"')
        first = stop
    (folder / "layout.csv").write_text("\n".join(lines))
    names = "activation dropout learning_rate l2reg optimizer w_init init_std random_seed train_fraction"
    head = [*(f"config.{name}" for name in names.split()), "modeldir", "step", "train_accuracy", "train_loss"]
    rows = [",".join([*head, "test_accuracy", "test_loss", "laptime"])]
    for model, name in enumerate(MODELS):
        for step in STEPS:
            own = [("relu", "tanh", "relu")[model], 0.1 * model, 0.003, 1e-7, "rmsprop", "RandomNormal", 0.05, 42, 0.5]
            rows.append(",".join(map(str, [*own, name, step, 0.5, 1.5, 0.25 + 0.001 * step, 2.5, 1.0])))
    (folder / "metrics.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    return weights


def by_hand(row, image, activation):
    """The logits of a row of weights on an image (28, 28), from sums that are written out."""
    parts = np.split(row.astype(float), np.cumsum([int(np.prod(shape)) for shape, _ in SHAPES])[:-1])
    values = image[:, :, None].astype(float)
    for layer in range(3):
        bias, kernel = parts[2 * layer], parts[2 * layer + 1].reshape(SHAPES[2 * layer + 1][0])
        side = (values.shape[0] - 3) // 2 + 1
        after = np.zeros((side, side, 16)) + bias
        for y in range(side):
            for x in range(side):
                window = values[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
                after[y, x] += np.tensordot(window, kernel, axes=3)
        values = np.tanh(after) if activation == "tanh" else np.maximum(after, 0)
    return values.mean(axis=(0, 1)) @ parts[7].reshape(16, 10) + parts[6]


def test_a_folder_made_by_hand_is_read(tmp_path):
    weights = write_by_hand(tmp_path / "x")
    zoo = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "smallcnnzoo", dataset="mnist")
    assert (zoo.spec.architecture, zoo.epochs, len(zoo.members)) == ("small-cnn-zoo", STEPS, 3)
    assert zoo.members["activation"].tolist() == ["relu", "tanh", "relu"]
    assert {*zoo.members["optimizer"]} == {"rms_prop"}
    assert {*zoo.members["initialization"]} == {"RandomNormal"}
    assert {*zoo.members["train_fraction"]} == {0.5}
    assert zoo.metrics_at(20)["test_accuracy"].tolist() == [np.float32(0.27)] * 3
    assert zoo.metrics_at(20)["validation_loss"].isna().all()
    assert zoo.metrics_at(20)["finite"].all()
    image = np.random.default_rng(1).standard_normal((28, 28)).astype(np.float32)
    for model in range(3):
        for column, step in enumerate(STEPS):
            variables = jax.tree.map(lambda leaf: leaf[0], zoo.variables(step, model))
            logits = zoo.network_of(model).apply(variables, image[None, :, :, None])[0]
            wanted = by_hand(weights[3 * model + column], image, zoo.members["activation"][model])
            np.testing.assert_allclose(logits, wanted, atol=1e-5)  # float32 against float64, logits near 1
    assert [*jaxzoo.verify_zoo(zoo.path, deep=True)] == []


def test_the_dataset_says_the_size_that_the_network_does_not(tmp_path):
    write_by_hand(tmp_path / "x")
    dataset = dataclasses.replace(small_spec("small-cnn-zoo").dataset, size=40)
    for given, size in (("mnist", 28), (dataset, 40)):
        zoo = jaxzoo.import_zoo(tmp_path / "x", tmp_path / f"z{size}", "smallcnnzoo", dataset=given)
        assert zoo.image_shape == (size, size, 1)


def edit(name, change):
    def damage(folder):
        path = folder / name
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()).decode()).encode()))
        elif path.suffix == ".npy":
            np.save(path, change(np.load(path)))
        else:
            path.write_text(change(path.read_text()))

    return damage


def without_line(number):
    return lambda text: "\n".join(line for row, line in enumerate(text.splitlines()) if row != number)


def cut(folder):
    (folder / "metrics.csv.gz").write_bytes((folder / "metrics.csv.gz").read_bytes()[:100])


DAMAGES = {
    "no weights": (lambda folder: (folder / "weights.npy").unlink(), "weights.npy: cannot be read"),
    "fewer rows": (edit("weights.npy", lambda rows: rows[1:]), r"is of shape \(8, 4970\), expected \(9, 4970\)"),
    "objects": (edit("weights.npy", lambda rows: rows.astype(object)), "is no array of numbers"),
    "words": (edit("weights.npy", lambda rows: rows.astype(str)), "expected floats"),
    "a cut table": (cut, "metrics.csv.gz: is no table"),
    "no accuracy": (
        edit("metrics.csv.gz", lambda text: text.replace("test_accuracy", "ta")),
        "no column test_accuracy",
    ),
    "words as loss": (edit("metrics.csv.gz", lambda text: text.replace(",1.5,", ",x,")), "train_loss holds 'x'"),
    "no steps": (edit("metrics.csv.gz", lambda text: text.replace(",86,", ",-1,")), "a step of /cns/a/1 is -1"),
    "no layout": (lambda folder: (folder / "layout.csv").unlink(), "layout.csv: cannot be read"),
    "a gap": (edit("layout.csv", without_line(2)), "a parameter starts at 160, expected 16, after another"),
    "another network": (
        edit("layout.csv", lambda text: text.replace("(3, 3, 1, 16)", "(9, 1, 1, 16)")),
        "its parameters are .*, expected those of cnn-s",
    ),
    "code as shape": (edit("layout.csv", lambda text: text.replace("(10,)", "print(1)")), "has the shape 'print"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_one_line(case, tmp_path):
    write_by_hand(tmp_path / "x")
    damage, message = DAMAGES[case]
    damage(tmp_path / "x")
    with one_line(message):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "smallcnnzoo")
    assert not (tmp_path / "z").exists()


MEMBER_DAMAGES = {
    "a step that is missing": (lambda text: text.replace("/cns/a/2,86,", "/cns/a/2,87,"), "has the steps 0, 20, 87"),
    "activation": (lambda text: text.replace("tanh", "swish"), "config.activation is 'swish'"),
    "seed": (lambda text: text.replace(",42,0.5,/cns/a/2", ",4.5,0.5,/cns/a/2"), "config.random_seed is 4.5"),
    "two rates": (
        lambda text: text.replace("tanh,0.1,0.003", "tanh,0.1,0.004", 1),
        "several values of",
    ),
}


@pytest.mark.parametrize("case", MEMBER_DAMAGES)
def test_a_damaged_member_is_named_and_left_out_on_request(case, tmp_path):
    write_by_hand(tmp_path / "x")
    change, message = MEMBER_DAMAGES[case]
    edit("metrics.csv.gz", change)(tmp_path / "x")
    with pytest.raises(InputError, match=f"/cns/a/2: .*{message}"):
        jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "smallcnnzoo")
    said = []
    zoo = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", "smallcnnzoo", skip_damaged=True, on_notice=said.append)
    assert zoo.members["activation"].tolist() == ["relu", "relu"]
    assert "1 models that are damaged are left out" in said[0]
