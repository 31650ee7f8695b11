"""Which epochs of a zoo stay on disk, and whether the disk can hold them."""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxzoo.errors import InputError
from jaxzoo.spec.twin_spec import TwinSpec

CHECKPOINT_BYTES = 52_000  # what the files of a checkpoint take besides its numbers, in blocks of 4 kB
FILE_BYTES = 8_000
CHECKPOINT_FILES = 13
METRICS_BYTES = 60  # of a model at an epoch
KEPT_CHECKPOINTS = 2  # the last ones: a damaged last snapshot is made again from the one before it
ALL, LAST = "all", "last"
Keep = str | tuple[int, ...]  # "all", "last", or epochs


def kept_epochs(keep: Keep, epochs: int) -> tuple[int, ...] | None:
    """The epochs of 0..`epochs` that stay on disk besides the last two, None for all.

    The last two always stay: training that goes on needs them. Raises InputError for epochs outside 0..`epochs`.
    """
    if keep == ALL:
        return None
    if keep == LAST:
        return ()
    if isinstance(keep, str):
        raise InputError(f"keep_epochs is {keep!r}, expected 'all', 'last' or epochs")
    for epoch in keep:
        if not 0 <= epoch <= epochs:
            raise InputError(f"keep_epochs has {epoch}, expected epochs of 0..{epochs}")
    return tuple(sorted(set(keep)))


def kept_of_twins(kept: tuple[int, ...] | None, twin: TwinSpec) -> tuple[int, ...] | None:
    """The epochs that stay of twins, where `kept` are those of their parents: as many of these as twins have."""
    return None if kept is None else tuple(epoch for epoch in kept if epoch <= twin.length)


def states_kept(kept: tuple[int, ...] | None, epochs: int) -> int:
    """How many states of one model stay on disk once it is trained."""
    last = range(max(0, epochs + 1 - KEPT_CHECKPOINTS), epochs + 1)
    return epochs + 1 if kept is None else len({*kept, *last})


class CohortBytes(NamedTuple):
    """How many models a cohort has, and the bytes of one in a snapshot and in what training goes on from.

    `steps` counts the snapshots within epochs. `outputs` are the bytes of one model's at one of `output_epochs`.
    Numbers hardly compress: they are counted as they are.
    """

    models: int
    snapshot: int
    resume: int
    steps: int = 0
    outputs: int = 0
    output_epochs: int = 0

    @property
    def beside(self) -> int:
        """Bytes of the numbers that are kept of steps within epochs, and of outputs."""
        return self.models * (self.steps * self.snapshot + self.output_epochs * self.outputs)

    def total(self, kept: tuple[int, ...] | None, epochs: int) -> int:
        """Bytes on disk once the cohort is trained, with metrics and with what files take besides numbers."""
        states, resumes = states_kept(kept, epochs), KEPT_CHECKPOINTS + 1  # a new one is whole before an old one goes
        let_go = 0 if kept is None else epochs + 1 - states
        return (
            self.models * (states * self.snapshot + resumes * self.resume + let_go * METRICS_BYTES)
            + self.beside
            + (states + resumes + self.steps + self.output_epochs) * CHECKPOINT_BYTES
            + let_go * FILE_BYTES
        )

    def files(self, kept: tuple[int, ...] | None, epochs: int) -> int:
        """Files on disk once the cohort is trained, about."""
        states = states_kept(kept, epochs)
        checkpoints = states + KEPT_CHECKPOINTS + self.steps + self.output_epochs
        return checkpoints * CHECKPOINT_FILES + (0 if kept is None else epochs + 1 - states)


class ZooBytes(NamedTuple):
    """What a zoo, or its twins, takes on disk: its cohorts, the last epoch, and the epochs that stay.

    `least` are the epochs that stay whatever is kept, besides the last two.
    """

    cohorts: Sequence[CohortBytes]
    epochs: int
    kept: tuple[int, ...] | None
    least: tuple[int, ...] = ()

    @property
    def smallest(self) -> "ZooBytes":
        """The same with as few epochs kept as may be."""
        return self._replace(kept=self.least)

    @property
    def total(self) -> int:
        """Bytes on disk once all is trained."""
        return sum(cohort.total(self.kept, self.epochs) for cohort in self.cohorts)

    @property
    def files(self) -> int:
        """Files on disk once all is trained, about."""
        return sum(cohort.files(self.kept, self.epochs) for cohort in self.cohorts)


def check_space(folder: Path, dense: ZooBytes, twins: ZooBytes | None = None, *, apart: Sequence[Path] = ()) -> None:
    """Raises InputError, which says what would fit, where the disk obviously cannot hold a zoo and its twins.

    What the folder already holds counts as free, but for what lies in the folders `apart`.
    """
    parts = [dense] if twins is None else [dense, twins]
    needed = sum(part.total for part in parts)
    disk = shutil.disk_usage(_existing(folder))
    free = _bytes_in(folder) - sum(map(_bytes_in, apart)) + disk.free
    if needed <= free or disk.total == 0:  # some file systems do not tell their size: there writing will tell
        return
    models = sum(cohort.models for cohort in dense.cohorts)
    fewer = free * models // needed
    choices = {
        f"{fewer} models": needed * fewer // models if fewer else free + 1,
        "all models with no epochs kept but the last two": sum(part.smallest.total for part in parts),
        "all models without twins": dense.total,
        "all models with the last two epochs alone and without twins": dense.smallest.total,
    }
    fitting = [choice for choice, size in choices.items() if size <= free]
    raise InputError(
        f"{folder}: needs {human_bytes(needed)}, the disk has {human_bytes(free)}, expected more; "
        f"it would hold {', or '.join(fitting) or 'not one model'}"
    )


def human_bytes(count: float) -> str:
    """
    A number of bytes in the largest decimal unit that leaves at least 1.

    >>> human_bytes(1_250_000_000)
    '1.25 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _bytes_in(folder: Path) -> int:
    total = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # another process may remove files in the meantime
                total += os.stat(os.path.join(inner, name)).st_size
    return total


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
