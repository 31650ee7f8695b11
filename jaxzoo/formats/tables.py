"""What jaxzoo's own layouts share: tables of members and metrics, a description of the networks, whole epochs."""

import contextlib
import json
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, shown
from jaxzoo.formats.chosen import Chosen
from jaxzoo.formats.format import Found, Network, Report
from jaxzoo.models.networks import Variables
from jaxzoo.models.variables import each_leaf
from jaxzoo.spec.grid import HYPERPARAMETERS
from jaxzoo.spec.layers import LAYERS
from jaxzoo.spec.twin_spec import METHODS
from jaxzoo.storage.files import reason

DESCRIPTION = "zoo.json"
OWN_COLUMNS = ("cohort", "row")  # of a member: where it lies in jaxzoo's folder
# numbers come back as they were written: since pandas 3.1 by themselves, where it warns of the option
PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
EXACT: Any = {"float_precision": "round_trip"} if PANDAS < (3, 1) else {}
MODELS = "models"  # the array that says whose numbers the others are


def members_table(chosen: Chosen) -> pd.DataFrame:
    """A row per model: its number in the zoo, its seed and its hyperparameters."""
    return chosen.members.drop(columns=list(OWN_COLUMNS))


def rows_of_members(path: Path, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The members of such a table in its order, for an import. Raises InputError where it lacks a column."""
    missing = [name for name in ("model", "seed", *HYPERPARAMETERS) if name not in table.columns]
    if missing or not len(table):
        raise InputError(f"{path}: has no {missing[0] if missing else 'row'}, expected a row for each model")
    names = [name for name in table.columns if name not in ("model", *OWN_COLUMNS)]
    columns = [[plain(value) for value in table[name].tolist()] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def plain(value: Any) -> Any:
    """A value of a table as Python and JSON have it; None where it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def numbered_metrics(path: Path, metrics: pd.DataFrame, members: pd.DataFrame) -> pd.DataFrame:
    """Metrics whose models are numbered as an import numbers them: by their rows in the table of members."""
    if not {"model", "epoch"} <= {*metrics.columns}:
        raise InputError(f"{path}: has the columns {', '.join(metrics.columns)}, expected model and epoch among them")
    rows = {model: row for row, model in enumerate(members["model"].tolist())}
    return metrics.assign(model=metrics["model"].map(rows)).dropna(subset=["model"]).astype({"model": int})


def leaves_by_name(variables: Variables) -> dict[str, np.ndarray]:
    """The variables by names such as params/conv1/kernel, in the order of the layout."""
    return {"/".join(path): leaf for path, leaf in each_leaf(variables)}


def variables_of_names(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The variables that such names stand for."""
    variables: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *branches, last = name.split("/")
        inner = variables
        for branch in branches:
            inner = inner.setdefault(branch, {})
            if not isinstance(inner, dict):
                raise InputError(f"{name}: lies within another array, expected names such as params/conv1/kernel")
        inner[last] = leaf
    return variables


def write_description(folder: Path, chosen: Chosen) -> None:
    """Writes zoo.json: which networks the numbers are of, and at which epochs."""
    path, table = folder / DESCRIPTION, describe(chosen)
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def describe(chosen: Chosen) -> dict[str, Any]:
    """What a reader has to know besides the numbers."""
    zoo = chosen.zoo
    return {
        "name": zoo.spec.name,
        "architecture": zoo.architecture,
        "image_shape": list(zoo.image_shape),
        "classes": zoo.spec.classes,
        "batch_size": zoo.spec.batch_size,
        "dataset": None if chosen.dataset is None else chosen.dataset.name,
        "twins": None if zoo.record.twin is None else zoo.record.twin.method,
        "epochs": list(chosen.epochs),
        "parameters": [{"name": "/".join(entry.path), "shape": list(entry.shape)} for entry in zoo.layout],
    }


class Description(dict[str, Any]):
    """The table of such a file, with its network."""

    @property
    def network(self) -> Network:
        """The networks that it describes."""
        return Network(self["architecture"], tuple(self["image_shape"]), self["classes"])


def read_description(folder: Path) -> Description:
    """The description in a folder. Raises InputError where there is none that can be used."""
    path = folder / DESCRIPTION
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected a zoo in this format") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged: {error}") from error
    table = table if isinstance(table, dict) else {}
    shape, epochs, batch = table.get("image_shape"), table.get("epochs"), table.get("batch_size")
    checks: Sequence[tuple[str, bool]] = (
        ("architecture", table.get("architecture") in tuple(LAYERS)),
        ("image_shape", _whole_numbers(shape, 1) and len(shape or ()) == 3),
        ("classes", _whole_numbers([table.get("classes")], 2)),
        ("epochs", _whole_numbers(epochs, 0) and len({*(epochs or ())}) == len(epochs or ()) > 0),
        ("batch_size", batch is None or _whole_numbers([batch], 1)),
        ("twins", table.get("twins") in (None, *METHODS)),
    )
    for name, holds in checks:
        if not holds:
            raise InputError(f"{path}: {name} is {shown(table.get(name))}, expected what this version can hold")
    return Description(table)


def _whole_numbers(values: Any, least: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= least for value in values)


def write_tables(folder: Path, chosen: Chosen) -> None:
    """Writes zoo.json, members.csv and metrics.csv."""
    write_description(folder, chosen)
    members_table(chosen).to_csv(folder / "members.csv", index=False)
    chosen.metrics.to_csv(folder / "metrics.csv", index=False)


class Tables(NamedTuple):
    """What the description and the tables of a folder say, for an import; `numbers` are those of its models."""

    description: Description
    numbers: list[int]
    rows: list[dict[str, Any]]
    metrics: pd.DataFrame

    def found(self, read: Callable[[int, Sequence[int]], Variables]) -> Found:
        """All that an import has to know, with the function that reads variables."""
        return Found(
            network=self.description.network,
            rows=self.rows,
            epochs=tuple(sorted(self.description["epochs"])),
            metrics=self.metrics,
            read=read,
            batch_size=self.description.get("batch_size"),
            method=self.description.get("twins"),
        )


def read_tables(folder: Path) -> Tables:
    """What zoo.json, members.csv and metrics.csv say. Raises InputError for what is missing or damaged."""
    members, metrics = folder / "members.csv", folder / "metrics.csv"
    return tables_of(read_description(folder), members, read_table(members), metrics, read_table(metrics))


def tables_of(
    description: Description, members_path: Path, members: pd.DataFrame, metrics_path: Path, metrics: pd.DataFrame
) -> Tables:
    """The same of tables that were read from the files at these paths."""
    rows = rows_of_members(members_path, members)
    return Tables(description, members["model"].tolist(), rows, numbered_metrics(metrics_path, metrics, members))


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file as a table. Raises InputError where it cannot be read."""
    try:
        return pd.read_csv(path, low_memory=False, **EXACT)  # types are those of whole columns
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected a table") from error
    except (ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: is no table: {error}") from error


@contextlib.contextmanager
def whole_epoch(chosen: Chosen, epoch: int, folder: Path, report: Report) -> Iterator[dict[str, Any]]:
    """All chosen models at an epoch as contiguous arrays (models, ...) by name, with their numbers as `models`.

    They are in memory where they are one portion. Else they are mapped from files that lie in `folder` for as long:
    what is in memory of them is the system's to let go.
    """
    with tempfile.TemporaryDirectory(dir=folder) as parts:
        arrays: dict[str, np.ndarray] = {}
        first = 0
        for portion in chosen.portions(epoch):
            stop = first + len(portion.models)
            whole = stop - first == len(chosen.models)
            for name, leaf in {MODELS: np.array(portion.models), **leaves_by_name(portion.variables)}.items():
                if whole:
                    arrays[name] = np.ascontiguousarray(leaf)
                    continue
                if name not in arrays:
                    file, shape = Path(parts) / f"{len(arrays)}.npy", (len(chosen.models), *leaf.shape[1:])
                    arrays[name] = np.lib.format.open_memmap(file, "w+", leaf.dtype, shape)
                arrays[name][first:stop] = leaf
            first = stop
            report.states(len(portion.models))
        yield arrays
