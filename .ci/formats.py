"""Opens what every format writes by the library of the other side, and holds shapes and values to the zoo's.

The lines of docs/formats.md that load a zoo are run, too.
"""

import dataclasses
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": tempfile.mkdtemp()}  # before the import

import datasets
import mlcroissant
import numpy as np
import pandas as pd
import pyarrow.parquet
import torch
from safetensors.numpy import load_file

import jaxzoo
from jaxzoo.formats.formats import FORMATS
from jaxzoo.models.variables import each_leaf


def check_leaves(got: dict[str, np.ndarray], zoo: jaxzoo.Zoo, epoch: int, models: list[int] | None = None) -> None:
    wanted = {"/".join(path): leaf for path, leaf in each_leaf(zoo.variables(epoch, models))}
    assert got.keys() == wanted.keys(), got.keys() ^ wanted.keys()
    for name, leaf in wanted.items():
        np.testing.assert_array_equal(got[name], leaf, name)


def check_table(got: pd.DataFrame, wanted: pd.DataFrame) -> None:
    wanted = wanted[[name for name in wanted.columns if name not in ("cohort", "row")]].reset_index(drop=True)
    pd.testing.assert_frame_equal(got[wanted.columns].reset_index(drop=True), wanted, check_dtype=False)


def check_csv(folder: Path, zoo: jaxzoo.Zoo) -> None:
    check_table(pd.read_csv(folder / "members.csv"), zoo.members)
    check_table(pd.read_csv(folder / "metrics.csv").astype(zoo.metrics.dtypes), zoo.metrics)


def check_numpy(folder: Path, zoo: jaxzoo.Zoo) -> None:
    for epoch in zoo.epochs:
        with np.load(folder / f"epoch_{epoch:05d}.npz") as arrays:
            check_leaves({name: arrays[name] for name in arrays.files if name != "models"}, zoo, epoch)
    check_csv(folder, zoo)


def check_stacked(path: Path, zoo: jaxzoo.Zoo, epoch: int) -> None:
    tensors = load_file(path)
    assert tensors.pop("models").tolist() == zoo.members["model"].tolist()
    check_leaves(tensors, zoo, epoch)


def check_safetensors(folder: Path, zoo: jaxzoo.Zoo) -> None:
    for epoch in zoo.epochs:
        check_stacked(folder / f"epoch_{epoch:05d}.safetensors", zoo, epoch)
    check_csv(folder, zoo)
    (single,) = jaxzoo.export_zoo(
        zoo, folder.with_name(f"{folder.name}-single"), "safetensors", per_model=True, twins=False
    )
    for model in zoo.members["model"].tolist():
        own = load_file(single / f"model_{model:05d}" / f"epoch_{zoo.epochs[-1]:05d}.safetensors")
        check_leaves({name: leaf[None] for name, leaf in own.items()}, zoo, zoo.epochs[-1], [model])


def check_parquet(folder: Path, zoo: jaxzoo.Zoo) -> None:
    for epoch in zoo.epochs:
        table = pyarrow.parquet.read_table(folder / f"epoch_{epoch:05d}.parquet")
        np.testing.assert_array_equal(np.stack(table["weights"].to_pylist()).astype(np.float32), zoo.weights(epoch))
    check_table(pd.read_parquet(folder / "members.parquet"), zoo.members)
    check_table(pd.read_parquet(folder / "metrics.parquet"), zoo.metrics)


def check_hub(folder: Path, zoo: jaxzoo.Zoo) -> None:
    for epoch in zoo.epochs:
        check_stacked(folder / "weights" / f"epoch_{epoch:05d}.safetensors", zoo, epoch)
    described = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not described.metadata.issues.errors, described.metadata.issues.errors
    for name, wanted in (("members", zoo.members), ("metrics", zoo.metrics)):
        check_table(datasets.load_dataset(str(folder), name, split="train").to_pandas(), wanted)
        records = pd.DataFrame(described.records(name)).rename(columns=lambda column: column.partition("/")[2])
        texts = records.map(lambda value: value.decode() if isinstance(value, bytes) else value)
        check_table(texts.astype(wanted[texts.columns].dtypes), wanted)


def check_modelzoo(folder: Path, zoo: jaxzoo.Zoo) -> None:
    for path in sorted(folder.glob("NN_tune_trainable_*")):
        model = int(path.name.split("_")[5])
        assert json.loads((path / "params.json").read_text())["seed"] == zoo.members["seed"][model]
        for epoch in zoo.epochs:
            state = torch.load(path / f"checkpoint_{epoch:06d}" / "checkpoints", weights_only=True)
            wanted = zoo.to_torch(model, epoch)
            assert [*state] == [*wanted]
            assert all(torch.equal(state[name], wanted[name]) for name in state)


def check_smallcnnzoo(folder: Path, zoo: jaxzoo.Zoo) -> None:
    weights = np.load(folder / "weights.npy")
    assert weights.shape == (len(zoo.members) * len(zoo.epochs), zoo.weights(0).shape[1])
    assert len(pd.read_csv(folder / "metrics.csv.gz")) == len(weights)
    wanted = np.concatenate([zoo.weights(epoch) for epoch in zoo.epochs])  # rows and columns in an order of its own
    np.testing.assert_array_equal(np.sort(weights, axis=None), np.sort(wanted, axis=None))


def check_wildpark(folder: Path, zoo: jaxzoo.Zoo) -> None:
    splits = json.loads((folder / "cnn_park_splits.json").read_text())
    assert sum(len(part["path"]) for part in splits.values()) == len(zoo.members) * len(zoo.epochs[1:])
    for path in sorted(folder.glob("*/*/checkpoint.pt")):
        checkpoint = torch.load(path, weights_only=True)
        model, epoch = int(path.parts[-3].split("_")[1]), checkpoint["iteration"] + 1
        kernel = zoo.params(epoch, [model])["conv1"]["kernel"][0]
        np.testing.assert_array_equal(checkpoint["model"]["layers.0.weight"], kernel.transpose(3, 2, 0, 1))
        accuracies = zoo.metrics_at(epoch).set_index("model")["test_accuracy"]
        assert checkpoint["last_result"]["test/acc"] == accuracies[model]


CHAINS = jaxzoo.ChainDraw(
    depth=jaxzoo.Integers(2, 3),
    width=jaxzoo.Choice(4, 8),
    kernel=3,
    activation=jaxzoo.Choice("relu", "gelu", "identity"),
    skips=True,
)
CHECKS = {name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")}

datasets.disable_progress_bars()
logging.getLogger("absl").setLevel(logging.ERROR)  # a date of publication is the maker's to add
with tempfile.TemporaryDirectory() as place:
    spec = jaxzoo.load_spec("digits")
    zoo = jaxzoo.generate(spec, f"{place}/digits", models=8, epochs=2, twins="magnitude", licence="mit")
    assert {*FORMATS} <= {*CHECKS}, f"formats without a check: {sorted({*FORMATS} - {*CHECKS})}"
    draws = jaxzoo.Draws(
        models=8, architecture=CHAINS, initialization="torch_default", optimizer="adam", learning_rate=1e-3
    )
    changes = {"name": "park", "architecture": None, "grid": None, "seeds": None, "draws": draws}
    park = jaxzoo.generate(dataclasses.replace(spec, **changes), f"{place}/park", epochs=2, twins="magnitude")
    for name, kind in FORMATS.items():
        own = park if kind.mixtures else zoo
        for each in (own, own.twins["magnitude"]):
            for folder in jaxzoo.export_zoo(each, Path(place) / name / each.path.name, name, twins=False):
                CHECKS[name](folder, each)
        print(f"{name}: 8 models at 3 epochs and their twins, as other libraries read them", flush=True)
        jaxzoo.export_zoo(own, f"{place}/{own.spec.name}-{name}", name)
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()
    blocks = re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == len(FORMATS), f"{len(blocks)} blocks of {len(FORMATS)} formats"
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], cwd=place, check=True)
    print(f"docs/formats.md: {len(blocks)} blocks ran")
