"""Whether a zoo on disk is whole: what is missing, what is damaged, and what belongs to another zoo."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxzoo.errors import InputError
from jaxzoo.paths import is_litter
from jaxzoo.reading.verify_numbers import check_numbers, check_outputs
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.spec.asked import Asked
from jaxzoo.storage.beside import asked_of_cohort, parts_asked
from jaxzoo.storage.checkpoints import DamagedError, read_whole_checkpoint, saved_epochs
from jaxzoo.storage.files import DAMAGED, DELETING, PARTIAL, entries_of
from jaxzoo.storage.identity import Identity, changes_of_making, identity_of
from jaxzoo.storage.orbax_saving import TEMPORARY
from jaxzoo.storage.outputs import outputs_epochs
from jaxzoo.storage.snapshots import (
    check_identity,
    metrics_epochs,
    parent_checksum,
    read_metrics,
    read_whole_snapshot,
    snapshot_epochs,
    snapshot_path,
    snapshot_steps,
)
from jaxzoo.storage.store_paths import AnyPath
from jaxzoo.storage.zoo_folder import cohort_folder

LEFT = {
    DAMAGED: "was damaged and set aside; it may be removed",
    TEMPORARY: "is left of a save that was cut short; it may be removed while nothing is running",
    DELETING: "is left of a removal that was cut short; it may be removed",
    PARTIAL: "is left of a file that was cut short; it may be removed while nothing is running",
}


def verify_zoo(
    path: str | Path,
    *,
    deep: bool = False,
    on_checked: Callable[[int], None] = lambda states: None,
    on_note: Callable[[str], None] = lambda line: None,
) -> Iterator[str]:
    """Yields a line about everything that is wrong with a zoo and its twins.

    Holds every epoch's identity to the zoo, and twins to their parents. With `deep` every number is read: checksums,
    shapes, and whether `finite` says what the weights are. `on_checked` hears how many model states were checked, and
    `on_note` of what is not wrong but good to know: where a cohort went on with other kernels, or on another device.
    Raises InputError where there is no zoo, or where its description cannot be used.
    """
    zoo = open_zoo(path)
    yield from _verify(zoo, None, deep, on_checked, on_note)
    for twins in zoo.twins.values():
        yield from _verify(twins, zoo, deep, on_checked, on_note)


def _verify(
    zoo: Zoo, parent: Zoo | None, deep: bool, on_checked: Callable[[int], None], on_note: Callable[[str], None]
) -> Iterator[str]:
    known = {cohort_folder(zoo.path, number).name for number in zoo.cohorts}
    strangers = {name for name in entries_of(zoo.path / "cohorts") if not is_litter(name)} - known
    for name in sorted(strangers):
        yield f"{zoo.path / 'cohorts' / name}: is no cohort of the zoo"
    yield from _left_behind(zoo.path)
    for number, members in zoo.cohorts.items():
        folder, own = cohort_folder(zoo.path, number), zoo.of_models([member.model for member in members])
        begins_from = None
        if parent is not None and snapshot_epochs(folder):
            try:
                begins_from = _begins_from(zoo, parent, number)
            except InputError as error:
                yield f"{folder}: its parents cannot be checked: {error}"
        identity = identity_of(zoo.record, number, members, {}, begins_from)
        yield from _missing(zoo, folder, older=parent is not None and _epoch_of(zoo, parent) < parent.record.epochs)
        for part in ("snapshots", "resume", "metrics", "steps", "outputs"):
            yield from _left_behind(folder / part)
        made: dict[int, Mapping[str, Any]] = {}
        for epoch in metrics_epochs(folder):
            yield from _check_epoch(own, folder, epoch, identity, deep, made)
            on_checked(len(members))
        for line in _changes(made):
            on_note(f"{folder}: {line}")
        yield from _check_beside(own, folder, asked_of_cohort(zoo.record, number), identity, deep)
        for _ in snapshot_steps(folder):
            on_checked(len(members))
        if deep:
            yield from _check_resumes(folder)


def _epoch_of(twins: Zoo, parent: Zoo) -> int:
    """The epoch of their zoo that twins begin from; those of imported zoos do not say, and begin from the last one."""
    return parent.record.epochs if twins.record.parent is None else twins.record.parent.epoch


def _begins_from(twins: Zoo, parent: Zoo, cohort: int) -> int | None:
    """The checksum of the snapshot that a cohort of twins begins from, None where its weights were let go since."""
    epoch = _epoch_of(twins, parent)
    if epoch not in parent.record.weights_expected(parent.record.epochs):
        return None
    return parent_checksum(cohort_folder(parent.path, cohort), epoch)


def _left_behind(folder: AnyPath) -> Iterator[str]:
    for name in sorted(entries_of(folder)):
        for mark, text in LEFT.items():
            if mark in name:
                yield f"{folder / name}: {text}"


def _missing(zoo: Zoo, folder: AnyPath, *, older: bool) -> Iterator[str]:
    """Lines about what a cohort lacks. No run goes on with `older` twins: they need not be finished."""
    last = max(zoo.record.weights_expected(zoo.record.epochs))
    held, with_metrics = snapshot_epochs(folder), metrics_epochs(folder)
    beyond = [epoch for epoch in with_metrics if epoch > zoo.record.epochs]
    if beyond:
        yield f"{folder}: holds epochs {_list(beyond)}, expected epochs up to {zoo.record.epochs}"
    newest = max((epoch for epoch in held if epoch <= last), default=-1)
    if newest < last and not older:
        got = f"epochs up to {newest}" if held else "no epoch"
        yield f"{folder}: is unfinished: holds {got} of {last}"
    lost = sorted(zoo.record.weights_expected(newest) - {*held})
    if lost:
        yield f"{folder}: the weights of epochs {_list(lost)} are missing; repair makes them again"
    until = zoo.record.epochs if newest == last else newest
    curves = sorted(zoo.record.metrics_expected(until) - {*with_metrics} - {*lost})
    if curves:
        yield f"{folder}: the metrics of epochs {_list(curves)} are missing"


def _changes(made: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """Lines about epochs that were made with something else than the one before them."""
    for before, epoch in itertools.pairwise(sorted(made)):
        changed = changes_of_making(made[before], made[epoch])
        if changed:
            yield f"from epoch {epoch} on made with {changed}: last bits may differ from those of one run"


def _check_epoch(
    zoo: Zoo, folder: AnyPath, epoch: int, identity: Identity, deep: bool, made: dict[int, Mapping[str, Any]]
) -> Iterator[str]:
    """Lines about an epoch. `made` gets what its snapshot says that it was made with."""
    path = snapshot_path(folder, epoch)
    if path.is_dir():
        with contextlib.suppress(DamagedError, InputError):  # a line below says it
            made[epoch] = check_identity(path, identity, epoch) or {}
    if not deep or not path.is_dir():
        yield from _lines_of(path, lambda: read_metrics(folder, epoch, identity), lambda metrics: ())
        return
    yield from _lines_of(
        path,
        lambda: read_whole_snapshot(folder, epoch, identity),
        lambda whole: check_numbers(zoo, whole, len(identity.rows), "train_loss"),
    )


def _lines_of(path: AnyPath, read: Callable[[], Any], check: Callable[[Any], Iterable[str]]) -> Iterator[str]:
    """Why something cannot be read, or what is wrong with what was read."""
    try:
        found = read()
    except DamagedError as error:
        yield f"{path}: is damaged: {error}; repair makes it again"
    except InputError as error:
        yield str(error)
    else:
        yield from (f"{path}: {finding}" for finding in check(found))


def _check_beside(zoo: Zoo, folder: AnyPath, asked: Asked, identity: Identity, deep: bool) -> Iterator[str]:
    """What is wrong with the steps and the outputs of a cohort."""
    unasked = {
        "steps": {*snapshot_steps(folder)} - {moment.step for moment in asked.moments},
        "outputs of epochs": {*outputs_epochs(folder)} - {*asked.outputs},
    }
    yield from (
        f"{folder}: holds {what} {_list(sorted(them))}, expected none" for what, them in unasked.items() if them
    )
    newest = max(metrics_epochs(folder), default=-1)
    models = len(identity.rows)
    for part in parts_asked(folder, identity, asked):
        if not part.there:
            if part.epoch <= newest:
                yield f"{folder}: {part.name} is missing; repair makes it again"
        elif not deep:
            held = functools.partial(check_identity, part.path, identity, part.epoch, part.step)
            yield from _lines_of(part.path, held, lambda nothing: ())
        elif part.step is None:
            yield from _lines_of(part.path, part.read, lambda outputs: check_outputs(zoo, outputs, models))
        else:
            yield from _lines_of(part.path, part.read, lambda whole: check_numbers(zoo, whole, models, "heldout_loss"))


def _check_resumes(folder: AnyPath) -> Iterator[str]:
    for epoch in saved_epochs(folder / "resume"):
        path = folder / "resume" / str(epoch)
        try:
            read_whole_checkpoint(path)
        except DamagedError as error:
            yield f"{path}: is damaged: {error}"
        except InputError as error:
            yield str(error)


def _list(epochs: Sequence[int]) -> str:
    shown = ", ".join(map(str, epochs[:8]))
    return shown if len(epochs) <= 8 else f"{shown} and {len(epochs) - 8} more"
