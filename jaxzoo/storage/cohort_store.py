"""The zoo on disk: its folder, and the snapshots of each cohort, both ways.

    zoo.json, members.msgpack, README.md    what the zoo is and who is in it
    cohorts/000/snapshots/<epoch>/          one Orbax step per epoch: params, metrics, batch_stats where
                                            networks have them; leaves (models, ...)
    cohorts/000/resume/<epoch>/             what only going on needs, of the last two epochs
    twins/<method>/                         the sparse twins: a zoo of the same layout

A step appears under its name when it is whole, not before.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import filelock
import msgpack
import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.spec.plan import Member, Plan
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec, spec_from_dict
from jaxzoo.storage.checkpoints import DamagedError, Tree, checksum, read_step, read_whole_step, step_epochs

FORMAT = 1
KEPT_STEPS = 2  # a damaged last snapshot is made again from the one before it
OWN_NAMES = frozenset({"zoo.json", "members.msgpack", "README.md", "cohorts", "twins"})


@dataclass(frozen=True, kw_only=True)
class ZooRecord:
    """What zoo.json holds. `engine` and `lanes`, the width of its blocks, decide the last bits.

    `timed` has the training samples/s by which the two were chosen, where they were. `kept` has the epochs that stay
    on disk besides the last two, None where all do. A zoo of twins has its parent's spec, and `twin` says how they
    were made.
    """

    spec: ZooSpec
    engine: str
    lanes: int
    timed: Mapping[str, float] = field(default_factory=dict)
    fingerprint: str
    versions: Mapping[str, str]
    kept: tuple[int, ...] | None = None
    twin: TwinSpec | None = None

    @property
    def epochs(self) -> int:
        """The last epoch of the zoo when it is whole."""
        return self.spec.epochs if self.twin is None else self.twin.epochs

    def to_json(self) -> str:
        """The text of zoo.json."""
        table = {
            "format": FORMAT,
            "name": self.spec.name,
            "digest": self.spec.digest,
            "spec": dataclasses.asdict(self.spec),
            "engine": {"name": self.engine, "lanes": self.lanes, "timed": dict(self.timed)},
            "dataset_fingerprint": self.fingerprint,
            "kept_epochs": None if self.kept is None else list(self.kept),
            "versions": dict(self.versions),
            "twin": None if self.twin is None else {"parent": self.spec.digest, **dataclasses.asdict(self.twin)},
            "licence": "not stated: for the maker of this zoo to fill in",
        }
        return json.dumps(table, indent=2) + "\n"


def read_record(folder: Path) -> ZooRecord:
    """The record of the zoo in that folder. Raises InputError where there is none, or one of another version."""
    path = folder / "zoo.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: holds no zoo.json, expected the folder of a zoo") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        got = table.get("format") if isinstance(table, dict) else table
        raise InputError(f"{path}: format is {got!r}, expected {FORMAT}, the format of this version of jaxzoo")
    try:
        record = ZooRecord(
            spec=spec_from_dict(table["spec"]),
            engine=table["engine"]["name"],
            lanes=table["engine"]["lanes"],
            timed=table["engine"]["timed"],
            fingerprint=table["dataset_fingerprint"],
            versions=table["versions"],
            kept=None if table.get("kept_epochs") is None else tuple(map(int, table["kept_epochs"])),
            twin=_read_twin(table.get("twin")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is damaged: {error}") from error
    if record.spec.digest != table.get("digest"):
        raise InputError(f"{path}: digest is {table.get('digest')!r}, expected {record.spec.digest!r} of its spec")
    return record


def _read_twin(table: dict[str, Any] | None) -> TwinSpec | None:
    if table is None:
        return None
    return TwinSpec(**{name: value for name, value in table.items() if name != "parent"})


def twins_folder(folder: Path, method: str) -> Path:
    """Where the twins of a zoo lie."""
    return folder / "twins" / method


def find_record(folder: Path) -> ZooRecord | None:
    """The record of a zoo begun in that folder, None where one may begin. Raises InputError on anything else there."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{folder}: cannot be used ({error.strerror}), expected a folder for the zoo") from error
    if "zoo.json" in names:
        return read_record(folder)
    strangers = sorted(name for name in names - OWN_NAMES if not name.endswith(".partial"))
    if strangers:
        raise InputError(f"{folder}: holds {strangers[0]!r} and no zoo.json, expected a zoo or an empty folder")
    return None


def begin_zoo(folder: Path, record: ZooRecord, plan: Plan, card: str) -> None:
    """Writes what describes the zoo; zoo.json comes last and only when the rest is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = [member._asdict() for member in plan.members]
        _write_whole(folder / "members.msgpack", msgpack.packb(rows))
        _write_whole(folder / "README.md", card.encode())
        _write_whole(folder / "zoo.json", record.to_json().encode())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}), expected a folder for the zoo") from error


def read_members(folder: Path) -> list[Member]:
    """The members in the order of their numbers. Raises InputError where the file is missing or damaged."""
    path = folder / "members.msgpack"
    try:
        return [Member(**row) for row in msgpack.unpackb(path.read_bytes())]
    except (OSError, ValueError, TypeError, msgpack.UnpackException) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def cohort_folder(folder: Path, cohort: int) -> Path:
    """Where one cohort of a zoo lies."""
    return folder / "cohorts" / f"{cohort:03d}"


def snapshot_epochs(cohort: Path) -> list[int]:
    """The epochs of which a cohort's folder holds a whole snapshot, in order."""
    return step_epochs(cohort / "snapshots")


def read_snapshot(cohort: Path, epoch: int, part: str, rows: Sequence[int] | slice = slice(None)) -> Tree:
    """`params`, `batch_stats` or `metrics` of a cohort at an epoch, leaves (rows, ...).

    Raises InputError where it cannot be read.
    """
    step = cohort / "snapshots" / str(epoch)
    try:
        return read_step(step, f"{part}.", rows)[part]
    except (DamagedError, KeyError) as error:
        raise InputError(f"{step}: cannot be read: {error}") from error


def read_whole_variables(cohort: Path, epoch: int) -> Tree:
    """The variables of a snapshot by collection, held to its checksum. Raises InputError where it is damaged."""
    step = cohort / "snapshots" / str(epoch)
    try:
        return _variables(read_whole_step(step))
    except DamagedError as error:
        raise InputError(f"{step}: is damaged: {error}") from error


class Saved(NamedTuple):
    """A cohort as it was after an epoch: its `variables`, and in their order the `leaves` that only going on needs."""

    epoch: int
    variables: Tree
    leaves: list[np.ndarray]


class CohortStore:
    """A cohort's folder, open for writing by one process; saving does not wait for the disk.

    >>> with CohortStore(folder) as store:
    ...     saved = store.restore()
    ...     store.save(epoch, variables, metrics, leaves)
    """

    def __init__(self, folder: Path, kept: Sequence[int] | None = None) -> None:
        """Of snapshots the epochs `kept` and the last two stay, with None all of them."""
        import orbax.checkpoint as ocp  # here: readers do without
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
        resume_options = dataclasses.replace(options, max_to_keep=KEPT_STEPS)
        policy = None if kept is None else AnyPreservationPolicy([LatestN(KEPT_STEPS), CustomSteps(kept)])
        snapshot_options = dataclasses.replace(options, preservation_policy=policy)
        self._snapshots = ocp.CheckpointManager((folder / "snapshots").absolute(), options=snapshot_options)
        self._resumes = ocp.CheckpointManager((folder / "resume").absolute(), options=resume_options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the saves under way, whatever happened."""
        try:
            self._resumes.close()
            self._snapshots.close()
        finally:
            self._lock.release()

    def save(
        self, epoch: int, variables: Tree, metrics: Mapping[str, np.ndarray], leaves: Sequence[np.ndarray]
    ) -> None:
        """Starts to save an epoch, once the save before it is done. The snapshot comes second: it is what counts.

        `variables` has "params", and "batch_stats" where networks have them.
        """
        resume = {"leaves": {f"{place:03d}": leaf for place, leaf in enumerate(leaves)}}
        snapshot = {**variables, "metrics": dict(metrics)}
        self._resumes.save(epoch, args=self._save_args(resume | {"checksum": checksum(resume)}))
        self._snapshots.save(epoch, args=self._save_args(snapshot | {"checksum": checksum(snapshot)}))

    def restore(self) -> tuple[Saved | None, list[str]]:
        """The last epoch that is whole, and a line about each damaged one; later steps are removed.

        None where training has to begin at the untrained members.
        """
        notes: list[str] = []
        saved = None
        both = set(step_epochs(self._folder / "snapshots")) & set(step_epochs(self._folder / "resume"))
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
        snapshot = read_whole_step(self._folder / "snapshots" / str(epoch))
        resume = read_whole_step(self._folder / "resume" / str(epoch))
        leaves = resume["leaves"]
        return Saved(epoch, _variables(snapshot), [leaves[place] for place in sorted(leaves)])


def _variables(snapshot: Tree) -> Tree:
    return {name: tree for name, tree in snapshot.items() if name != "metrics"}


def _write_whole(path: Path, data: bytes) -> None:
    """The file appears under its name when it is whole, not before."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
