"""Locks: a folder that one process writes to at a time."""

import contextlib
import errno
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

from jaxzoo.errors import InputError
from jaxzoo.storage.files import reason

LOCK = ".lock"
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
PATIENCE = 60.0  # seconds; what a zoo's lock is held for takes less than one


def take_lock(folder: Path, notes: list[str], patience: float = 0.0) -> filelock.BaseFileLock | None:
    """The lock of a folder, None where its file system has no locks, which `notes` then says.

    Raises InputError where another process still has it after `patience` seconds.
    """
    lock = filelock.FileLock(folder / LOCK, timeout=patience)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a lock that a killed process leaves behind would not be better than none
            lock.acquire()
    except filelock.Timeout as error:
        raise InputError(f"{folder}: is being written by another process, expected it to be free") from error
    except (OSError, NotImplementedError, UserWarning) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        notes.append(f"{folder}: its file system has no locks, expected that no other process writes there")
        return None
    return lock


def is_locked(folder: Path) -> bool:
    """Whether another process has the lock of a folder, as far as its file system tells."""
    if not (folder / LOCK).exists():
        return False
    try:
        lock = take_lock(folder, [])
    except (InputError, OSError):  # a folder that cannot be written, writing tells of
        return True
    if lock is not None:
        lock.release()
    return False


@contextlib.contextmanager
def zoo_locked(folder: Path) -> Iterator[None]:
    """Nobody else changes what the files of a zoo, or of the twins in its folder, say of it, until the block is done.

    Whoever reads zoo.json to write it does both inside. Cohorts have locks of their own, and notes of file systems
    without any. Raises InputError where the folder cannot be written, and where another process has it for long.
    """
    try:
        lock = take_lock(folder, [], PATIENCE)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({reason(error)}), expected a folder that can") from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
