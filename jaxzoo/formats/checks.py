"""What was found in another format is held to what a zoo may be: whatever a reader gave, nothing else is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, shown
from jaxzoo.formats.format import Found
from jaxzoo.models.networks import Variables
from jaxzoo.models.variables import each_leaf
from jaxzoo.reading.stored import METRICS
from jaxzoo.spec.dataset_spec import MOST_LETTERS
from jaxzoo.spec.fields import LARGEST
from jaxzoo.spec.grid import ACTIVATIONS, NONE, NUMBERS
from jaxzoo.spec.twin_spec import MOST_EPOCHS


def checked(folder: Path, found: Found) -> Found:
    """What was found in a folder, its metrics as numbers. Raises InputError, which names the member that is wrong."""
    if not found.rows or not found.epochs:
        raise InputError(f"{folder}: holds no {'epoch' if found.rows else 'model'}, expected a zoo")
    for model, row in enumerate(found.rows):
        _check_row(f"{folder}: model {model}", row)
    strange = [epoch for epoch in found.epochs if not 0 <= epoch <= MOST_EPOCHS]
    if strange:
        raise InputError(f"{folder}: has the epoch {strange[0]}, expected 0 to {MOST_EPOCHS}")
    metrics = _numbers(folder, found.metrics)
    _check_complete(folder, found, metrics)
    return found._replace(metrics=metrics)


def _check_row(where: str, row: Mapping[str, Any]) -> None:
    if row.get("activation") not in (*ACTIVATIONS, NONE):  # whether its layers take none is seen when they are known
        got = shown(row.get("activation"))
        raise InputError(f"{where}: activation is {got}, expected one of: {', '.join(ACTIVATIONS)}")
    seed = row.get("seed")
    if type(seed) is not int or not 0 <= seed <= LARGEST:
        raise InputError(f"{where}: seed is {shown(seed)}, expected a whole number, 0 or more")
    for name, value in row.items():
        if not _is_text(name) or not (_is_number(value) or (name not in NUMBERS and _is_text(value))):
            wanted = "a number" if name in NUMBERS else "a number or a word"
            raise InputError(f"{where}: {name} is {shown(value)}, expected {wanted}")


def _is_number(value: Any) -> bool:
    """Whether a value is a number that is finite and not too large, or is not known."""
    return value is None or (isinstance(value, int | float) and abs(value) <= LARGEST)


def _is_text(value: Any) -> bool:
    """Whether a value is a text that files can hold: half of a surrogate pair, which JSON can spell, is none."""
    if not isinstance(value, str) or len(value) > MOST_LETTERS:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _numbers(folder: Path, metrics: pd.DataFrame) -> pd.DataFrame:
    """The metrics with numbers in every column. Raises InputError for what is none."""
    columns: dict[str, Any] = {}
    for name in ("model", "epoch", *METRICS):
        if name == "finite" or name not in metrics.columns:
            continue
        try:
            columns[name] = pd.to_numeric(metrics[name]).astype(float)
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{folder}: {name} among its metrics: {error}, expected numbers") from error
    for name in ("model", "epoch"):
        values = columns.get(name, pd.Series([np.nan]))
        whole = (values >= 0) & (values <= MOST_EPOCHS) & (values == np.trunc(values))
        if not whole.all():
            got = shown(values[~whole].tolist()[0]) if name in columns else "missing"
            raise InputError(f"{folder}: {name} among its metrics is {got}, expected whole numbers")
        columns[name] = values.astype(int)
    if "finite" in metrics.columns:
        columns["finite"] = metrics["finite"].map(_truth).astype(object)
        unknown = [value for value in metrics["finite"] if _truth(value) is None and not pd.isna(value)]
        if unknown:
            raise InputError(f"{folder}: finite among its metrics is {shown(unknown[0])}, expected true or false")
    return pd.DataFrame(columns)


def _truth(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _check_complete(folder: Path, found: Found, metrics: pd.DataFrame) -> None:
    """Raises InputError unless there is one row of metrics for every model at every epoch that has any."""
    held = [*zip(metrics["epoch"].tolist(), metrics["model"].tolist(), strict=True)]
    epochs = sorted({*metrics["epoch"].tolist(), *found.epochs})
    wanted = {(epoch, model) for epoch in epochs for model in range(len(found.rows))}
    missing, strangers = sorted(wanted - {*held}), sorted({*held} - wanted)
    if missing or strangers or len(held) != len(wanted):
        epoch, model = (missing or strangers or [each for each in wanted if held.count(each) > 1])[0]
        got = "missing" if missing else "of no member" if strangers else "there twice"
        raise InputError(
            f"{folder}: the metrics of model {model} at epoch {epoch} are {got}, expected one row for each"
        )


def check_twins(folder: Path, twins: Found, parent: Found) -> None:
    """Raises InputError for twins that are not, model by model, those of their parents."""
    got, wanted = ([row["seed"] for row in found.rows] for found in (twins, parent))
    if got != wanted or twins.network != parent.network:
        raise InputError(
            f"{folder}: its {len(got)} models are not twins of the {len(wanted)} parents, expected one for "
            "each, of the same network and seed, or an import without twins"
        )


def check_shapes(variables: Variables, shapes: Mapping[str, object], models: int, epoch: int) -> None:
    """Raises InputError unless the variables are those of so many models, whose shapes are given."""
    wanted = {path: (models, *shape) for path, shape in each_leaf(shapes)}
    got = {path: np.shape(leaf) for path, leaf in each_leaf(variables)}
    for path in (*wanted, *got):
        if got.get(path) != wanted.get(path):
            raise InputError(
                f"epoch {epoch}: {'/'.join(path)} is {got.get(path, 'missing')}, expected {wanted.get(path, 'nothing')}"
            )
