"""How far a zoo is that others make, as its folder shows it."""

import contextlib
from collections.abc import Callable

from jaxzoo.errors import InputError
from jaxzoo.spec.plan import Cohort
from jaxzoo.storage.snapshots import read_metrics
from jaxzoo.storage.zoo_folder import cohort_folder, twins_folder
from jaxzoo.training.events import EpochSaved, Event, Trained
from jaxzoo.training.job import Job


class Watch:
    """Tells of the epochs that appear in the folder of a zoo. What is there at the beginning is told as restored."""

    def __init__(self, job: Job, on_event: Callable[[Event], None]) -> None:
        """`job` is that of a zoo which was begun."""
        self._job, self._on_event = job, on_event
        self._done: dict[tuple[int, bool], int] = {}
        self.look()

    def finished(self, cohort: Cohort) -> bool:
        """Whether the cohort and its twins were at their last epoch at the last look."""
        job = self._job
        dense = self._done[cohort.number, False] >= job.plan.spec.epochs
        return dense and (job.twin is None or self._done[cohort.number, True] >= job.twin.length)

    def look(self) -> None:
        """Tells of what is new since the last look."""
        for cohort in self._job.chosen:
            self._look_at(cohort, twins=False)
            if self._job.twin is not None:
                self._look_at(cohort, twins=True)

    def _look_at(self, cohort: Cohort, *, twins: bool) -> None:
        job, key = self._job, (cohort.number, twins)
        last = job.twin.length if twins and job.twin is not None else job.plan.spec.epochs
        before = self._done.get(key)
        if before is not None and before >= last:
            return
        held = [epoch for epoch in job.held(cohort, job.twin if twins else None) if epoch <= last]
        newest = max(held, default=0)
        self._done[key] = max(newest, before or 0)
        if before is None:
            samples = newest * cohort.samples
            self._on_event(Trained(cohort.number, len(job.plan.cohorts), newest, samples, restored=True, twins=twins))
        elif newest > before:
            folder = job.folder if not twins or job.twin is None else twins_folder(job.folder, job.twin.method)
            with contextlib.suppress(InputError):  # whoever makes the cohort may just have let go of the epoch
                metrics = read_metrics(cohort_folder(folder, cohort.number), newest)
                self._on_event(EpochSaved(cohort.number, newest, metrics, twins))
            samples = (newest - before) * cohort.samples
            self._on_event(Trained(cohort.number, len(job.plan.cohorts), newest, samples, twins=twins))
