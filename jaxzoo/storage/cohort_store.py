"""The snapshots of a cohort, both ways.

    snapshots/<epoch>/    params, metrics, and batch_stats where networks have them; leaves (models, ...)
    resume/<epoch>/       what only training that goes on needs, of the last two epochs

Each is one Orbax checkpoint. It appears under its name when it is whole, not before.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import filelock
import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.storage.checkpoints import (
    DamagedError,
    Tree,
    checksum,
    quoted,
    read_checkpoint,
    read_whole_checkpoint,
    saved_epochs,
)
from jaxzoo.storage.retention import KEPT_CHECKPOINTS


def snapshot_epochs(cohort: Path) -> list[int]:
    """The epochs whose whole snapshots a cohort's folder holds, in order."""
    return saved_epochs(cohort / "snapshots")


def read_snapshot(cohort: Path, epoch: int, part: str, rows: Sequence[int] | slice = slice(None)) -> Tree:
    """One `part` of a snapshot ("params", "batch_stats" or "metrics"), leaves (rows, ...).

    Raises InputError where it cannot be read.
    """
    path = cohort / "snapshots" / str(epoch)
    try:
        return read_checkpoint(path, f"{part}.", rows)[part]
    except (DamagedError, KeyError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def read_whole_variables(cohort: Path, epoch: int) -> Tree:
    """The variables of a snapshot, by collection. Raises InputError where they do not fit their checksum."""
    path = cohort / "snapshots" / str(epoch)
    try:
        return _variables(read_whole_checkpoint(path))
    except DamagedError as error:
        raise InputError(f"{path}: is damaged: {error}") from error


class Saved(NamedTuple):
    """A cohort after an epoch: its `variables`, and the `leaves` of what only training that goes on needs, in order."""

    epoch: int
    variables: Tree
    leaves: list[np.ndarray]


class CohortStore:
    """A cohort's folder, open for writing by one process. Saving does not wait for the disk.

    with CohortStore(folder) as store:
        saved, notes = store.restore()
        store.save(epoch, variables, metrics, leaves)
    """

    def __init__(self, folder: Path, kept: Sequence[int] | None = None) -> None:
        """The snapshots of the epochs `kept` and of the last two epochs stay; all stay where `kept` is None."""
        import orbax.checkpoint as ocp  # imported late: readers do without Orbax
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, CustomSteps, LatestN

        self._folder = folder
        self._save_args = ocp.args.PyTreeSave
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(folder / ".lock", blocking=False)
            self._lock.acquire()
        except filelock.Timeout as error:
            raise InputError(f"{folder}: is being written by another process, expected it to be free") from error
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
        options = ocp.CheckpointManagerOptions(cleanup_tmp_directories=True)
        resume_options = dataclasses.replace(options, max_to_keep=KEPT_CHECKPOINTS)
        policy = None if kept is None else AnyPreservationPolicy([LatestN(KEPT_CHECKPOINTS), CustomSteps(kept)])
        snapshot_options = dataclasses.replace(options, preservation_policy=policy)
        self._snapshots = ocp.CheckpointManager((folder / "snapshots").absolute(), options=snapshot_options)
        self._resumes = ocp.CheckpointManager((folder / "resume").absolute(), options=resume_options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the saves that are under way, also after an exception."""
        try:
            self._resumes.close()
            self._snapshots.close()
        finally:
            self._lock.release()

    def save(
        self, epoch: int, variables: Tree, metrics: Mapping[str, np.ndarray], leaves: Sequence[np.ndarray]
    ) -> None:
        """Starts to save an epoch, once the save before it is done.

        The snapshot comes second, so that an epoch that has one can be resumed. `variables` has "params", and
        "batch_stats" where networks have them.
        """
        resume = {"leaves": {f"{index:03d}": leaf for index, leaf in enumerate(leaves)}}
        snapshot = {**variables, "metrics": dict(metrics)}
        self._resumes.save(epoch, args=self._save_args(resume | {"checksum": checksum(resume)}))
        self._snapshots.save(epoch, args=self._save_args(quoted(snapshot | {"checksum": checksum(snapshot)})))

    def restore(self) -> tuple[Saved | None, list[str]]:
        """The last whole epoch, and a line about each damaged one. Removes the checkpoints of later epochs.

        The epoch is None where training has to begin at the untrained members.
        """
        notes: list[str] = []
        saved = None
        both = set(saved_epochs(self._folder / "snapshots")) & set(saved_epochs(self._folder / "resume"))
        for epoch in sorted(both, reverse=True):
            try:
                saved = self._read(epoch)
                break
            except DamagedError as error:
                notes.append(f"{self._folder}: epoch {epoch} is damaged and is made again ({error})")
        last = -1 if saved is None else saved.epoch
        for manager in (self._snapshots, self._resumes):
            for epoch in manager.all_steps():
                if epoch > last:
                    manager.delete(epoch)
        return saved, notes

    def _read(self, epoch: int) -> Saved:
        snapshot = read_whole_checkpoint(self._folder / "snapshots" / str(epoch))
        resume = read_whole_checkpoint(self._folder / "resume" / str(epoch))
        leaves = resume["leaves"]
        return Saved(epoch, _variables(snapshot), [leaves[index] for index in sorted(leaves)])


def _variables(snapshot: Tree) -> Tree:
    return {name: tree for name, tree in snapshot.items() if name != "metrics"}
