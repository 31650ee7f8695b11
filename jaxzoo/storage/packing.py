"""A zoo and its twins as one zip file, which is read where it lies (store_paths.py).

Nothing in it is compressed, and every array is an entry of its own, so that reading a part reads only its bytes. Where
the file is unpacked, its folder is a zoo. What training goes on from is left out.
"""

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxzoo.errors import InputError
from jaxzoo.paths import lasting_path
from jaxzoo.storage.checkpoints import ITEM, DamagedError, read_values, saved_epochs
from jaxzoo.storage.files import entries_of, new_file, reason
from jaxzoo.storage.imported import Record, cohort_count, read_any_record
from jaxzoo.storage.snapshots import METRICS_FILE
from jaxzoo.storage.store_paths import ZIP, AnyPath, below, zoo_path
from jaxzoo.storage.twins_folders import twins_folders
from jaxzoo.storage.zoo_folder import DESCRIPTION, cohort_folder

CHECKPOINTS = ("snapshots", "steps", "outputs")
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the same zoo gives the same file, whenever it is packed


def pack_zoo(
    zoo: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    on_packed: Callable[[int], None] = lambda checkpoints: None,
) -> Path:
    """Writes a zoo and its twins into one new zip file, by default beside its folder, and returns the file's path.

    `jaxzoo.open_zoo` opens the file as it does a folder. Every number is read and held to its checksum on the way.
    `on_packed` hears how many checkpoints more are packed. Raises InputError for what is no zoo, where a checkpoint is
    damaged, and where the file is there already.
    """
    source = zoo_path(zoo)
    record = read_any_record(source)
    name = source.name.removesuffix(ZIP)
    target = lasting_path(out if out is not None else _beside(source, name))
    if target.suffix != ZIP:
        raise InputError(f"{target}: is no name of a zip file, expected one that ends in {ZIP}")
    with new_file(target) as partial, zipfile.ZipFile(partial, "x") as archive:
        for folder, inside in ((source, name), *_twins(source, name)):
            _pack(folder, record if folder is source else read_any_record(folder), inside, archive, on_packed)
    return target


def checkpoints_of(folder: AnyPath, record: Record) -> Iterator[tuple[AnyPath, str]]:
    """Yields the path of every checkpoint of a zoo but those that training goes on from, and its path in the zoo."""
    for number in range(cohort_count(record)):
        cohort = cohort_folder(folder, number)
        for part in CHECKPOINTS:
            for epoch in saved_epochs(cohort / part):
                yield below(cohort, part, str(epoch)), f"cohorts/{cohort.name}/{part}/{epoch}"


def _beside(source: AnyPath, name: str) -> Path:
    return source.with_name(name + ZIP) if isinstance(source, Path) else Path(name + ZIP)


def _twins(source: AnyPath, name: str) -> Iterator[tuple[AnyPath, str]]:
    for own, folder in twins_folders(source).items():
        yield folder, f"{name}/twins/{own}"


def _pack(
    folder: AnyPath, record: Record, inside: str, archive: zipfile.ZipFile, on_packed: Callable[[int], None]
) -> None:
    for name in DESCRIPTION:
        try:
            _add(archive, f"{inside}/{name}", (folder / name).read_bytes())
        except FileNotFoundError:
            continue  # most zoos have no table of points
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({reason(error)})") from error
    for path, key in checkpoints_of(folder, record):
        try:
            for own, value in read_values(path):
                _add(archive, f"{inside}/{key}/{ITEM}/{own}", value)
        except DamagedError as error:
            raise InputError(f"{path}: is damaged: {error}, expected a whole zoo (jaxzoo verify --deep)") from error
        on_packed(1)
    for number in range(cohort_count(record)):
        kept = cohort_folder(folder, number) / "metrics"
        for name in sorted(filter(METRICS_FILE.fullmatch, entries_of(kept))):
            _add(archive, f"{inside}/cohorts/{number:03d}/metrics/{name}", (kept / name).read_bytes())


def _add(archive: zipfile.ZipFile, name: str, contents: bytes) -> None:
    entry = zipfile.ZipInfo(name, FIRST_DAY)
    entry.external_attr = 0o644 << 16  # else an unpacked file could not be read
    archive.writestr(entry, contents)
