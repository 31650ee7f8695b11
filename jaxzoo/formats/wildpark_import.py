"""Reads the layout of CNN Wild Park (see wildpark.py), ours and theirs, without running code from it."""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, shown
from jaxzoo.formats.damaged import attempt
from jaxzoo.formats.format import Found, ImportOptions, Network, Report
from jaxzoo.formats.torch_files import arrays_of, load_plain
from jaxzoo.formats.wildpark import ACCURACY
from jaxzoo.formats.wildpark_config import Chain, chain_of, wildpark_entries
from jaxzoo.models.networks import Variables
from jaxzoo.models.torch_names import AVERAGED, variables_of_state
from jaxzoo.paths import is_litter
from jaxzoo.reading.torch_state import import_torch
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.chains import chain_name
from jaxzoo.spec.grid import NONE
from jaxzoo.spec.shapes import check_shapes
from jaxzoo.storage.files import entries_of

CHECKPOINT = re.compile(r"checkpoint_(\d{1,9})")
SEED = re.compile(r"seed=(\d{1,18})")
FILE = "checkpoint.pt"


class _State(NamedTuple):
    """What a checkpoint holds: its networks, their variables (1, ...), and the test accuracy."""

    chain: Chain
    variables: Variables
    accuracy: float


class _Model(NamedTuple):
    """A folder of the tree: its networks, and the file and the test accuracy of every epoch."""

    folder: Path
    chain: Chain
    files: Mapping[int, Path]
    accuracies: Mapping[int, float]


def read(folder: Path, options: ImportOptions, report: Report) -> Found:
    """What lies in such a tree, of the epochs that all models have. Raises InputError, which names the file.

    Every file is read once to know its networks. With `options.skip_damaged` models that have a damaged one are left
    out.
    """
    import_torch("the format wildpark")
    size = AVERAGED if AVERAGED in options.sizes or not options.sizes else options.sizes[0]
    models = [
        model
        for path in _folders(folder)
        if (model := attempt(functools.partial(_read_model, path, size), options, report)) is not None
    ]
    if not models:
        raise InputError(f"{folder}: holds no model, expected folders with checkpoint_000000/{FILE}")
    _check_same_images(models)
    epochs = _shared_epochs(folder, models, report)
    names = [chain_name(model.chain.layers) for model in models]
    layers = {name: model.chain.layers for name, model in zip(names, models, strict=True)}
    states = [(number, epoch) for number in range(len(models)) for epoch in epochs]
    metrics = pd.DataFrame(states, columns=["model", "epoch"])
    first = models[0].chain
    return Found(
        network=Network(
            names[0] if len(layers) == 1 else None,
            (size, size, first.inputs),
            first.classes,
            tuple(Architecture(name=name, layers=own) for name, own in layers.items()),
        ),
        rows=[_row(number, model, names[number] if len(layers) > 1 else "") for number, model in enumerate(models)],
        epochs=epochs,
        metrics=metrics.assign(test_accuracy=[models[number].accuracies[epoch] for number, epoch in states]),
        read=functools.partial(_read_states, models, size),
    )


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder, expected the tree of a zoo")
    return sorted(folder / name for name in entries_of(folder) if (folder / name).is_dir() and not is_litter(name))


def _row(number: int, model: _Model, architecture: str) -> dict[str, Any]:
    """What is known of a model. The originals were not seeded: each has its number for a seed, as it shares none."""
    seed = SEED.search(model.folder.name)
    row = {"seed": number if seed is None else int(seed[1]), "activation": NONE}
    return row | ({"architecture": architecture} if architecture else {})


def _read_model(folder: Path, size: int) -> _Model:
    """The model in a folder. Raises InputError, which names the file, for what is missing or damaged."""
    numbers = {int(match[1]): name for name in entries_of(folder) if (match := CHECKPOINT.fullmatch(name))}
    if not numbers:
        raise InputError(f"{folder}: has no weights, expected folders checkpoint_000000")
    files = {number + 1: folder / name / FILE for number, name in sorted(numbers.items())}
    states = {epoch: _read_state(path, epoch, size) for epoch, path in files.items()}
    chains = {epoch: state.chain for epoch, state in states.items()}
    first, *others = chains
    for epoch in others:
        if chains[epoch] != chains[first]:
            raise InputError(f"{files[epoch]}: its config is not that of {files[first].parent.name}, expected the same")
    return _Model(folder, chains[first], files, {epoch: state.accuracy for epoch, state in states.items()})


def _read_state(path: Path, epoch: int, size: int) -> _State:
    table = _load(path)
    arrays = arrays_of(path, table.get("model"))
    try:
        chain = chain_of(table.get("config"))
        image = (size, size, chain.inputs)
        check_shapes(chain.layers, image, chain.classes)
        entries = wildpark_entries(chain.layers, chain.classes, image)
        variables = variables_of_state(entries, {name: array[None] for name, array in arrays.items()})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    iteration, result = table.get("iteration"), table.get("last_result")
    if type(iteration) is not int or iteration != epoch - 1:
        raise InputError(f"{path}: iteration is {shown(iteration)}, expected {epoch - 1} as its folder says")
    accuracy = result.get(ACCURACY) if isinstance(result, dict) else None
    if not isinstance(accuracy, float | int) or not (0 <= accuracy <= 1 or math.isnan(accuracy)):
        raise InputError(f"{path}: {ACCURACY} in last_result is {shown(accuracy)}, expected a share of 0 to 1")
    return _State(chain, variables, float(accuracy))


def _load(path: Path) -> Mapping[str, Any]:
    """The dict in a file. Raises InputError, which says what to do about the originals' objects."""
    try:
        table = load_plain(path, "checkpoint, expected tensors and plain values alone")
    except InputError as error:
        if "omegaconf" not in str(error.__cause__):
            raise
        raise InputError(
            f"{path}: holds objects of OmegaConf, whose code loading would run, expected a plain dict: the script in "
            "docs/formats.md writes one, once, where the original's code runs"
        ) from error
    if not isinstance(table, dict):
        raise InputError(f"{path}: holds a {type(table).__name__}, expected a dict of model, config and last_result")
    return table


def _check_same_images(models: Sequence[_Model]) -> None:
    """Raises InputError for networks that take other images, or tell other classes apart, than the first."""
    first = models[0]
    for model in models:
        got, wanted = ((each.chain.inputs, each.chain.classes) for each in (model, first))
        if got != wanted:
            raise InputError(
                f"{model.folder}: has {got[0]} channels of images and {got[1]} classes, expected {wanted[0]} and "
                f"{wanted[1]} as {first.folder.name} has"
            )


def _shared_epochs(folder: Path, models: Sequence[_Model], report: Report) -> tuple[int, ...]:
    """The epochs that all models have: the originals were trained for different times."""
    epochs = sorted(set.intersection(*({*model.files} for model in models)))
    if not epochs:
        raise InputError(f"{folder}: its {len(models)} models have no checkpoint of one number, expected one or more")
    left = sum(len(model.files) - len(epochs) for model in models)
    if left:
        report.notice(f"{folder}: {left} checkpoints are left out, of numbers that not all {len(models)} models have")
    return tuple(epochs)


def _read_states(models: Sequence[_Model], size: int, epoch: int, numbers: Sequence[int]) -> Variables:
    """The variables of some models of one architecture at an epoch, leaves (models, ...)."""
    import jax

    several = [_read_state(models[number].files[epoch], epoch, size).variables for number in numbers]
    stacked: Variables = jax.tree.map(lambda *leaves: np.concatenate(leaves), *several)
    return stacked
