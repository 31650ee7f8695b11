"""The format `smallcnnzoo`: the layout of the Small CNN Zoo (Unterthiner et al. 2020), with a row for each state.

weights.npy         (N, D) float32, a row per state: a model at an epoch
metrics.csv.gz      a row per state in the same order: hyperparameters as config.*, modeldir, step, accuracies, losses
layout.csv          which columns of weights are what: in each layer the bias first, kernels (height, width, in, out)
mnist_split.csv     a permutation of the rows, called by the dataset, or split.csv where that is not known

NFN, Neural Graphs, ScaleGMN and ProbeGen read such folders. They are given the permutation's path, and no name of it is
fixed: NFN publishes cifar10_split.csv and svhn_split.csv, which ScaleGMN's instructions put into the folder of the
weights. They take the rows in this order, keep those of step 86, test on the second half and train on the first.

The file has the epochs that weights are exported of. Metrics of other epochs are left out. Columns called zoo.* are
jaxzoo's own.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, shown
from jaxzoo.formats.chosen import Chosen
from jaxzoo.formats.format import ExportOptions, Format, Report
from jaxzoo.formats.smallcnnzoo_reading import CONFIG, OF_ZOO, OPTIMIZERS, OURS, read
from jaxzoo.reading.layout import layout_width
from jaxzoo.spec.layers import BatchNorm, Conv, Residual, module_of, weight_layers
from jaxzoo.spec.twin_spec import MOST_EPOCHS
from jaxzoo.storage.imported import NUMBERS

PERMUTATION_SEED = 42


def write(chosen: Chosen, folder: Path, options: ExportOptions, report: Report) -> Chosen:
    """Writes the files into `folder`, and returns the models that they hold, which are finite.

    Raises InputError for networks that such a layout cannot hold.
    """
    _check_network(chosen)
    steps = _steps(chosen.epochs, options.final_step)
    layout = _write_layout(folder / "layout.csv", chosen)
    table = chosen.metrics
    table = table[table["epoch"].isin(chosen.epochs)]
    damaged = {*table["model"][~table["finite"]].tolist()}
    progress = report
    # the metrics say as a rule which models are damaged; where weights say otherwise they are written again without
    while found := _write_weights(folder / "weights.npy", _without(chosen, damaged), layout, progress):
        damaged |= found
        progress = Report()
    kept = _without(chosen, damaged)
    if damaged:
        report.notice(f"{chosen.zoo.path}: {len(damaged)} models that are not finite are left out")
        report.states(len(damaged) * len(chosen.epochs) if progress is report else 0)
    table = _state_table(kept, table, steps)
    # without a time in it, the file is the same whenever it is written
    packing = {"method": "gzip", "compresslevel": 6, "mtime": 0}
    table.to_csv(folder / "metrics.csv.gz", index=False, compression=packing)
    order = np.random.default_rng(PERMUTATION_SEED).permutation(len(table))
    np.savetxt(folder / _permutation_name(chosen), order, fmt="%d")
    return kept


def _check_network(chosen: Chosen) -> None:
    layers = chosen.zoo.layers
    if module_of(layers) is not None:
        raise InputError(
            f"{chosen.zoo.path}: its networks are the module {chosen.zoo.architecture}, expected networks of "
            "layers, or one of the formats safetensors, numpy and parquet"
        )
    if any(isinstance(layer, BatchNorm | Residual) for layer in layers) or any(
        isinstance(layer, Conv) and not layer.bias for layer in layers
    ):
        raise InputError(
            f"{chosen.zoo.path}: {chosen.zoo.architecture} has batch normalisation or residuals, which the format "
            "smallcnnzoo cannot hold, expected one of the formats modelzoo, safetensors, numpy and parquet"
        )


def _steps(epochs: Sequence[int], final: int | None) -> dict[int, int]:
    """The step that stands for each epoch: itself, but for the last one if a `final` step is given."""
    steps = {epoch: epoch for epoch in epochs}
    if final is not None:
        least = epochs[-2] + 1 if len(epochs) > 1 else 0
        if not least <= final <= MOST_EPOCHS:
            raise InputError(f"final_step is {shown(final)}, expected {least}, after the epoch before it, or more")
        steps[epochs[-1]] = final
    return steps


def _write_layout(path: Path, chosen: Chosen) -> list[tuple[tuple[str, str], slice]]:
    """Writes which columns are what, and returns it: ((layer, kind), columns)."""
    entries = {entry.path: entry for entry in chosen.zoo.layout}
    counts: Counter[str] = Counter()
    rows, columns, first = [], [], 0
    for layer in weight_layers(chosen.zoo.layers):
        name = "conv2d" if isinstance(layer, Conv) else "dense"
        number = f"_{counts[name]}" if counts[name] else ""  # as Keras counts them: dense, dense_1, ...
        counts[name] += 1
        for kind in ("bias", "kernel"):
            shape = entries[layer.name, kind].shape
            stop = first + math.prod(shape)
            rows.append((f"sequential/{name}{number}/{kind}:0", first, stop, stop - first, str(shape)))
            columns.append(((layer.name, kind), slice(first, stop)))
            first = stop
    pd.DataFrame(rows, columns=["varname", "start_idx", "end_idx", "size", "shape"]).to_csv(path, index=False)
    return columns


def _without(chosen: Chosen, models: set[int]) -> Chosen:
    kept = tuple(model for model in chosen.models if model not in models)
    if not kept:
        raise InputError(f"{chosen.zoo.path}: none of its models is finite, expected one or more")
    return chosen._replace(models=kept)


def _write_weights(
    path: Path, chosen: Chosen, layout: Sequence[tuple[tuple[str, str], slice]], report: Report
) -> set[int]:
    """Writes all states, by epoch, then model, and returns the models whose weights are not finite in one of them."""
    shape = chosen.states, layout_width(chosen.zoo.layout)
    rows = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    damaged: set[int] = set()
    first = 0
    for epoch in chosen.epochs:
        for portion in chosen.portions(epoch):
            count = len(portion.models)
            part = rows[first : first + count]
            for (layer, kind), columns in layout:
                part[:, columns] = portion.variables["params"][layer][kind].reshape(count, -1)
            finite = np.isfinite(part).all(axis=1)
            damaged |= {model for model, holds in zip(portion.models, finite, strict=True) if not holds}
            first += count
            report.states(count)
    rows.flush()
    return damaged


def _state_table(chosen: Chosen, metrics: pd.DataFrame, steps: Mapping[int, int]) -> pd.DataFrame:
    """The metrics and hyperparameters of the states, in the order in which weights are written."""
    zoo, members = chosen.zoo, chosen.members
    others = [name for name in members.columns if name not in OURS and name not in NUMBERS]
    names = OURS | {name: name if name.startswith(CONFIG) else CONFIG + name for name in others}
    config = members[[*names]].rename(columns=names)
    config[f"{CONFIG}optimizer"] = [OPTIMIZERS.get(word, word) for word in members["optimizer"]]
    config["model"] = members["model"]
    config["modeldir"] = [f"{zoo.spec.name}/model_{model:06d}" for model in members["model"]]
    table = config.merge(metrics, on="model").sort_values(["epoch", "model"], ignore_index=True)
    table["step"] = table.pop("epoch").map(steps)
    of_zoo = {
        "architecture": zoo.architecture,
        "dataset": None if chosen.dataset is None else chosen.dataset.name,
        "image_size": zoo.image_shape[0],
        "batch_size": zoo.spec.batch_size,
        "twins": None if zoo.record.twin is None else zoo.record.twin.method,
    }
    return table.assign(**{OF_ZOO + name: value for name, value in of_zoo.items()})


def _permutation_name(chosen: Chosen) -> str:
    dataset = chosen.dataset
    return "split.csv" if dataset is None else f"{dataset.name}_split.csv"


FORMAT = Format("the Small CNN Zoo's layout, which NFN, ScaleGMN and others read", write, read, options=("final_step",))
