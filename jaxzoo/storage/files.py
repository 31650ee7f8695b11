"""Files and folders that appear whole, are set aside or go whole, and never lie half-made under their own names."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from jaxzoo.errors import InputError
from jaxzoo.storage.store_paths import AnyPath, StorePath

PARTIAL, DAMAGED, DELETING = ".partial", ".damaged", ".deleting"
NO_LINKS = {errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


def reason(error: OSError) -> str:
    """What the operating system says, in words."""
    return error.strerror or str(error) or type(error).__name__


def entries_of(folder: AnyPath) -> list[str]:
    """The names in a folder, none where there is no folder. Raises InputError where it cannot be read."""
    if isinstance(folder, StorePath):
        return folder.names()
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({reason(error)}), expected a folder that can") from error


def write_whole(path: Path, data: bytes) -> None:
    """The file appears under its name when it is whole, in the place of an earlier one. Raises OSError."""
    with _partial(path, data) as partial:
        partial.replace(path)


def write_new(path: Path, data: bytes) -> None:
    """As `write_whole`, but raises FileExistsError where another process was first."""
    with _partial(path, data) as partial:
        try:
            os.link(partial, path)  # unlike a rename, a link never takes the place of a file
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            # a file system without links: between these two calls another process may still be first
            if path.exists():
                raise FileExistsError(errno.EEXIST, "exists", str(path)) from error
            partial.replace(path)


@contextlib.contextmanager
def _partial(path: Path, data: bytes) -> Iterator[Path]:
    """A file of these bytes beside `path`, of a name that no other process uses."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives a path to write a file at, which appears under its name, whole, when the block is done.

    Raises InputError where the name is taken, and where the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        if os.path.lexists(path):
            raise InputError(f"{path}: is there, expected the name of a new file")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}), expected room for a new file") from error
    finally:
        partial.unlink(missing_ok=True)


def check_vacant(path: Path) -> None:
    """Raises InputError unless nothing has the name, or an empty folder has it."""
    if entries_of(path) or (path.exists() and not path.is_dir()):
        raise InputError(f"{path}: is not empty, expected a new folder or an empty one")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives a folder to write into, which appears under its name, whole, when the block is done.

    Where the block fails nothing lies under the name, nor beside it. Raises InputError where the name is taken, and
    where the folder cannot be written.
    """
    check_vacant(path)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        partial.mkdir(parents=True)
        yield partial
        check_vacant(path)  # another process may have taken the name in the meantime
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}), expected a folder that can") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Renames what is damaged to a name that says so, and returns that. Raises InputError."""
    name = path.name + DAMAGED
    taken = set(entries_of(path.parent))
    aside = next(each for each in (name, *(f"{name}-{count}" for count in range(2, 10**6))) if each not in taken)
    try:
        return path.rename(path.with_name(aside))
    except OSError as error:
        raise InputError(f"{path}: is damaged and cannot be renamed ({reason(error)})") from error


def remove_folder(path: Path) -> None:
    """Removes a folder. It goes from its own name first, so that it is never seen with half of its files."""
    doomed = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{DELETING}")
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be removed ({reason(error)})") from error
    shutil.rmtree(doomed, ignore_errors=True)  # what stays is removed at the next start


def remove_leftovers(folder: Path) -> None:
    """Removes what a removal, or writing, that was cut short has left. Nobody else may be writing to this folder."""
    for name in entries_of(folder):
        if name.endswith(DELETING) or PARTIAL in name:
            shutil.rmtree(folder / name, ignore_errors=True)
            with contextlib.suppress(OSError):  # a folder that is gone, or that cannot be removed
                (folder / name).unlink()


def reserve(folder: Path, size: int, handles: int) -> None:
    """Raises OSError where the process may not open so many files more, or where the disk has no room for the bytes.

    Both are taken and given back: unlike the free space that a file system tells, this counts quotas.
    """
    with contextlib.ExitStack() as opened, open(os.devnull, "rb") as nothing:
        for _ in range(handles):
            opened.callback(os.close, os.dup(nothing.fileno()))
    if not hasattr(os, "posix_fallocate"):
        return
    path = folder / f"reserve.{uuid.uuid4().hex[:8]}{PARTIAL}"
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO):
            raise
        # others mean that this file system cannot reserve: there writing will tell
    finally:
        path.unlink(missing_ok=True)
