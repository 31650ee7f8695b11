"""The format `safetensors`: a file per epoch, or one per model and epoch, and tables of members and metrics as CSV.

epoch_00050.safetensors                 tensors (models, ...) named params/conv1/kernel, and models: their numbers
model_00007/epoch_00050.safetensors     instead of these with `per_model`: the same names, without the models' axis
members.csv, metrics.csv, zoo.json      as in the format `numpy`

The metadata of each file has the contents of zoo.json as `description`.
"""

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.errors import InputError, shown
from jaxzoo.formats.chosen import Chosen
from jaxzoo.formats.format import ExportOptions, Format, Found, ImportOptions, Report
from jaxzoo.formats.needed import EXTRA, needed
from jaxzoo.formats.tables import (
    MODELS,
    describe,
    leaves_by_name,
    read_tables,
    variables_of_names,
    whole_epoch,
    write_tables,
)
from jaxzoo.models.networks import Variables
from jaxzoo.storage.files import entries_of, reason

FLOATS, WHOLE_NUMBERS = ("F16", "F32", "F64"), ("I32", "I64")  # names of types in these files


def write(chosen: Chosen, folder: Path, options: ExportOptions, report: Report) -> Chosen:
    """Writes the files into `folder`."""
    needed("safetensors.numpy", EXTRA)  # said before anything is read
    write_tables(folder, chosen)
    for epoch in chosen.epochs:
        if options.per_model:
            _write_models(folder, chosen, epoch, report)
        else:
            write_epoch(epoch_path(folder, epoch), chosen, epoch, report)
    return chosen


def epoch_path(folder: Path, epoch: int) -> Path:
    """The file of an epoch."""
    return folder / f"epoch_{epoch:05d}.safetensors"


def model_folder(folder: Path, model: int) -> Path:
    """The folder of a model that has files of its own."""
    return folder / f"model_{model:05d}"


def write_epoch(path: Path, chosen: Chosen, epoch: int, report: Report) -> None:
    """Writes the file of an epoch, whose arrays lie in mapped files where they are more than a portion."""
    with whole_epoch(chosen, epoch, path.parent, report) as arrays:
        _save(path, arrays, _metadata(chosen, epoch=epoch))


def _write_models(folder: Path, chosen: Chosen, epoch: int, report: Report) -> None:
    for portion in chosen.portions(epoch):
        leaves = leaves_by_name(portion.variables)
        for row, model in enumerate(portion.models):
            path = epoch_path(model_folder(folder, model), epoch)
            path.parent.mkdir(exist_ok=True)
            tensors = {name: np.ascontiguousarray(leaf[row]) for name, leaf in leaves.items()}
            _save(path, tensors, _metadata(chosen, epoch=epoch, model=model))
        report.states(len(portion.models))


def _metadata(chosen: Chosen, **numbers: int) -> dict[str, str]:
    return {"description": json.dumps(describe(chosen)), **{name: str(number) for name, number in numbers.items()}}


def _save(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    path.touch()
    mode = path.stat().st_mode
    try:
        # contiguous arrays alone: the library writes the memory that they begin at
        needed("safetensors.numpy", EXTRA).save_file(dict(tensors), str(path), dict(metadata))
    except needed("safetensors", EXTRA).SafetensorError as error:
        raise InputError(f"{path}: cannot be written ({error}), expected a file that can") from error
    path.chmod(mode)  # the library lets nobody but the owner read it


def read(folder: Path, options: ImportOptions, report: Report) -> Found:
    """What lies in such a folder, in either layout. Raises InputError for what is missing or damaged."""
    needed("safetensors", EXTRA)
    tables = read_tables(folder)
    numbers, epochs = tables.numbers, tables.description["epochs"]
    if epoch_path(folder, epochs[0]).exists() or not model_folder(folder, numbers[0]).is_dir():
        check_epochs(folder, epochs, numbers)
        return tables.found(functools.partial(read_epoch, folder))
    wanted = {model_folder(folder, number).name for number in numbers}
    extra = sorted({name for name in entries_of(folder) if name.startswith("model_")} - wanted)
    if extra:
        raise InputError(f"{folder / extra[0]}: is of no model in members.csv, expected {len(numbers)} models")
    for epoch in epochs:
        for number in numbers:
            path = epoch_path(model_folder(folder, number), epoch)
            if not path.is_file():
                raise InputError(f"{path}: is no file, expected the weights of model {number}")
    return tables.found(functools.partial(_read_models, folder, numbers))


def check_epochs(folder: Path, epochs: Sequence[int], numbers: Sequence[int]) -> None:
    """Raises InputError unless each epoch has a file of the models of these numbers, in this order."""
    for epoch in epochs:
        path = epoch_path(folder, epoch)
        with _opened(path) as file:
            models = _rows(file, path, MODELS, None, WHOLE_NUMBERS).ravel().tolist()
        if models != list(numbers):
            raise InputError(
                f"{path}: its {len(models)} models are {shown(models)}, expected the {len(numbers)} of the table of "
                "members, in its order"
            )


def read_epoch(folder: Path, epoch: int, models: Sequence[int]) -> Variables:
    """The variables of models whose rows follow each other, and of no others."""
    path, rows = epoch_path(folder, epoch), range(models[0], models[-1] + 1)
    with _opened(path) as file:
        names = [name for name in file.keys() if name != MODELS]  # noqa: SIM118  it is no mapping
        return variables_of_names({name: _floats(_rows(file, path, name, rows, FLOATS)) for name in names})


def _read_models(folder: Path, numbers: Sequence[int], epoch: int, models: Sequence[int]) -> Variables:
    """The variables of models from a file of each."""
    leaves: dict[str, np.ndarray] = {}
    for row, model in enumerate(models):
        path = epoch_path(model_folder(folder, numbers[model]), epoch)
        with _opened(path) as file:
            tensors = {name: _rows(file, path, name, None, FLOATS) for name in file.keys()}  # noqa: SIM118
        if row == 0:
            leaves = {name: np.empty((len(models), *leaf.shape), np.float32) for name, leaf in tensors.items()}
        _check_alike(path, tensors, leaves)
        for name, leaf in tensors.items():
            leaves[name][row] = leaf
    return variables_of_names(leaves)


def _check_alike(path: Path, tensors: Mapping[str, np.ndarray], leaves: Mapping[str, np.ndarray]) -> None:
    got = {name: leaf.shape for name, leaf in tensors.items()}
    wanted = {name: leaf.shape[1:] for name, leaf in leaves.items()}
    for name in sorted(got.keys() | wanted.keys()):
        if got.get(name) != wanted.get(name):
            raise InputError(
                f"{path}: {name} is {got.get(name, 'missing')}, expected {wanted.get(name, 'nothing')} as in the "
                "files of the other models"
            )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file of tensors. Whatever is wrong with it is raised as InputError."""
    library = needed("safetensors", EXTRA)
    try:
        with library.safe_open(str(path), framework="np") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected the weights of an epoch") from error
    except library.SafetensorError as error:
        raise InputError(f"{path}: is damaged: {error}") from error


def _rows(file: Any, path: Path, name: str, rows: range | None, kinds: Sequence[str]) -> np.ndarray:
    """Some rows of a tensor, without the others; the whole tensor for None. Raises InputError for another kind."""
    part = file.get_slice(name)
    shape, kind = tuple(part.get_shape()), part.get_dtype()
    if kind not in kinds or (rows is not None and (not shape or shape[0] < rows.stop)):
        wanted = f"{' or '.join(kinds)}{'' if rows is None else f' of {rows.stop} models or more'}"
        raise InputError(f"{path}: {name} is {kind} of shape {shape}, expected {wanted}")
    values: np.ndarray = file.get_tensor(name) if rows is None else part[rows.start : rows.stop]
    return values


def _floats(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32, copy=False)


FORMAT = Format("tensors that safetensors reads for NumPy, PyTorch, JAX and others", write, read, ("per_model",))
