"""Which epochs of a zoo stay on disk, and whether the disk can hold them."""

import shutil
from pathlib import Path

from jaxzoo.errors import InputError
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec

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
    return None if kept is None else tuple(epoch for epoch in kept if epoch <= twin.epochs)


def states_kept(kept: tuple[int, ...] | None, epochs: int) -> int:
    """How many states of one model stay on disk once it is trained."""
    last = range(max(0, epochs + 1 - KEPT_CHECKPOINTS), epochs + 1)
    return epochs + 1 if kept is None else len({*kept, *last})


def model_bytes(spec: ZooSpec, state_bytes: int, kept: tuple[int, ...] | None, twin: TwinSpec | None) -> int:
    """Bytes of one model in all states that stay on disk, and of its twin, before compression."""
    states = states_kept(kept, spec.epochs)
    if twin is not None:
        states += states_kept(kept_of_twins(kept, twin), twin.epochs)
    return state_bytes * states


def check_space(
    folder: Path, spec: ZooSpec, state_bytes: int, models: int, kept: tuple[int, ...] | None, twin: TwinSpec | None
) -> None:
    """Raises InputError, which says what would fit, where the disk obviously cannot hold so many models.

    `state_bytes` is the size of one model at one epoch. What the folder already holds counts as free.
    """
    needed = models * model_bytes(spec, state_bytes, kept, twin)
    disk = shutil.disk_usage(_existing(folder))
    free = _bytes_in(folder) + disk.free
    if needed <= free or disk.total == 0:  # some file systems do not tell their size: there writing will tell
        return
    fewer = free // model_bytes(spec, state_bytes, kept, twin)
    choices = {
        f"{fewer} models": needed * fewer // models if fewer else free + 1,
        "all models with no epochs kept but the last two": models * model_bytes(spec, state_bytes, (), twin),
        "all models without twins": models * model_bytes(spec, state_bytes, kept, None),
        "all models with the last two epochs alone and without twins": models
        * model_bytes(spec, state_bytes, (), None),
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
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
