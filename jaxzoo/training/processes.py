"""The processes that JAX runs as one cluster (`jax.distributed`): each makes its share of a zoo's cohorts.

They share the zoo's folder and nothing else. No training step has a collective, and once the zoo is begun none waits
for another.
"""

import time
from collections.abc import Callable

import jax

from jaxzoo.errors import InputError
from jaxzoo.training.job import Job

PATIENCE = 3600.0  # seconds; whoever begins a zoo may have to fetch its images and to measure engines before
LOOK = 0.5  # seconds between two looks at the folder


def share_of(job: Job) -> Job:
    """The job with those of its cohorts that are this process's: every N-th, where JAX runs N processes.

    Raises InputError where there are more processes than cohorts.
    """
    processes = jax.process_count()
    numbers = range(len(job.plan.cohorts)) if job.cohorts is None else job.cohorts
    if processes == 1 or job.share is not None:  # who shares takes what is free
        return job
    if len(job.chosen) < processes:
        got = f"{processes} processes for {len(job.chosen)} cohorts"
        raise InputError(f"zoo {job.plan.spec.name!r}: {got}, expected at most one process for each")
    return job._replace(cohorts=numbers[jax.process_index() :: processes])


def shared_out(job: Job, check: Callable[[], Job], begin: Callable[[Job], None]) -> Job:
    """The job of this process, of a zoo that the first process has begun, or grown, where there are several.

    Only one process chooses how a zoo is trained: measured twice, that may come out otherwise. The others wait.
    `check()` gives the job as it stands now, `begin(job)` writes what describes the zoo. Raises InputError where that
    takes too long, and where there are more processes than cohorts.
    """
    if jax.process_count() == 1:
        return job
    share_of(job)  # before anything is written
    if jax.process_index() == 0:
        if _unbegun(job):
            begin(job)
        return share_of(check())
    until = time.monotonic() + PATIENCE
    while _unbegun(job):
        if time.monotonic() > until:
            what = "is not begun" if job.begun is None else "has not grown"
            raise InputError(f"{job.folder}: {what} after {PATIENCE:,.0f} s, expected that process 0 does that")
        time.sleep(LOOK)
        job = check()
    return share_of(job)


def _unbegun(job: Job) -> bool:
    """Whether zoo.json has still to be written, or to grow, or twins to make room for those of a later epoch."""
    return job.begun is None or job.wanted is not None or job.anew
