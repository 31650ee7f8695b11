"""Several workers that share a zoo's folder: each takes the next cohort that nobody makes and nobody has finished."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxzoo.errors import InputError
from jaxzoo.spec.plan import Cohort
from jaxzoo.storage.files import entries_of
from jaxzoo.storage.identity import changes_of_making
from jaxzoo.storage.leases import BEATS, LEASES, Lease, LeaseLost, Leases, worker_name
from jaxzoo.storage.locks import is_locked
from jaxzoo.storage.record import ZooRecord
from jaxzoo.storage.zoo_folder import cohort_folder
from jaxzoo.training.cohort import Run
from jaxzoo.training.events import Event, Interrupted, Notice, Trained
from jaxzoo.version import __version__

Make = Callable[[Cohort, Run], None]


class Work(NamedTuple):
    """What a call is to do with a cohort: `epochs` of it and `twin_epochs` of its twins, and whether all is done."""

    epochs: int
    twin_epochs: int
    done: Callable[[Cohort], bool]

    def samples(self, cohort: Cohort) -> int:
        """The training samples of a cohort and its twins."""
        return (self.epochs + self.twin_epochs) * cohort.samples


def share_cohorts(folder: Path, cohorts: Sequence[Cohort], work: Work, make: Make, run: Run, seconds: float) -> None:
    """Makes, one after the other, the cohorts that no other worker makes, until all of them are done.

    What a worker leaves that says nothing for the `seconds` of its lease is taken over. Raises Interrupted.
    """
    leases = Leases(folder, worker_name(), seconds)
    own: set[int] = set()
    for lease, cohort in _free_cohorts(leases, cohorts, work, own, run):
        if lease.before is not None:
            _note(run, folder, cohort, f"taken over from {lease.before.worker}, silent for {lease.before.seconds:g} s")
        with lease:
            try:
                make(cohort, _under(lease, cohort, work, run))
                own.add(cohort.number)
            except (LeaseLost, Interrupted) as ended:
                if isinstance(ended, Interrupted) and run.should_stop():
                    raise
                _note(run, folder, cohort, f"another worker has it: this one was silent for {seconds:g} s")
    what = "is whole" if len(cohorts) == run.cohorts else "the cohorts that were asked for are whole"
    run.on_event(Notice(f"{folder}: {what}; this worker, {leases.worker}, made {len(own)} of {len(cohorts)} cohorts"))


def _free_cohorts(
    leases: Leases, cohorts: Sequence[Cohort], work: Work, own: set[int], run: Run
) -> Iterator[tuple[Lease, Cohort]]:
    """Yields cohorts with their leases, and waits where others have all that is left. Raises Interrupted."""
    left = [*cohorts]
    while True:
        for cohort in [cohort for cohort in left if work.done(cohort)]:
            left.remove(cohort)
            if cohort.number not in own:
                run.on_event(Trained(cohort.number, run.cohorts, work.epochs, work.samples(cohort), restored=True))
        if not left:
            return
        taken = next(filter(None, (_take(leases, cohort, work) for cohort in left)), None)
        if taken is not None:
            yield taken
        elif _waited(leases.seconds / BEATS, run.should_stop):
            raise Interrupted(f"{leases.folder.parent}: stopped while others made the cohorts that are left")


def _take(leases: Leases, cohort: Cohort, work: Work) -> tuple[Lease, Cohort] | None:
    """The lease of a cohort that nobody makes, also none that shares nothing, and that is still not done."""
    lease = leases.take(cohort.number)
    if lease is None:
        return None
    if work.done(cohort) or is_locked(cohort_folder(leases.folder.parent, cohort.number)):
        with lease:  # which gives it back
            return None
    return lease, cohort


def _waited(seconds: float, should_stop: Callable[[], bool]) -> bool:
    """Waits, and returns whether an end is asked for."""
    until = time.monotonic() + seconds
    while not should_stop():
        if time.monotonic() >= until:
            return False
        time.sleep(min(0.2, seconds))
    return True


def _under(lease: Lease, cohort: Cohort, work: Work, run: Run) -> Run:
    """A run that tells by its lease what it does, and ends where that is lost."""
    started, total = time.monotonic(), work.samples(cohort)
    trained = {"now": 0, "before": 0}

    def tell(event: Event) -> None:
        if isinstance(event, Trained):
            trained["before" if event.restored else "now"] += event.samples
            seconds = time.monotonic() - started
            rate = trained["now"] / max(seconds, 1e-6)
            left = (total - trained["now"] - trained["before"]) / rate if rate else None
            lease.tell(epoch=event.epoch, twins=event.twins, seconds=seconds, rate=rate, left=left)
        run.on_event(event)

    lease.tell(jaxzoo=__version__, device=run.made.get("device"))
    return run._replace(lease=lease, on_event=tell, should_stop=lambda: lease.lost or run.should_stop())


def check_unshared(folder: Path, cohort: Cohort, should_stop: Callable[[], bool]) -> None:
    """Raises InputError where a worker that shares the zoo makes a cohort; one that is silent is waited for."""
    if not entries_of(folder / LEASES):
        return
    leases = Leases(folder, worker_name(), write=False)
    first = leases.look().get(cohort.number)
    since = time.monotonic()
    while first is not None and leases.look().get(cohort.number) == first:
        if time.monotonic() - since > first.seconds:
            return
        if _waited(first.seconds / BEATS, should_stop):
            raise Interrupted(f"{folder}: stopped while cohort {cohort.number} was watched")
    if leases.look().get(cohort.number) is not None:
        raise InputError(
            f"{folder}: cohort {cohort.number} is being made by a worker that shares the zoo, expected "
            "it to be free, or a call that shares the zoo as well"
        )


def tell_differences(folder: Path, record: ZooRecord, made: Mapping[str, Any], run: Run) -> None:
    """A line where this worker is another version, or on another kind of device, than the zoo was begun with."""
    begun = {"jaxzoo": record.made.versions.get("jaxzoo"), "device": record.made.device}
    changed = changes_of_making(begun, {"jaxzoo": __version__, "device": made["device"]})
    if changed:
        run.on_event(Notice(f"{folder}: this worker has {changed}: its cohorts may differ in their last bits"))


def _note(run: Run, folder: Path, cohort: Cohort, text: str) -> None:
    run.on_event(Notice(f"{folder}: cohort {cohort.number}: {text}"))
