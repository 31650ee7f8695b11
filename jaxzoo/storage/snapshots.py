"""The snapshots of a cohort.

    snapshots/<epoch>/      an Orbax checkpoint: params, metrics, identity, and batch_stats where networks have them;
                            optimizer, where a spec asks for it
    steps/<step>/           as snapshots, after a step in the middle of an epoch
    metrics/<epoch>.npz     metrics and identity of an epoch whose weights were let go
    resume/<epoch>/         what only training that goes on needs, of the last two epochs

Leaves are (models, ...).
"""

import functools
import operator
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.storage.checkpoints import (
    ALL_ROWS,
    DamagedError,
    Rows,
    Saver,
    Tree,
    checksum,
    read_checkpoint,
    read_whole_checkpoint,
    save_checkpoint,
    saved_epochs,
)
from jaxzoo.storage.files import entries_of, reason, write_whole
from jaxzoo.storage.identity import PART, Identity
from jaxzoo.storage.store_paths import AnyPath, PathKind, below

METRICS_FILE = re.compile(r"(0|[1-9][0-9]{0,8})\.npz")


class Whole(NamedTuple):
    """A snapshot that fits its checksum: the `variables` by collection, and what it was `made` with, if it says so.

    The optimizer's state, where it is kept, is one of the collections.
    """

    variables: Tree
    metrics: Tree
    made: Tree | None
    checksum: int


def snapshot_epochs(cohort: AnyPath) -> list[int]:
    """The epochs whose snapshots a cohort's folder holds, in order."""
    return saved_epochs(cohort / "snapshots")


def snapshot_steps(cohort: AnyPath) -> list[int]:
    """The steps within epochs whose snapshots a cohort's folder holds, in order."""
    return saved_epochs(cohort / "steps")


def metrics_epochs(cohort: AnyPath) -> list[int]:
    """The epochs whose metrics a cohort's folder holds, those without weights too, in order."""
    files = (METRICS_FILE.fullmatch(name) for name in entries_of(cohort / "metrics"))
    return sorted({*snapshot_epochs(cohort), *(int(match[1]) for match in files if match)})


def read_snapshot(
    cohort: AnyPath,
    epoch: int,
    part: str,
    rows: Rows = ALL_ROWS,
    identity: Identity | None = None,
    *,
    step: int | None = None,
) -> Tree:
    """One `part` of a snapshot ("params", "batch_stats", "optimizer" or "metrics"), leaves (rows, ...).

    Raises InputError where it cannot be read, or, with `identity`, where the snapshot is another's.
    """
    stored: Tree = read_part(snapshot_path(cohort, epoch, step), (part,), rows, identity, epoch, step)
    return stored


def read_part(
    path: AnyPath, names: Sequence[str], rows: Rows, identity: Identity | None, epoch: int, step: int | None = None
) -> Any:
    """What a checkpoint holds under a name, and the names under that, of some rows.

    Raises InputError where it cannot be read, or, with `identity`, where the checkpoint is another's.
    """
    try:
        if identity is not None:  # first: another cohort may not even have these rows
            check_identity(path, identity, epoch, step)
        return functools.reduce(operator.getitem, names, read_checkpoint(path, {".".join(names): rows}))
    except (DamagedError, KeyError) as error:
        raise InputError(f"{path}: cannot be read: {error}, expected a whole snapshot") from error


def check_identity(path: AnyPath, identity: Identity, epoch: int, step: int | None = None) -> Mapping[str, Any] | None:
    """What a checkpoint was made with, None where it does not say.

    Raises InputError where the checkpoint is another's, and DamagedError where that cannot be read.
    """
    stored = read_checkpoint(path, {f"{PART}.": ALL_ROWS, "checksum": ALL_ROWS})
    if not stored:
        raise DamagedError("its index is lost")
    return identity.check(stored.get(PART), epoch, path, step)


def read_metrics(cohort: AnyPath, epoch: int, identity: Identity | None = None) -> Tree:
    """The metrics of an epoch, (models,) each, from its snapshot or from what stays of it. Raises InputError."""
    if epoch in snapshot_epochs(cohort):
        return read_snapshot(cohort, epoch, "metrics", identity=identity)
    try:
        return read_kept_metrics(cohort, epoch, identity)
    except DamagedError as error:
        raise InputError(f"{metrics_path(cohort, epoch)}: is damaged: {error}") from error


def read_kept_metrics(cohort: AnyPath, epoch: int, identity: Identity | None = None) -> Tree:
    """The metrics of an epoch whose weights were let go. Raises DamagedError, or InputError where it is another's."""
    path = metrics_path(cohort, epoch)
    parts: dict[str, Tree] = {"metrics": {}, PART: {}}
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
            for name in file.files:
                part, _, rest = name.partition(".")
                parts[part][rest] = file[name]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from error
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedError(str(error)) from error
    if identity is not None:
        identity.check(parts[PART] or None, epoch, path)
    return parts["metrics"]


def save_snapshot(
    cohort: Path,
    epoch: int,
    variables: Tree,
    metrics: Tree,
    identity: Identity,
    step: int | None = None,
    *,
    save: Saver = save_checkpoint,
) -> None:
    """Saves the snapshot of an epoch, or of a step within it, whole. Raises InputError where it cannot be written."""
    snapshot = {**variables, "metrics": metrics, PART: identity.tree(epoch, step)}
    save(snapshot_path(cohort, epoch, step), snapshot | {"checksum": checksum(snapshot)})


def save_metrics(cohort: Path, epoch: int, metrics: Tree, identity: Tree) -> None:
    """Saves the metrics of an epoch whose weights are not kept. Raises InputError where they cannot be written."""
    path = metrics_path(cohort, epoch)
    file = BytesIO()
    parts = {f"metrics.{name}": values for name, values in metrics.items()}
    np.savez(file, **parts, **{f"{PART}.{name}": values for name, values in identity.items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.getvalue())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}), expected room for it") from error


def read_whole_snapshot(cohort: AnyPath, epoch: int, identity: Identity | None, step: int | None = None) -> Whole:
    """A snapshot held to its checksum and its identity.

    Raises DamagedError where it does not fit its checksum, InputError where it is another's or cannot be read.
    """
    path = snapshot_path(cohort, epoch, step)
    tree, total = read_whole_checkpoint(path)
    stored = tree.pop(PART, None)
    made = None if identity is None else identity.check(stored, epoch, path, step)
    if "params" not in tree or "metrics" not in tree:
        raise DamagedError("it has no params or no metrics")
    metrics = tree.pop("metrics")
    return Whole(tree, metrics, None if made is None else dict(made), total)


def read_whole_variables(cohort: AnyPath, epoch: int, identity: Identity | None = None) -> Tree:
    """The variables of a snapshot, by collection. Raises InputError where they do not fit their checksum."""
    try:
        return read_whole_snapshot(cohort, epoch, identity).variables
    except DamagedError as error:
        raise InputError(f"{snapshot_path(cohort, epoch)}: is damaged: {error}") from error


def parent_checksum(cohort: AnyPath, epoch: int) -> int:
    """The checksum that a snapshot carries, by which twins know the epoch that they begin from. Raises InputError."""
    path = snapshot_path(cohort, epoch)
    try:
        return int(read_checkpoint(path, {"checksum": ALL_ROWS})["checksum"])
    except (DamagedError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged: its checksum cannot be read ({error})") from error


def snapshot_path(cohort: PathKind, epoch: int, step: int | None = None) -> PathKind:
    """The folder of the snapshot of the end of an epoch, or of a step within it."""
    return below(cohort, "snapshots", str(epoch)) if step is None else below(cohort, "steps", str(step))


def metrics_path(cohort: PathKind, epoch: int) -> PathKind:
    """The file of the metrics of an epoch whose weights were let go."""
    return below(cohort, "metrics", f"{epoch}.npz")
