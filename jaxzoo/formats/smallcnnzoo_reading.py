"""Reads folders in the layout of the Small CNN Zoo, jaxzoo's own and others' (see jaxzoo.formats.smallcnnzoo)."""

import ast
import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, shown
from jaxzoo.formats.format import Found, ImportOptions, Report
from jaxzoo.formats.networks import Shape, find_network, paths_of
from jaxzoo.formats.tables import plain, read_table, variables_of_names
from jaxzoo.models.networks import Variables
from jaxzoo.reading.stored import METRICS
from jaxzoo.spec.grid import ACTIVATIONS, HYPERPARAMETERS
from jaxzoo.spec.twin_spec import METHODS, MOST_EPOCHS
from jaxzoo.storage.files import reason
from jaxzoo.storage.imported import NUMBERS

CONFIG, OF_ZOO = "config.", "zoo."  # what names of columns begin with: of a model, and of the whole zoo
OTHERWISE = {"seed": "random_seed", "weight_decay": "l2reg", "initialization": "w_init"}
OURS = {name: CONFIG + OTHERWISE.get(name, name) for name in ("seed", *HYPERPARAMETERS)}  # the columns of jaxzoo's own
OPTIMIZERS = {"rms_prop": "rmsprop"}
IMAGE_SIZES = {"mnist": 28, "fashion_mnist": 28, "cifar10": 32, "svhn_cropped": 32}  # of the published zoos
LAYOUT = ("varname", "start_idx", "end_idx", "shape")
NEEDED = ("train_accuracy", "train_loss", "test_accuracy", "test_loss")
NUMERIC = (*NEEDED, "validation_accuracy", "validation_loss", "step")


class Column(NamedTuple):
    """The columns of weights that a parameter has: its kind, and its shape in one model."""

    kind: str
    columns: slice
    shape: Shape


def read(folder: Path, options: ImportOptions, report: Report) -> Found:
    """What lies in such a folder. Raises InputError for what is missing or damaged."""
    path = folder / "metrics.csv.gz"
    layout = _read_layout(folder / "layout.csv")
    table = read_table(path)
    weights = _open_weights(folder / "weights.npy")
    wanted = len(table), layout[-1].columns.stop
    if weights.shape != wanted:
        raise InputError(
            f"{folder / 'weights.npy'}: is of shape {weights.shape}, expected {wanted}, as metrics.csv.gz has rows and "
            "layout.csv columns"
        )
    _check_columns(path, table)
    table = _kept_states(path, table, options, report)
    models = list(dict.fromkeys(table["modeldir"]))
    number = {name: model for model, name in enumerate(models)}
    table = table.assign(model=table["modeldir"].map(number), epoch=table["step"].astype(int))
    epochs = sorted({*table["epoch"].tolist()})
    rows = table.assign(row=table.index).pivot(index="model", columns="epoch", values="row")
    kinds = [(column.kind, column.shape) for column in layout]
    network = find_network(folder / "layout.csv", kinds, (*options.sizes, *_image_sizes(table)))
    paths = ["/".join(each) for each in paths_of(network, [column.kind for column in layout])]
    return Found(
        network=network,
        rows=_members(table.loc[rows[epochs[0]]]),
        epochs=tuple(epochs),
        metrics=table[[name for name in ("model", "epoch", *METRICS) if name in table.columns]],
        read=functools.partial(_read_states, weights, dict(zip(paths, layout, strict=True)), rows),
        batch_size=_whole_of_zoo(table, "batch_size"),
        method=_method(table),
    )


def _read_layout(path: Path) -> list[Column]:
    """The columns in their order. Raises InputError where they do not follow each other without a gap."""
    table = read_table(path)
    missing = [name for name in LAYOUT if name not in table.columns]
    if missing or not len(table):
        raise InputError(f"{path}: has no {missing[0] if missing else 'row'}, expected a row for each parameter")
    found = []
    for name, first, stop, text in zip(*(table[each].tolist() for each in LAYOUT), strict=True):
        kind = str(name).rpartition("/")[2].removesuffix(":0")
        try:
            shape = ast.literal_eval(str(text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            shape = None
        sound = isinstance(shape, tuple) and len(shape) > 0 and all(type(size) is int and size > 0 for size in shape)
        if kind not in ("kernel", "bias") or not sound:
            raise InputError(f"{path}: {shown(name)} has the shape {shown(text)}, expected that of a kernel or bias")
        if type(first) is not int or type(stop) is not int or stop - first != math.prod(shape):
            raise InputError(f"{path}: {name} has the columns {first} to {stop}, expected {math.prod(shape)} of them")
        found.append(Column(kind, slice(first, stop), shape))
    found.sort(key=lambda column: column.columns.start)
    ends = [0, *(column.columns.stop for column in found)]
    for column, wanted in zip(found, ends, strict=False):
        if column.columns.start != wanted:
            raise InputError(f"{path}: a parameter starts at {column.columns.start}, expected {wanted}, after another")
    return found


def _open_weights(path: Path) -> np.ndarray:
    """The rows of weights, which stay on disk. Objects in the file are not loaded: they may be programs."""
    try:
        rows = np.lib.format.open_memmap(path, "r")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected weights") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: is no array of numbers: {error}") from error
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise InputError(f"{path}: is {rows.dtype} of shape {rows.shape}, expected floats, a row for each state")
    return rows


def _check_columns(path: Path, table: pd.DataFrame) -> None:
    needed = (*("modeldir", "step", OURS["activation"], OURS["seed"]), *NEEDED)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]}, expected one")
    if not len(table) or table["modeldir"].isna().any():
        raise InputError(f"{path}: has {'a row without a modeldir' if len(table) else 'no row'}, expected names")
    for name in NUMERIC:
        if name in table.columns and table[name].dtype.kind not in "fi" and not table[name].isna().all():
            raise InputError(f"{path}: {name} holds {shown(table[name].iloc[0])}, expected numbers")
    finite = table.get("finite")
    if finite is not None and finite.dtype != bool:
        raise InputError(f"{path}: finite holds {shown(plain(finite.iloc[0]))}, expected True or False")
    steps = table["step"]
    wrong = table[~((steps >= 0) & (steps <= MOST_EPOCHS) & (steps % 1 == 0))]
    if len(wrong):
        got = shown(plain(wrong["step"].iloc[0]))
        raise InputError(f"{path}: a step of {wrong['modeldir'].iloc[0]} is {got}, expected a whole number, 0 or more")


def _kept_states(path: Path, table: pd.DataFrame, options: ImportOptions, report: Report) -> pd.DataFrame:
    """The states of models that are whole. Raises InputError for the first that is not, unless those may be left out.

    Models are to have the same steps: those that most have, or of equally many the longer list.
    """
    steps = {name: tuple(sorted(group)) for name, group in table.groupby("modeldir", sort=False)["step"]}
    counted = Counter(steps.values())
    wanted = max(counted, key=lambda each: (len({*each}) == len(each), counted[each], len(each)), default=())
    config = [name for name in table.columns if name.startswith(CONFIG)]
    several = table.groupby("modeldir", sort=False)[config].nunique(dropna=False).max(axis=1)
    first = table.drop_duplicates("modeldir").set_index("modeldir")
    damaged: dict[Any, str] = {}
    for name, own in steps.items():
        activation, seed = (first.at[name, OURS[each]] for each in ("activation", "seed"))
        if own != wanted or len({*own}) < len(own):
            damaged[name] = f"has the steps {_listed(own)}, expected each of {_listed(wanted)} once, as others have"
        elif activation not in ACTIVATIONS:
            damaged[name] = f"{CONFIG}activation is {shown(activation)}, expected one of {', '.join(ACTIVATIONS)}"
        elif not _whole(seed):
            damaged[name] = f"{CONFIG}random_seed is {shown(plain(seed))}, expected a whole number, 0 or more"
        elif several[name] > 1:
            damaged[name] = f"has several values of a hyperparameter, expected the same {CONFIG}* at all steps"
    if damaged and not options.skip_damaged:
        name, text = next(iter(damaged.items()))
        raise InputError(f"{path}: {name}: {text}")
    if len(damaged) == len(steps):
        raise InputError(f"{path}: has no whole model, expected one or more")
    if damaged:
        report.notice(f"{path}: {len(damaged)} models that are damaged are left out")
    return table[~table["modeldir"].isin(damaged)]


def _whole(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and bool(value >= 0 and value % 1 == 0)


def _listed(steps: Sequence[Any]) -> str:
    return ", ".join(f"{step:g}" for step in steps)


def _members(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The members from a state of each. Columns that jaxzoo knows nothing of keep their names, without config."""
    ours = {column: name for name, column in OURS.items()}
    taken = {*ours.values(), *NUMBERS}
    members: list[dict[str, Any]] = [{} for _ in range(len(table))]
    for column in table.columns:
        if not column.startswith(CONFIG):
            continue
        own = column.removeprefix(CONFIG)
        name = ours.get(column, column if own in taken else own)
        for member, value in zip(members, table[column].tolist(), strict=True):
            member[name] = plain(value)
    words: dict[Any, str] = {foreign: word for word, foreign in OPTIMIZERS.items()}
    for member in members:
        optimizer = member.get("optimizer")
        member |= {"seed": int(member["seed"]), "optimizer": words.get(optimizer, optimizer)}
    return members


def _read_states(
    weights: np.ndarray, columns: Mapping[str, Column], rows: pd.DataFrame, epoch: int, models: Sequence[int]
) -> Variables:
    """The variables of some models at an epoch; `rows` says where they lie, by model and epoch."""
    part = np.asarray(weights[rows.loc[[*models], epoch].to_numpy()], np.float32)
    leaves = {name: part[:, each.columns].reshape(len(part), *each.shape) for name, each in columns.items()}
    return variables_of_names(leaves)


def _image_sizes(table: pd.DataFrame) -> list[int]:
    """The size of the images, where the table or the name of the dataset tells."""
    column = f"{CONFIG}dataset"
    published = str(table[column].iloc[0]) if column in table.columns else ""
    told = (_whole_of_zoo(table, "image_size"), IMAGE_SIZES.get(published))
    return [size for size in told if size is not None]


def _whole_of_zoo(table: pd.DataFrame, name: str) -> int | None:
    value: Any = table[OF_ZOO + name].iloc[0] if OF_ZOO + name in table.columns else None
    return int(value) if _whole(value) and value >= 1 else None


def _method(table: pd.DataFrame) -> str | None:
    value = table[f"{OF_ZOO}twins"].iloc[0] if f"{OF_ZOO}twins" in table.columns else None
    return value if isinstance(value, str) and value in METHODS else None
