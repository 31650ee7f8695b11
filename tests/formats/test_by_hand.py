"""Folders in jaxzoo's own layouts that are made by hand, after docs/formats.md, and not by the exports."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

import jaxzoo

SHAPES = {
    **{"conv1/kernel": (3, 3, 1, 16), "conv1/bias": (16,), "conv2/kernel": (3, 3, 16, 16), "conv2/bias": (16,)},
    **{"conv3/kernel": (3, 3, 16, 16), "conv3/bias": (16,), "dense/kernel": (16, 10), "dense/bias": (10,)},
}
EPOCHS = (0, 7)
MODELS = (4, 9, 11)


def drawn(epoch):
    """The parameters of three models at an epoch, by name."""
    draws = np.random.default_rng(epoch)
    return {name: draws.standard_normal((3, *shape)).astype(np.float32) for name, shape in SHAPES.items()}


def tables():
    members = {"model": MODELS, "seed": (1, 2, 3), "activation": ("relu", "tanh", "relu")}
    members |= {"initialization": "own", "dropout": 0.25, "optimizer": "adam", "learning_rate": 0.003}
    numbers = [(model, epoch) for epoch in EPOCHS for model in MODELS]
    metrics = pd.DataFrame(numbers, columns=["model", "epoch"])
    for column, name in enumerate(("train", "validation", "test")):
        metrics[f"{name}_loss"] = [0.5 + column + model / 16 for model, _ in numbers]
        metrics[f"{name}_accuracy"] = [epoch / 8 for _, epoch in numbers]
    return pd.DataFrame({**members, "weight_decay": [None, 0.5, None], "site": "north"}), metrics


def describe(folder):
    table = {"architecture": "small-cnn-zoo", "image_shape": [28, 28, 1], "classes": 10, "epochs": [*EPOCHS]}
    table["parameters"] = [{"name": name, "shape": [*shape]} for name, shape in SHAPES.items()]
    (folder / "zoo.json").write_text(json.dumps(table))


def write_csv(folder):
    for name, table in zip(("members", "metrics"), tables(), strict=True):
        table.to_csv(folder / f"{name}.csv", index=False)


def write_numpy(folder):
    write_csv(folder)
    for epoch in EPOCHS:
        arrays = {f"params/{name}": leaf for name, leaf in drawn(epoch).items()}
        np.savez(folder / f"epoch_{epoch:05d}.npz", models=np.array(MODELS), **arrays)


def write_safetensors(folder):
    write_csv(folder)
    write_tensors(folder)


def write_tensors(folder):
    for epoch in EPOCHS:
        tensors = {f"params/{name}": leaf for name, leaf in drawn(epoch).items()}
        save_file({"models": np.array(MODELS), **tensors}, folder / f"epoch_{epoch:05d}.safetensors")


def write_parquet(folder):
    for name, table in zip(("members", "metrics"), tables(), strict=True):
        table.to_parquet(folder / f"{name}.parquet")
    for epoch in EPOCHS:
        rows = np.concatenate([leaf.reshape(3, -1) for leaf in drawn(epoch).values()], axis=1)
        columns = {"model": pa.array(MODELS), "weights": pa.array(list(rows), pa.list_(pa.float32(), rows.shape[1]))}
        pq.write_table(pa.table(columns), folder / f"epoch_{epoch:05d}.parquet")


def write_hub(folder):
    (folder / "data").mkdir()
    for name, table in zip(("members", "metrics"), tables(), strict=True):
        table.to_parquet(folder / "data" / f"{name}.parquet")
    (folder / "weights").mkdir()
    write_tensors(folder / "weights")


@pytest.mark.parametrize("write", [write_numpy, write_safetensors, write_parquet, write_hub])
def test_a_folder_made_by_hand_is_read(write, tmp_path):
    (tmp_path / "x").mkdir()
    describe(tmp_path / "x")
    write(tmp_path / "x")
    zoo = jaxzoo.import_zoo(tmp_path / "x", tmp_path / "z", write.__name__.removeprefix("write_"))
    assert (zoo.epochs, zoo.spec.architecture, zoo.spec.batch_size) == (EPOCHS, "small-cnn-zoo", None)
    for epoch in EPOCHS:
        for name, leaf in drawn(epoch).items():
            layer, kind = name.split("/")
            np.testing.assert_array_equal(zoo.params(epoch)[layer][kind], leaf)
    assert zoo.members["seed"].tolist() == [1, 2, 3]
    assert zoo.members["activation"].tolist() == ["relu", "tanh", "relu"]
    assert zoo.members["weight_decay"].isna().tolist() == [True, False, True]
    assert {*zoo.members["site"]} == {"north"}
    metrics = zoo.metrics_at(7)
    assert metrics["validation_loss"].tolist() == [1.5 + model / 16 for model in MODELS]
    assert {*metrics["test_accuracy"]} == {7 / 8}
    assert metrics["finite"].all()
    assert [*jaxzoo.verify_zoo(zoo.path, deep=True)] == []
