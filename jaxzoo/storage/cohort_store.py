"""A cohort's folder, open for writing (see snapshots.py for what lies in it).

Nothing that reads whole is deleted, but what `kept` lets go. What is damaged is set aside and made again.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, ParamSpec, Self

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.spec.asked import Asked
from jaxzoo.spec.snapshots import Moment
from jaxzoo.storage.beside import compare, epochs_lacking, keep_outputs, keep_step, numbers_of, standing
from jaxzoo.storage.checkpoints import (
    ALL_ROWS,
    DamagedError,
    Tree,
    checksum,
    read_checkpoint,
    read_whole_checkpoint,
    save_checkpoint,
    saved_epochs,
)
from jaxzoo.storage.fenced import save_fenced
from jaxzoo.storage.files import reason, remove_folder, remove_leftovers, set_aside
from jaxzoo.storage.identity import PART, Identity
from jaxzoo.storage.leases import Lease
from jaxzoo.storage.locks import take_lock
from jaxzoo.storage.retention import KEPT_CHECKPOINTS
from jaxzoo.storage.snapshots import (
    metrics_path,
    read_kept_metrics,
    read_whole_snapshot,
    save_metrics,
    snapshot_epochs,
    snapshot_path,
)

Given = ParamSpec("Given")


class Saved(NamedTuple):
    """A cohort after an epoch: its `variables`, and the `leaves` of what only training that goes on needs, in order.

    `made` is what the epoch was made with, None where its snapshot does not say.
    """

    epoch: int
    variables: Tree
    leaves: list[np.ndarray]
    made: Tree | None


class Course(NamedTuple):
    """What is to be done with a cohort.

    Training goes on from `saved`, None for the untrained members, to the epoch `last`; None where nothing is to be
    made. `notes` has a line about each thing that a person should know.
    """

    saved: Saved | None
    last: int | None
    notes: list[str]


class CohortStore:
    """A cohort's folder, open for writing by one process. Saving goes on in the background.

    with CohortStore(folder, identity) as store:
        course = store.restore(last)
        store.save_step(moment, variables, metrics)
        store.save_outputs(epoch, outputs)
        store.save(epoch, variables, metrics, leaves)

    What belongs to an epoch, its steps and its outputs, is saved before the epoch: an epoch that is there has it all.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        kept: Sequence[int] | None = None,
        asked: Asked | None = None,
        lease: Lease | None = None,
        on_saved: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        """The weights of the epochs `kept`, by default of all, and of the last two stay.

        `asked` says what belongs to an epoch besides its snapshot. With a `lease` of the cohort it is not locked, and
        nothing appears there without the lease. `on_saved` is told the folder whenever something more is whole, by the
        thread that saves. Raises InputError.
        """
        self._on_saved = on_saved
        self._folder, self._identity, self._kept = folder, identity, kept
        self._lease = lease
        self._save_tree = save_checkpoint if lease is None else functools.partial(save_fenced, lease)
        self._asked = asked or Asked()
        self._notes: list[str] = []
        self._goes_on = True  # whether training may have to go on from what is saved now
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # held by a worker that stands still, a lock would keep out the one that takes its lease
            self._lock = None if lease is not None else take_lock(folder, self._notes)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({reason(error)}), expected a folder that can") from error
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="jaxzoo-save")
        self._saving: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the save that is under way, also after an exception. Raises InputError where the save failed."""
        try:
            self._writer.shutdown()
            self._finish()
        finally:
            if self._lock is not None:
                self._lock.release()

    def restore(self, last: int, *, repair: bool = False) -> Course:
        """Where training to the epoch `last` goes on.

        Sets damaged checkpoints aside. With `repair` every epoch is read whole, with its steps and outputs, and those
        that lack anything are made again. Where there is no epoch that training can go on from, it begins with the
        untrained members, and every epoch that is there is compared on the way. Raises InputError where files cannot be
        read, and where a snapshot is another's.
        """
        for part in ("snapshots", "steps", "outputs", "resume"):
            remove_leftovers(self._folder / part)
        held = [epoch for epoch in snapshot_epochs(self._folder) if epoch <= last]
        whole = self._whole_epochs(held, everyone=repair)
        self._goes_on = last not in whole
        newest = max(whole, default=-1)
        missing = [epoch for epoch in range(last + 1) if epoch not in whole and (repair or epoch > newest)]
        if repair and self._kept is not None:
            missing = [epoch for epoch in missing if epoch in self._kept or epoch > last - KEPT_CHECKPOINTS]
        if repair:
            lacking = epochs_lacking(self._folder, self._identity, self._asked, last, self._put_aside)
            missing = sorted({*missing, *lacking})
        if not missing:
            if newest >= 0:
                self._let_go(newest)  # as a run that was cut short after its last save did not
            return Course(None, None, self._notes)
        for epoch in sorted(whole, reverse=True):
            saved = self._read(epoch) if epoch < missing[0] else None
            if saved is not None:
                return Course(saved, missing[-1], self._notes)
        if newest > 0 and not repair:
            self._notes.append(
                f"{self._folder}: holds epochs up to {newest} of {last}, and no resume/ that training goes on from: "
                "it trains again from epoch 0, and compares every epoch that is there"
            )
        return Course(None, missing[-1], self._notes)

    def save(
        self, epoch: int, variables: Tree, metrics: Mapping[str, np.ndarray], leaves: Sequence[np.ndarray]
    ) -> None:
        """Starts to save an epoch, once the save before it is done. Raises InputError where that one failed.

        `variables` has "params", and "batch_stats" where networks have them.
        """
        self._begin(self._save, epoch, variables, dict(metrics), list(leaves))

    def save_step(self, moment: Moment, variables: Tree, metrics: Mapping[str, np.ndarray]) -> None:
        """Starts to save the state after a step within an epoch, as `save` does."""
        self._begin(keep_step, self._folder, self._identity, moment, variables, dict(metrics), save=self._save_tree)

    def save_outputs(self, epoch: int, outputs: Tree) -> None:
        """Starts to save the outputs, by kind and split, at the end of an epoch, as `save` does."""
        self._begin(keep_outputs, self._folder, self._identity, epoch, outputs, save=self._save_tree)

    def _begin(self, work: Callable[Given, None], *arguments: Given.args, **options: Given.kwargs) -> None:
        def work_and_tell() -> None:
            work(*arguments, **options)
            self._on_saved(self._folder)

        self._finish()
        self._saving = self._writer.submit(work_and_tell)

    def _finish(self) -> None:
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def _save(self, epoch: int, variables: Tree, metrics: Tree, leaves: list[np.ndarray]) -> None:
        """The snapshot comes second, so that an epoch that has one can be resumed."""
        if self._lease is not None:
            self._lease.check()  # before anything is removed, too
        snapshot = {**variables, "metrics": metrics, PART: self._identity.tree(epoch)}
        total = checksum(snapshot)
        path = snapshot_path(self._folder, epoch)
        whole = standing(path, lambda: read_whole_snapshot(self._folder, epoch, self._identity))
        if whole is not None:
            compare(path, numbers_of(whole), {**variables, "metrics": metrics})
            total = np.array(whole.checksum, np.uint32)
        if self._goes_on:
            resume = {"leaves": {f"{index:03d}": leaf for index, leaf in enumerate(leaves)}, "snapshot": total}
            beside = self._folder / "resume" / str(epoch)
            remove_folder(beside)  # of a run that was cut short before it saved the snapshot
            self._save_tree(beside, resume | {"checksum": checksum(resume)})
        if whole is None and self._stays(epoch, [epoch, *snapshot_epochs(self._folder)]):
            self._save_tree(path, snapshot | {"checksum": total})
        elif whole is None:
            self._save_metrics(epoch, metrics, snapshot[PART])
        self._let_go(epoch)

    def _save_metrics(self, epoch: int, metrics: Tree, identity: Tree) -> None:
        """Metrics that are there, of weights that were let go, are not replaced either, unless they are damaged."""
        path = metrics_path(self._folder, epoch)
        whole = standing(path, lambda: read_kept_metrics(self._folder, epoch, self._identity))
        if whole is None:
            save_metrics(self._folder, epoch, metrics, identity)
        else:
            compare(path, whole, metrics)

    def _stays(self, epoch: int, held: Sequence[int]) -> bool:
        """Whether the weights of an epoch stay, of those that are held."""
        return self._kept is None or epoch in self._kept or epoch in sorted({*held})[-KEPT_CHECKPOINTS:]

    def _let_go(self, epoch: int) -> None:
        """Lets go of what is not kept, now that an epoch is whole."""
        resumes = [each for each in saved_epochs(self._folder / "resume") if each <= epoch]
        for each in resumes[:-KEPT_CHECKPOINTS]:
            remove_folder(self._folder / "resume" / str(each))
        held = snapshot_epochs(self._folder)
        for each in held:
            if not self._stays(each, held):
                self._let_weights_go(each)

    def _let_weights_go(self, epoch: int) -> None:
        path = snapshot_path(self._folder, epoch)
        try:
            stored = read_checkpoint(path, {"metrics.": ALL_ROWS, f"{PART}.": ALL_ROWS})
            save_metrics(self._folder, epoch, stored["metrics"], stored.get(PART, {}))
        except (DamagedError, KeyError):
            set_aside(path)
            return
        remove_folder(path)

    def _whole_epochs(self, epochs: Sequence[int], *, everyone: bool) -> set[int]:
        """The epochs without those that are damaged. They are read from the last one down to a whole one, or all."""
        whole = {*epochs}
        for epoch in sorted(epochs, reverse=True):
            try:
                read_whole_snapshot(self._folder, epoch, self._identity)
                if not everyone:
                    break
            except DamagedError as error:
                whole.discard(epoch)
                self._put_aside(
                    snapshot_path(self._folder, epoch), f"epoch {epoch} is damaged and is made again", error
                )
        return whole

    def _read(self, epoch: int) -> Saved | None:
        """A whole epoch that training can go on from, None where it cannot go on from this one."""
        path = self._folder / "resume" / str(epoch)
        if epoch not in saved_epochs(path.parent):
            return None
        try:
            resume, _ = read_whole_checkpoint(path)
            snapshot = read_whole_snapshot(self._folder, epoch, self._identity)
            if int(resume.get("snapshot", snapshot.checksum)) != snapshot.checksum:  # the first format does not say
                raise DamagedError("it belongs to another snapshot")
            leaves = resume["leaves"]
        except (DamagedError, KeyError) as error:
            self._put_aside(path, f"what epoch {epoch} goes on from is damaged", error)
            return None
        return Saved(epoch, snapshot.variables, [leaves[index] for index in sorted(leaves)], snapshot.made)

    def _put_aside(self, path: Path, what: str, error: Exception) -> None:
        self._notes.append(f"{self._folder}: {what} ({error}); it now lies in {set_aside(path).name}")
