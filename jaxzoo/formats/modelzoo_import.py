"""Reads the tree of the original model zoos (see modelzoo.py), ours and theirs, without running code from it."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, shown
from jaxzoo.formats.damaged import attempt
from jaxzoo.formats.format import Found, ImportOptions, Network, Report
from jaxzoo.formats.modelzoo import METRICS, PREFIX
from jaxzoo.formats.modelzoo_params import batch_size_of, row_of
from jaxzoo.formats.torch_files import STATE_DICT, State, arrays_of, load_plain
from jaxzoo.models.networks import Variables
from jaxzoo.models.torch_names import TorchArchitecture, find_architecture, variables_of_state
from jaxzoo.paths import is_litter
from jaxzoo.reading.torch_state import import_torch
from jaxzoo.spec.twin_spec import MOST_EPOCHS
from jaxzoo.storage.files import entries_of, reason

CHECKPOINT = re.compile(r"checkpoint_(\d{1,9})")
NUMBER = re.compile(re.escape(PREFIX) + r"[^_]*_(\d+)(_|$)")
# variational dropout learns a variance for each weight; where it is large the original zeroes the weight
VARIANCES = {"weight": "log_sigma2", "bias": "log_sigma2_bias"}
LOG_ALPHA = 3.0
SMALLEST_WEIGHT = 1e-15  # keeps the logarithm of a weight of zero finite


class _Model(NamedTuple):
    """A folder of the tree: its member, its metrics, and the file of each epoch's weights."""

    folder: Path
    row: Mapping[str, Any]
    metrics: pd.DataFrame
    files: Mapping[int, Path]
    batch_size: int | None
    architecture: TorchArchitecture


def read(folder: Path, options: ImportOptions, report: Report) -> Found:
    """What lies in such a tree. Raises InputError for what is missing or damaged, naming the member.

    With `options.skip_damaged` damaged members are left out, and every file is read once to know them.
    """
    import_torch("the format modelzoo")
    models = [
        model
        for path in _folders(folder)
        if (model := attempt(functools.partial(_read_model, path, options.sizes), options, report)) is not None
    ]
    epochs = sorted({epoch for model in models for epoch in model.files})
    check = functools.partial(_check_model, epochs=epochs, read_all=options.skip_damaged)
    models = [model for model in models if attempt(functools.partial(check, model), options, report) is not None]
    if not models or not epochs:
        raise InputError(f"{folder}: holds no model with weights, expected folders {PREFIX}... with checkpoint_...")
    first = models[0]
    _check_same_network(models)
    tables = [model.metrics.assign(model=number) for number, model in enumerate(models)]
    return Found(
        network=Network(first.architecture.name, first.architecture.image, first.architecture.classes),
        rows=[model.row for model in models],
        epochs=tuple(epochs),
        metrics=pd.concat(tables, ignore_index=True),
        read=functools.partial(_read_states, models),
        batch_size=first.batch_size,
        method="variational-dropout" if "sparsity" in first.metrics.columns else None,
    )


def _folders(folder: Path) -> list[Path]:
    """The folders of the members, in the order of their numbers."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder, expected the tree of a zoo")
    entries = [folder / name for name in entries_of(folder) if (folder / name).is_dir() and not is_litter(name)]
    numbers = {path: NUMBER.match(path.name) for path in entries}
    for path, match in sorted(numbers.items()):
        if match is None:
            raise InputError(f"{path}: is no folder of a member, expected names like {PREFIX}<id>_00007_7_seed=8 alone")
    return sorted(entries, key=lambda path: (int((numbers[path] or [0, 0])[1]), path.name))


def _read_model(folder: Path, sizes: Sequence[int]) -> _Model:
    params = _read_json(folder / "params.json")
    row = row_of(folder / "params.json", params)
    files = {}
    for name in entries_of(folder):
        match = CHECKPOINT.fullmatch(name)
        if match:
            files[int(match[1])] = folder / name / "checkpoints"
        elif (folder / name).is_dir() and not is_litter(name):
            raise InputError(f"{folder / name}: is no checkpoint, expected folders checkpoint_<epoch> alone")
    if not files:
        raise InputError(f"{folder}: has no weights, expected folders checkpoint_<epoch>")
    state = read_state(files[max(files)])
    try:
        architecture = find_architecture({name: array.shape for name, array in state.items()}, sizes)
    except InputError as error:
        raise InputError(f"{files[max(files)]}: {error}") from error
    return _Model(folder, row, _read_results(folder / "result.json"), files, batch_size_of(params), architecture)


def _check_model(model: _Model, epochs: Sequence[int], *, read_all: bool) -> bool:
    """Raises InputError where a member lacks an epoch that others have, or metrics; with `read_all`, a readable one."""
    measured = {*model.metrics["epoch"]}
    for epoch in epochs:
        if epoch not in model.files:
            raise InputError(f"{model.folder}: has no checkpoint of epoch {epoch}, expected one as other members have")
        if epoch not in measured:
            raise InputError(f"{model.folder / 'result.json'}: has no line of epoch {epoch}, expected its metrics")
        if read_all:
            _variables_of(model, epoch)
    return True


def _check_same_network(models: Sequence[_Model]) -> None:
    """Raises InputError for networks that differ in more than whether dropout counts, or for other epochs' metrics."""
    first = models[0]
    for model in models[1:]:
        if model.architecture[:3] != first.architecture[:3]:
            raise InputError(
                f"{model.folder}: is a {model.architecture.name}, expected {first.architecture.name} as "
                f"{first.folder.name} is: a zoo has one architecture"
            )
        if [*model.metrics["epoch"]] != [*first.metrics["epoch"]]:
            raise InputError(
                f"{model.folder / 'result.json'}: has {len(model.metrics)} epochs, expected the {len(first.metrics)} "
                f"of {first.folder.name}"
            )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected a member's file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged: {error}") from error


def _read_results(path: Path) -> pd.DataFrame:
    """The metrics by epoch. The originals' lines begin at epoch 0, or, where that was not saved, at epoch 1."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected the metrics of every epoch") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged: {error}") from error
    names = {theirs: ours for ours, theirs in METRICS.items()}
    rows = []
    for number, line in enumerate(lines):
        epoch = line.get("training_iteration") if isinstance(line, dict) else None
        if type(epoch) is not int or not 0 <= epoch <= MOST_EPOCHS:
            raise InputError(f"{path}: line {number + 1} has no training_iteration, expected the metrics of an epoch")
        row: dict[str, Any] = {ours: line[theirs] for theirs, ours in names.items() if theirs in line}
        for name, value in row.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise InputError(f"{path}: line {number + 1}: {name} is {shown(value)}, expected a number")
        rows.append({"epoch": epoch, **row, "finite": line.get("finite")})
    table = pd.DataFrame(rows)
    needed = [ours for ours in METRICS if ours.startswith("t") and ours not in table.columns]
    if needed:
        raise InputError(f"{path}: has no {METRICS[needed[0]]}, expected losses and accuracies of train and test")
    return table


def _read_states(models: Sequence[_Model], epoch: int, numbers: Sequence[int]) -> Variables:
    return _stacked([_variables_of(models[number], epoch) for number in numbers])


def _stacked(several: Sequence[Variables]) -> Variables:
    """Variables (1, ...) of several models as (models, ...)."""
    import jax

    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *several)


def _variables_of(model: _Model, epoch: int) -> Variables:
    path = model.files[epoch]
    state = {name: array[None] for name, array in read_state(path).items()}
    try:
        variables = variables_of_state(model.architecture.entries(), state)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return variables


def read_state(path: Path) -> State:
    """The state dict in a file, float32; weights that variational dropout removed are zero.

    Only tensors are read: a pickle of anything else is refused, and nothing in it is run. Raises InputError.
    """
    return _without_removed(arrays_of(path, load_plain(path, STATE_DICT)))


def _without_removed(state: State) -> State:
    """Puts zeros where log alpha = log sigma^2 - 2 log |w| is 3 or more (Molchanov et al. 2017); drops variances."""
    kept = {name: array for name, array in state.items() if not name.endswith(tuple(VARIANCES.values()))}
    for name, array in kept.items():
        module, _, kind = name.rpartition(".")
        variance = state.get(f"{module}.{VARIANCES.get(kind, '')}")
        if variance is not None and variance.shape == array.shape:
            log_alpha = variance - 2 * np.log(np.abs(array) + np.float32(SMALLEST_WEIGHT))
            kept[name] = np.where(log_alpha >= LOG_ALPHA, np.float32(0), array)
    return kept
