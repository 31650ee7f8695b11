"""Which epochs of a zoo stay on disk, and whether the disk can hold them."""

import shutil
from pathlib import Path

from jaxzoo.errors import InputError
from jaxzoo.models.networks import parameter_count
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec
from jaxzoo.storage.cohort_store import KEPT_STEPS

ALL, LAST = "all", "last"
Keep = str | tuple[int, ...]  # "all", "last", or epochs


def kept_epochs(keep: Keep, epochs: int) -> tuple[int, ...] | None:
    """The epochs of 0..`epochs` that stay, besides the last two, which going on needs; None for all of them.

    Raises InputError for epochs that there are not.
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
    """The same for twins: of their epochs those that are on the list, too."""
    return None if kept is None else tuple(epoch for epoch in kept if epoch <= twin.epochs)


def states_kept(kept: tuple[int, ...] | None, epochs: int) -> int:
    """States of one model that stay on disk once it is trained."""
    last = range(max(0, epochs + 1 - KEPT_STEPS), epochs + 1)
    return epochs + 1 if kept is None else len({*kept, *last})


def model_bytes(spec: ZooSpec, kept: tuple[int, ...] | None, twin: TwinSpec | None) -> int:
    """Bytes of one model in all states that stay, its twin's too: parameters in float32, before compression."""
    states = states_kept(kept, spec.epochs)
    if twin is not None:
        states += states_kept(kept_of_twins(kept, twin), twin.epochs)
    return 4 * parameter_count(spec.architecture, spec.dataset) * states


def check_space(folder: Path, spec: ZooSpec, models: int, kept: tuple[int, ...] | None, twin: TwinSpec | None) -> None:
    """Raises InputError where the disk obviously cannot hold so many models, and says what would fit.

    What lies in the folder already counts as free.
    """
    needed = models * model_bytes(spec, kept, twin)
    disk = shutil.disk_usage(_existing(folder))
    there = _bytes_in(folder) + disk.free
    if needed <= there or disk.total == 0:  # some file systems do not say, and some are none: writing will tell
        return
    fewer = there // model_bytes(spec, kept, twin)
    options = {
        f"--models {fewer}": needed * fewer // models if fewer else there + 1,
        "--keep-epochs last": models * model_bytes(spec, (), twin),
        "--twins none": models * model_bytes(spec, kept, None),
        "--keep-epochs last --twins none": models * model_bytes(spec, (), None),
    }
    fitting = [option for option, size in options.items() if size <= there]
    raise InputError(
        f"{folder}: needs {human_bytes(needed)}, the disk has {human_bytes(there)}, expected more; "
        f"it would hold: {', or '.join(fitting) or 'not one model'}"
    )


def human_bytes(count: float) -> str:
    """
    A number of bytes in the largest decimal unit that leaves at least 1.

    >>> human_bytes(1_250_000_000)
    '1.2 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
