"""Where the sparse twins of a zoo lie: twins/<method>/, and twins/<method>-of-epoch-<n>/ for those of an earlier epoch.

Twins begin from the last epoch of their zoo. Where the zoo gets more epochs they stay what they are, and make room for
new ones by the same method.
"""

import contextlib
import re
from pathlib import Path

from jaxzoo.errors import InputError
from jaxzoo.spec.stages import other_zoo
from jaxzoo.spec.twin_spec import METHODS
from jaxzoo.storage.files import entries_of, reason
from jaxzoo.storage.locks import take_lock
from jaxzoo.storage.record import ZooRecord, read_record
from jaxzoo.storage.store_paths import PathKind, below
from jaxzoo.storage.zoo_folder import twins_folder

OLDER = re.compile(rf"({'|'.join(METHODS)})-of-epoch-(0|[1-9][0-9]{{0,8}})")


def older_folder(folder: Path, method: str, epoch: int) -> Path:
    """The folder of twins that were made of an earlier epoch of the zoo in `folder`."""
    return folder / "twins" / f"{method}-of-epoch-{epoch}"


def twins_folders(folder: PathKind) -> dict[str, PathKind]:
    """The folders of all twins that were begun, by name: those by each method first, then those of earlier epochs."""
    matches = [match for match in map(OLDER.fullmatch, entries_of(folder / "twins")) if match]
    older = sorted(matches, key=lambda match: (METHODS.index(match[1]), int(match[2])))
    paths = {name: below(folder, "twins", name) for name in (*METHODS, *(match[0] for match in older))}
    return {name: path for name, path in paths.items() if (path / "zoo.json").exists()}


def of_earlier_epoch(twins: ZooRecord, parent: ZooRecord) -> bool:
    """Whether twins were made of an earlier epoch than the last one that their zoo has now."""
    return twins.parent is not None and twins.parent.epoch < parent.epochs


def set_apart(folder: Path, parent: ZooRecord | None) -> list[Path]:
    """The folders of twins that were made of earlier epochs, whose bytes no run of the zoo takes over."""
    if parent is None:
        return []
    return [path for path in twins_folders(folder).values() if of_earlier_epoch(read_record(path), parent)]


def check_parent(folder: Path, twins: ZooRecord, parent: ZooRecord) -> None:
    """Raises InputError unless the zoo in `folder`, as it is or as it was at an earlier stage, is that of the twins."""
    assert twins.twin is not None
    same = twins.fingerprints == parent.fingerprints and not other_zoo(twins.spec, parent.spec)
    if not same or parent.stages[: len(twins.stages)] != twins.stages:
        raise InputError(f"{twins_folder(folder, twins.twin.method)}: holds twins of another zoo than {folder}")


def check_room(folder: Path, twins: ZooRecord) -> Path:
    """Where twins of an earlier epoch are to go. Raises InputError where something lies there."""
    assert twins.parent is not None
    assert twins.twin is not None
    target = older_folder(folder, twins.twin.method, twins.parent.epoch)
    if target.name in entries_of(target.parent):
        raise InputError(f"{target}: is there, expected no such folder: older twins are to get this name")
    return target


def make_room(folder: Path, twins: ZooRecord) -> None:
    """Gives twins of an earlier epoch the name that says so. Whoever calls it holds the lock of the zoo.

    Raises InputError while another process writes to them, and where they cannot be renamed.
    """
    target = check_room(folder, twins)
    assert twins.twin is not None
    source = twins_folder(folder, twins.twin.method)
    try:
        with contextlib.ExitStack() as held:
            cohorts = (source / "cohorts" / name for name in entries_of(source / "cohorts"))
            for cohort in filter(Path.is_dir, cohorts):
                lock = take_lock(cohort, [])
                if lock is not None:
                    held.callback(lock.release)
            source.rename(target)
    except OSError as error:
        raise InputError(f"{source}: cannot be renamed to {target.name} ({reason(error)})") from error
