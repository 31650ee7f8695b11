"""What belongs to an epoch of a cohort besides its snapshot: steps within it, and outputs at its end.

Both are kept as snapshots are: what is whole is never replaced, and what is damaged is set aside and made again.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.spec.asked import Asked, asked_of
from jaxzoo.spec.snapshots import Moment
from jaxzoo.storage.checkpoints import DamagedError, Saver, Tree, checksum, save_checkpoint
from jaxzoo.storage.files import entries_of, set_aside
from jaxzoo.storage.identity import Identity
from jaxzoo.storage.imported import Record
from jaxzoo.storage.outputs import outputs_epochs, outputs_path, read_whole_outputs, save_outputs
from jaxzoo.storage.record import ZooRecord
from jaxzoo.storage.snapshots import Whole, read_whole_snapshot, save_snapshot, snapshot_path, snapshot_steps
from jaxzoo.storage.store_paths import AnyPath

Standing = TypeVar("Standing")


class Part(NamedTuple):
    """A step, or outputs, that an epoch should have: where it lies, whether it does, and how it is read whole.

    `step` is None of outputs.
    """

    epoch: int
    step: int | None
    path: AnyPath
    name: str
    there: bool
    read: Callable[[], Any]


def asked_of_cohort(record: Record, cohort: int) -> Asked:
    """What the spec of a zoo, or of its twins, asks of a cohort; nothing where the zoo was imported."""
    if not isinstance(record, ZooRecord):
        return Asked()
    return asked_of(record.spec, record.plan.cohorts[cohort].key, record.twin)


def keep_step(
    folder: Path,
    identity: Identity,
    moment: Moment,
    variables: Tree,
    metrics: Mapping[str, np.ndarray],
    *,
    save: Saver = save_checkpoint,
) -> None:
    """Saves the state after a step in a cohort's folder, or compares it with a whole one there. Raises InputError."""
    path = snapshot_path(folder, *moment)
    whole = standing(path, lambda: read_whole_snapshot(folder, moment.epoch, identity, moment.step))
    if whole is not None:
        compare(path, numbers_of(whole), {**variables, "metrics": dict(metrics)})
    else:
        save_snapshot(folder, moment.epoch, variables, dict(metrics), identity, moment.step, save=save)


def keep_outputs(folder: Path, identity: Identity, epoch: int, outputs: Tree, *, save: Saver = save_checkpoint) -> None:
    """Saves outputs in a cohort's folder, or compares them with whole ones there. Raises InputError."""
    path = outputs_path(folder, epoch)
    whole = standing(path, lambda: read_whole_outputs(folder, epoch, identity))
    if whole is not None:
        compare(path, whole, outputs)
    else:
        save_outputs(folder, epoch, outputs, identity, save=save)


def epochs_lacking(
    folder: Path, identity: Identity, asked: Asked, last: int, put_aside: Callable[[Path, str, Exception], None]
) -> set[int]:
    """The epochs up to `last` that lack a step or outputs, which are all read. What is damaged is put aside."""
    lacking = set()
    for part in parts_asked(folder, identity, asked):
        if part.epoch > last:
            continue
        try:
            if part.there:
                part.read()
            else:
                lacking.add(part.epoch)
        except DamagedError as error:
            lacking.add(part.epoch)
            assert isinstance(part.path, Path)  # as the folder is
            put_aside(part.path, f"{part.name} is damaged and is made again", error)
    return lacking


def parts_asked(folder: AnyPath, identity: Identity, asked: Asked) -> Iterator[Part]:
    """The steps within epochs, and the outputs, that are asked of a cohort."""
    steps, epochs = {*snapshot_steps(folder)}, {*outputs_epochs(folder)}
    for moment in asked.moments:
        read = functools.partial(read_whole_snapshot, folder, moment.epoch, identity, moment.step)
        yield Part(*moment, snapshot_path(folder, *moment), f"step {moment.step}", moment.step in steps, read)
    for epoch in asked.outputs:
        whole = functools.partial(read_whole_outputs, folder, epoch, identity)
        yield Part(epoch, None, outputs_path(folder, epoch), f"the outputs of epoch {epoch}", epoch in epochs, whole)


def standing(path: Path, read: Callable[[], Standing]) -> Standing | None:
    """What the disk holds whole of something that was just computed, or None. Sets aside what is damaged."""
    if path.name not in entries_of(path.parent):
        return None
    try:
        return read()
    except DamagedError:
        set_aside(path)
        return None


def numbers_of(whole: Whole) -> Tree:
    """The numbers of a snapshot, in the order of its checksum."""
    return {**whole.variables, "metrics": whole.metrics}


def compare(path: Path, whole: Tree, trained: Tree) -> None:
    """What is whole on disk is never replaced, so training again must come out the same. Raises InputError."""
    if checksum(whole) != checksum(trained):
        raise InputError(
            f"{path}: training it again gave other numbers than this whole snapshot holds, expected the same; it was "
            "made on another kind of device, or by another version"
        )
