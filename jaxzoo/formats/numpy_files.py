"""The format `numpy`: a .npz file per epoch, and tables of members and metrics as CSV.

epoch_00050.npz     arrays (models, ...) named params/conv1/kernel, and models: their numbers in the zoo
members.csv         a row per model
metrics.csv         a row per (model, epoch)
zoo.json            which networks these are
"""

import contextlib
import functools
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.formats.chosen import Chosen
from jaxzoo.formats.format import ExportOptions, Format, Found, ImportOptions, Report
from jaxzoo.formats.tables import MODELS, read_tables, variables_of_names, whole_epoch, write_tables
from jaxzoo.models.networks import Variables
from jaxzoo.storage.files import reason


def write(chosen: Chosen, folder: Path, options: ExportOptions, report: Report) -> Chosen:
    """Writes the files into `folder`."""
    write_tables(folder, chosen)
    for epoch in chosen.epochs:
        _write_epoch(epoch_path(folder, epoch), chosen, epoch, report)
    return chosen


def epoch_path(folder: Path, epoch: int) -> Path:
    """The file of an epoch."""
    return folder / f"epoch_{epoch:05d}.npz"


def _write_epoch(path: Path, chosen: Chosen, epoch: int, report: Report) -> None:
    """Writes the file of an epoch, whose arrays lie in mapped files where they are more than a portion."""
    with whole_epoch(chosen, epoch, path.parent, report) as arrays:
        np.savez(path, **arrays)


def read(folder: Path, options: ImportOptions, report: Report) -> Found:
    """What lies in such a folder. Raises InputError for what is missing or damaged."""
    tables = read_tables(folder)
    for epoch in tables.description["epochs"]:
        path = epoch_path(folder, epoch)
        with _opened(path) as file:
            if _rows(file, MODELS).tolist() != tables.numbers:
                raise InputError(f"{path}: its models are not those of members.csv, expected the same in that order")
    return tables.found(functools.partial(_read_epoch, folder))


def _read_epoch(folder: Path, epoch: int, models: Sequence[int]) -> Variables:
    """The variables of models whose numbers follow each other."""
    with _opened(epoch_path(folder, epoch)) as file:
        names = [info.filename.removesuffix(".npy") for info in file.infolist()]
        rows = range(models[0], models[-1] + 1)
        return variables_of_names({name: _rows(file, name, rows) for name in names if name != MODELS})


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A .npz file. Whatever is wrong with it is raised as InputError."""
    try:
        with zipfile.ZipFile(path) as file:
            yield file
    except InputError:  # says already what is wrong
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected the weights of an epoch") from error
    except (KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: is damaged: {error}") from error


def _rows(file: zipfile.ZipFile, name: str, rows: range | None = None) -> np.ndarray:
    """Some rows of an array in the file, without the others, or all. Raises ValueError for what is no such array."""
    with file.open(f"{name}.npy") as part:
        version = np.lib.format.read_magic(part)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = header(part)
        least = 1 if rows is None else rows.stop
        if kind.hasobject or fortran or not shape or shape[0] < least:
            raise ValueError(f"{name} is {kind} of shape {shape}, expected numbers of {least} models, row by row")
        rows = range(shape[0]) if rows is None else rows
        size = kind.itemsize * math.prod(shape[1:])
        part.seek(part.tell() + rows.start * size)
        values = np.frombuffer(part.read(len(rows) * size), kind).reshape(len(rows), *shape[1:])
    return values if name == MODELS else values.astype(np.float32, copy=False)


FORMAT = Format("arrays and tables that NumPy and pandas read", write, read)
