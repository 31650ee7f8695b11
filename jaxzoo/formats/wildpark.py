"""The format `wildpark`: the layout of CNN Wild Park (Kofinas et al. 2024), whose networks each have a config.

CNN_000007_seed=8/                      a model; others name it otherwise
    checkpoint_000010/checkpoint.pt     a dict of PyTorch: model, config, last_result, iteration
cnn_park_splits.json                    paths, test accuracies and iterations for training, validation and testing

The original saves its first checkpoint, with the number 0, after one epoch. So the number is the epoch less one here,
too, and untrained networks have none. It keeps the config as an object of OmegaConf, which is code to whoever loads it;
here it is a plain dict, and `torch.load(path, weights_only=True)` loads the file.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.formats.chosen import Chosen, Portion
from jaxzoo.formats.format import ExportOptions, Report
from jaxzoo.formats.splits import shared_out
from jaxzoo.formats.wildpark_config import Config, config_of, wildpark_entries
from jaxzoo.models.torch_names import state_of_variables
from jaxzoo.reading.torch_state import import_torch
from jaxzoo.reading.zoo import Zoo

SPLITS = "cnn_park_splits.json"  # as readers call it where nobody says otherwise
PARTS: Mapping[str, str] = {"train": "train", "val": "validation", "test": "test"}  # theirs, and ours
ACCURACY = "test/acc"

Scores = Mapping[tuple[int, int], float]  # test accuracies by model and epoch


def write(chosen: Chosen, folder: Path, options: ExportOptions, report: Report) -> Chosen:
    """Writes the tree into `folder`, and returns what it wrote: no untrained networks.

    Raises InputError for networks that it cannot hold.
    """
    import_torch("the format wildpark")
    kept = _trained(chosen, report)
    configs = _configs(kept)
    table = kept.metrics
    states = zip(table["model"].tolist(), table["epoch"].tolist(), strict=True)
    scores = dict(zip(states, table["test_accuracy"].tolist(), strict=True))
    for own in kept.of_each_architecture():
        for epoch in own.epochs:
            for portion in own.portions(epoch):
                _write_states(folder, own.zoo, portion, epoch, configs, scores)
                report.states(len(portion.models))
    (folder / SPLITS).write_text(json.dumps(_splits(kept, scores)) + "\n")
    return kept


def _trained(chosen: Chosen, report: Report) -> Chosen:
    """What is chosen without epoch 0. Raises InputError where nothing is left."""
    epochs = tuple(epoch for epoch in chosen.epochs if epoch > 0)
    if not epochs:
        raise InputError(f"{chosen.zoo.path}: only epoch 0 is chosen, which the format wildpark has no number for")
    if len(epochs) < len(chosen.epochs):
        report.notice(f"{chosen.zoo.path}: epoch 0 is left out: the format wildpark has no number for it")
        report.states(len(chosen.models))
    return chosen._replace(epochs=epochs)


def _configs(chosen: Chosen) -> dict[int, Config]:
    """The config of every model. Raises InputError for one that has none."""
    configs = {}
    for model in chosen.models:
        form = chosen.zoo.form_of(model)
        try:
            configs[model] = config_of(form.layers, form.activation, chosen.zoo.image_shape[-1], form.classes)
        except InputError as error:
            raise InputError(
                f"{chosen.zoo.path}: model {model} is none that the format wildpark can hold: {error}"
            ) from error
    return configs


def _path(zoo: Zoo, model: int, epoch: int) -> str:
    return f"CNN_{model:06d}_seed={zoo.member(model).seed}/checkpoint_{epoch - 1:06d}/checkpoint.pt"


def _write_states(
    folder: Path, zoo: Zoo, portion: Portion, epoch: int, configs: Mapping[int, Config], scores: Scores
) -> None:
    import torch

    entries = wildpark_entries(zoo.layers, zoo.spec.classes, zoo.image_shape)
    stacked = state_of_variables(entries, portion.variables, 0)
    for row, model in enumerate(portion.models):
        # every tensor is a copy: a view would be saved with all that it is a view of
        state = OrderedDict((name, torch.tensor(np.array(rows[row], order="C"))) for name, rows in stacked.items())
        path = folder / _path(zoo, model, epoch)
        path.parent.mkdir(parents=True)
        result = {ACCURACY: scores[model, epoch]}
        torch.save({"model": state, "config": configs[model], "last_result": result, "iteration": epoch - 1}, path)


def _splits(chosen: Chosen, scores: Scores) -> dict[str, dict[str, list[Any]]]:
    """The states in each part, into which models are shared out: two states of a model are never in two parts."""
    shared = shared_out(chosen)
    splits: dict[str, dict[str, list[Any]]] = {}
    for theirs, ours in PARTS.items():
        states = [(model, epoch) for model in shared[ours] for epoch in chosen.epochs]
        splits[theirs] = {
            "path": [_path(chosen.zoo, model, epoch) for model, epoch in states],
            "score": [scores[state] for state in states],
            "step": [epoch - 1 for _, epoch in states],
        }
    return splits
