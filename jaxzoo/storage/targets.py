"""Where the finished parts of a zoo are moved to: a folder on slow storage, or a bucket. Each part appears whole.

A part has the path that it has in the folder of a zoo, such as cohorts/000/snapshots/5.
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from jaxzoo.errors import InputError
from jaxzoo.paths import lasting_path
from jaxzoo.storage.checkpoints import EPOCH, DamagedError, saved_epochs
from jaxzoo.storage.chunked import put_chunked
from jaxzoo.storage.files import PARTIAL, entries_of, new_folder, reason, remove_folder, remove_leftovers, write_whole
from jaxzoo.storage.store_paths import ZIP, AnyPath, StorePath, is_address, zoo_path
from jaxzoo.storage.stores import MARKERS
from jaxzoo.storage.zoo_folder import find_record

LONGEST = 3600.0  # seconds for an object of a checkpoint, which may be large
BEGUN = "begun"  # the first marker: with it checkpoints count as whole by theirs


class FolderTarget:
    """A folder, such as one on a mounted drive. A part is copied beside its name, and then renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._begun = (root / "zoo.json").exists()

    def __str__(self) -> str:
        return str(self.root)

    def epochs(self, folder: str) -> list[int]:
        """The epochs, or steps, whose checkpoints a folder of the zoo holds whole."""
        return saved_epochs(self.root / folder)

    def files(self, folder: str) -> list[str]:
        """The names of the files in a folder of the zoo that are whole."""
        return [name for name in entries_of(self.root / folder) if not name.endswith(PARTIAL)]

    def look_again(self) -> None:
        """Nothing: a folder is looked at whenever it is asked."""

    def begin(self) -> bool:
        """Returns whether nobody else has begun a zoo in the folder since it was looked at."""
        since, self._begun = self._begun or not (self.root / "zoo.json").exists(), True
        return since

    def put_file(self, path: str, contents: bytes) -> None:
        """Writes a file, in the place of an earlier one. Raises OSError."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.root / path, contents)

    def put_checkpoint(self, path: str, source: Path) -> None:
        """Copies a checkpoint. Raises OSError."""
        target = self.root / path
        partial = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, partial)
            remove_folder(target)  # whatever has the name, it is no whole checkpoint
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def remove(self, path: str) -> None:
        """Removes a checkpoint. Raises OSError, or InputError, where that fails."""
        remove_folder(self.root / path)

    def tidy(self, folder: str) -> None:
        """Tries again to remove what could not be removed."""
        remove_leftovers(self.root / folder)


class BucketTarget:
    """What lies under an address in a bucket. A part is whole once its marker is there."""

    def __init__(self, root: StorePath) -> None:
        """Lists what is there. Raises InputError for a zoo that others copied there: nothing says what is whole."""
        self.root, self._store = root, root.store
        self._whole = {*(self._store.marks or ())}
        if not self._whole and root.names():
            raise InputError(
                f"{root}: holds {root.names()[0]!r} and no markers of jaxzoo, expected a zoo that jaxzoo wrote there, "
                "or an address with nothing below it"
            )

    def __str__(self) -> str:
        return str(self.root)

    def epochs(self, folder: str) -> list[int]:
        """The epochs, or steps, whose checkpoints a folder of the zoo holds whole."""
        return sorted(int(name) for name in self.files(folder) if EPOCH.fullmatch(name))

    def files(self, folder: str) -> list[str]:
        """The names in a folder of the zoo of what is whole."""
        begin = f"{folder}/" if folder else ""
        inside = (path.removeprefix(begin) for path in {*self._whole} if path.startswith(begin))
        return [name for name in inside if "/" not in name]

    def look_again(self) -> None:
        """Lists what is there anew. Raises InputError."""
        self.root = StorePath(self._store.anew())
        self._store = self.root.store
        self._whole = {*(self._store.marks or ())}

    def begin(self) -> bool:
        """Claims an address that nothing lies below. Returns whether nobody else has claimed it since it was listed."""
        if self._whole:
            return True
        try:
            claimed = self._store.write_new(f"{MARKERS}/{BEGUN}", uuid.uuid4().bytes)
        except OSError as error:
            raise InputError(f"{self}: cannot be written ({error}), expected a bucket that can") from error
        self._whole.add(BEGUN)
        return claimed

    def put_file(self, path: str, contents: bytes) -> None:
        """Writes a file, in the place of an earlier one. Raises OSError."""
        self._store.write(path, contents)
        self._mark(path)

    def put_checkpoint(self, path: str, source: Path) -> None:
        """Copies a checkpoint, and marks it. Raises OSError, and InputError where it is damaged."""
        self._store.delete_below(f"{path}/")  # what a copy that was cut short has left
        try:
            put_chunked(self._store, path, source)
        except DamagedError as error:
            raise InputError(f"{source}: is damaged: {error}, expected a whole checkpoint") from error
        self._mark(path)

    def remove(self, path: str) -> None:
        """Removes a checkpoint, its marker first. Raises OSError where that fails."""
        self._store.delete(f"{MARKERS}/{path}")
        self._whole.discard(path)
        self._store.delete_below(f"{path}/")

    def tidy(self, folder: str) -> None:
        """Nothing: what could not be removed is not seen."""

    def _mark(self, path: str) -> None:
        self._store.write(f"{MARKERS}/{path}", b"whole")
        self._whole.add(path)


Target = FolderTarget | BucketTarget


def target_of(out: str | os.PathLike[str]) -> Target:
    """Where `out` says that a zoo is to be. Raises InputError for a bucket that cannot be used, and for a zip file."""
    if re.search(rf"{re.escape(ZIP)}/*$", str(out)):
        raise InputError(f"{out}: is the name of a zip file, expected a folder or an address (jaxzoo pack makes files)")
    if not is_address(out):
        folder = lasting_path(out)
        find_record(folder)
        return FolderTarget(folder)
    root = zoo_path(out)
    assert isinstance(root, StorePath)
    return BucketTarget(root)


def fetch_checkpoint(source: AnyPath, target: Path) -> None:
    """Copies a checkpoint to a new folder of this machine. Raises InputError."""
    with new_folder(target) as partial:
        if isinstance(source, Path):
            shutil.copytree(source, partial, dirs_exist_ok=True)
            return
        for key, contents in _objects_of(source):
            file = partial / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(contents)


def _objects_of(source: StorePath) -> Iterator[tuple[str, bytes]]:
    """Yields what lies under a path in a bucket. Raises InputError: what cannot be read is none of what is written."""
    try:
        for key in source.store.keys(f"{source.key}/"):
            yield key, source.store.read(f"{source.key}/{key}", LONGEST)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({reason(error)}), expected a bucket that answers") from error
