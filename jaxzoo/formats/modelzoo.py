"""The format `modelzoo`: the tree of the original model zoos, which their data set classes, SANE and WeightCLIP load.

    config.json                             the params.json of the first model
    index_dict.json                         which columns of a vectorised model are which layer
    NN_tune_trainable_<id>_<n>_<n>_seed=<seed>/
        params.json                         the hyperparameters
        result.json                         line e has the metrics of epoch e
        checkpoint_<epoch>/checkpoints      a state dict of PyTorch

The root holds no other folder: readers count every one as a model. They split folders' names at underscores, and
metrics by lines, so every epoch has its line.
"""

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.formats.chosen import Chosen, Portion
from jaxzoo.formats.format import ExportOptions, Report
from jaxzoo.formats.modelzoo_params import Params, check_holds, params_of
from jaxzoo.models.torch_names import TorchEntry, counts_dropout, is_chain, state_of_variables
from jaxzoo.reading.torch_state import batches_until, import_torch, member_entries
from jaxzoo.spec.plan import Member

# ours, and theirs
METRICS: Mapping[str, str] = {
    "train_loss": "train_loss",
    "train_accuracy": "train_acc",
    "validation_loss": "val_loss",
    "validation_accuracy": "val_acc",
    "test_loss": "test_loss",
    "test_accuracy": "test_acc",
    "sparsity": "sparsity_ratio",  # of twins alone
}
PREFIX = "NN_tune_trainable_"


def write(chosen: Chosen, folder: Path, options: ExportOptions, report: Report) -> Chosen:
    """Writes the tree into `folder`. Raises InputError for networks that it cannot hold."""
    zoo = chosen.zoo
    check_holds(zoo)
    import_torch("the format modelzoo")
    members = [zoo.member(model) for model in chosen.models]
    entries = member_entries(zoo.layers, zoo.spec, members[0].hyperparameters["dropout"] or 0.0)
    if zoo.architecture == "resnet-18-narrow":
        report.notice(f"{zoo.path}: readers know no narrow Resnet18: they load its weights, and cannot build it")
    params = {member.model: params_of(zoo, member) for member in members}
    folders = {member.model: folder / _folder_name(zoo.spec.name, member) for member in members}
    (folder / "config.json").write_text(json.dumps(params[chosen.models[0]], indent=2) + "\n")
    (folder / "index_dict.json").write_text(json.dumps(index_dict(entries)) + "\n")
    for model, lines in _result_lines(chosen, params):
        folders[model].mkdir()
        (folders[model] / "params.json").write_text(json.dumps(params[model]) + "\n")
        (folders[model] / "result.json").write_text(lines)
    for epoch in chosen.epochs:
        for portion in chosen.portions(epoch):
            _write_states(folders, portion, entries, epoch, batches_until(zoo.record, chosen.dataset, epoch))
            report.states(len(portion.models))
    return chosen


def layouts(chosen: Chosen) -> dict[str, Chosen]:
    """The models by the names of their tensors, which one index cannot mix: a tree each, whose name ends as said.

    Of CNN-s, members without dropout have other positions in the list of modules than those with it.
    """
    layers = chosen.zoo.layers
    rates = {model: chosen.zoo.member(model).hyperparameters["dropout"] or 0.0 for model in chosen.models}
    counted = {model: counts_dropout(layers, rate) for model, rate in rates.items()}
    if not is_chain(layers) or len({*counted.values()}) < 2:
        return {"": chosen}
    return {
        ending: chosen._replace(models=tuple(model for model in chosen.models if counted[model] == counts))
        for ending, counts in (("-without-dropout", False), ("-with-dropout", True))
    }


def _folder_name(zoo: str, member: Member) -> str:
    """As Ray Tune named the originals' folders: an id of the run, the number of the model twice, what it is."""
    run = hashlib.sha256(zoo.encode()).hexdigest()[:5]
    return f"{PREFIX}{run}_{member.model:05d}_{member.model}_seed={member.seed}"


def index_dict(entries: Sequence[TorchEntry]) -> dict[str, list[Any]]:
    """Which columns of a vectorised model are which layer's: its weight (outputs, inputs, kernel), then its bias.

    `kernel_no` counts outputs, `kernel_size` the pixels of a kernel, `channels_in` the inputs. Running statistics have
    no columns.
    """
    index: dict[str, list[Any]] = {
        name: [] for name in ("layer", "idx_start", "idx_length", "kernel_no", "kernel_size", "channels_in")
    }
    start = 0
    held = [entry for entry in entries if entry.collection == "params"]
    for entry in held:
        name, kind = entry.name.rsplit(".", 1)
        if kind == "bias":
            continue
        shape = entry.shape
        length = math.prod(shape) + (shape[0] if any(other.name == f"{name}.bias" for other in held) else 0)
        number = name.removeprefix("module_list.")
        index["layer"].append([int(number) if number.isdecimal() else number, _kind_of(shape)])
        index["idx_start"].append(start)
        index["idx_length"].append(length)
        index["kernel_no"].append(shape[0])
        index["kernel_size"].append(math.prod(shape[2:]))
        index["channels_in"].append(shape[1] if len(shape) > 1 else 1)
        start += length
    return index


def _kind_of(shape: tuple[int, ...]) -> str:
    return {1: "bn", 2: "fc", 4: "conv2d"}[len(shape)]


def _result_lines(chosen: Chosen, params: Mapping[int, Params]) -> Iterator[tuple[int, str]]:
    """(model, contents of its result.json) of every model: epochs from 0 on without a gap."""
    table = chosen.metrics
    names = {theirs: ours for ours, theirs in METRICS.items() if ours in table.columns}
    for model, own in table.groupby("model"):
        lines: list[dict[str, Any]] = [{"training_iteration": epoch} for epoch in range(int(own["epoch"].max()) + 1)]
        for theirs, ours in names.items():
            for line in lines:
                line[theirs] = math.nan
            for epoch, value in zip(own["epoch"].tolist(), own[ours].tolist(), strict=True):
                lines[epoch][theirs] = value if math.isfinite(value) else math.nan
        for epoch, finite in zip(own["epoch"].tolist(), own["finite"].tolist(), strict=True):
            lines[epoch]["finite"] = bool(finite)
        number = int(str(model))
        config = json.dumps(params[number])
        yield number, "".join(f'{json.dumps(line)[:-1]}, "config": {config}}}\n' for line in lines)


def _write_states(
    folders: Mapping[int, Path], portion: Portion, entries: Sequence[TorchEntry], epoch: int, batches: int
) -> None:
    import torch

    stacked = state_of_variables(entries, portion.variables, batches)
    for row, model in enumerate(portion.models):
        # every tensor is a copy: a view would be saved with all that it is a view of
        state = OrderedDict((name, torch.tensor(np.array(rows[row], order="C"))) for name, rows in stacked.items())
        path = folders[model] / f"checkpoint_{epoch:06d}"
        path.mkdir()
        torch.save(state, path / "checkpoints")
