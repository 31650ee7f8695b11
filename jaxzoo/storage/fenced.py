"""Checkpoints of a worker that may have lost its lease: they appear only while it holds it."""

import errno
import shutil
from pathlib import Path

from jaxzoo.errors import InputError
from jaxzoo.storage.beside import compare
from jaxzoo.storage.checkpoints import DamagedError, Tree, read_whole_checkpoint, save_checkpoint
from jaxzoo.storage.files import PARTIAL, reason
from jaxzoo.storage.identity import PART
from jaxzoo.storage.leases import Lease

TAKEN = {errno.EEXIST, errno.ENOTEMPTY}


def save_fenced(lease: Lease, path: Path, tree: Tree) -> None:
    """Saves a checkpoint under a name of this worker's, and renames it once the lease was read again.

    Where another worker was first, with the same numbers, nothing is changed. Raises LeaseLost, and InputError where
    the other's numbers are others, and where files cannot be written.
    """
    staged = path.with_name(f"{path.name}.{lease.worker}{PARTIAL}")
    try:
        try:
            save_checkpoint(staged, tree)
        finally:
            lease.check()  # whoever has taken the lease may have removed what was being written
        staged.rename(path)
    except OSError as error:
        if error.errno not in TAKEN:
            raise InputError(f"{path}: cannot be written ({reason(error)}), expected a folder that can") from error
        _compare(path, tree)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _compare(path: Path, tree: Tree) -> None:
    """Raises InputError unless the checkpoint that another worker has saved holds these numbers."""
    try:
        whole, _ = read_whole_checkpoint(path)
    except DamagedError as error:
        raise InputError(f"{path}: is damaged ({error}), expected what another worker has saved whole") from error
    beside = {"checksum", PART}  # which says what machine it was made on
    compare(path, *({name: leaf for name, leaf in each.items() if name not in beside} for each in (whole, tree)))
