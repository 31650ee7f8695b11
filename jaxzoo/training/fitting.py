"""Whether the memory of the devices holds every cohort of a call, looked at before any of them starts."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from jax.sharding import Mesh

from jaxzoo.errors import InputError
from jaxzoo.spec.layers import Layers
from jaxzoo.spec.plan import Cohort, CohortKey, Plan, plan_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.record import ZooRecord
from jaxzoo.training.job import Job, choose_cohorts
from jaxzoo.training.memory import Kind, models_that_fit
from jaxzoo.training.tuning import Choice


def fit_cohorts(job: Job, ways: Mapping[Layers, Choice], mesh: Mesh, on_note: Callable[[str], None]) -> Plan:
    """The plan of a new zoo, with smaller cohorts where the devices' memory does not hold the spec's.

    Where only some cohorts are asked for they stay as they are: other machines count on the same cohorts. Raises
    InputError where they do not fit then, and where not one slab does.
    """
    kinds = [
        Kind(key, *ways[key.layers][:2], mesh, twin) for key in _keys(job.chosen) for twin in _with_twins(job.twin)
    ]
    largest = _largest(job.chosen)
    most = models_that_fit(kinds, largest, with_orders=keeps_steps(job.plan.spec))
    if largest <= most:
        return job.plan
    if job.cohorts is not None:
        raise InputError(f"a cohort has {largest} models, expected at most {most} here: a cohort_size in the config")
    on_note(f"cohorts of {most} models, not {largest}: what the memory here holds")
    return plan_zoo(dataclasses.replace(job.plan.spec, cohort_size=most), form=job.plan.form)


def check_memory(job: Job, record: ZooRecord, mesh: Mesh, *, dense: bool = True) -> None:
    """Raises InputError where the devices do not hold one of the cohorts that a begun zoo has still to train.

    What is finished is not compiled: running a finished zoo again is quick.
    """
    kinds, cohorts = kinds_to_train(job, record, mesh, dense=dense)
    if not kinds:
        return
    largest = _largest(cohorts)
    most = models_that_fit([*dict.fromkeys(kinds)], largest, with_orders=keeps_steps(record.spec))
    if largest > most:
        raise InputError(f"a cohort has {largest} models, expected at most {most}, what the memory here holds")


def kinds_to_train(
    job: Job, record: ZooRecord, mesh: Mesh, *, dense: bool = True
) -> tuple[list[Kind], Sequence[Cohort]]:
    """The kinds of what a call has still to train, in that order, and their cohorts. Without `dense` twins alone."""
    kinds, unfinished = [], []
    for cohort in choose_cohorts(record.plan, job.cohorts):
        way = record.cohorts[cohort.number]
        for twin in _with_twins(job.twin):
            finished = job.finished(cohort, twin) and not job.repair
            if not finished and (dense or twin is not None):
                kinds.append(Kind(cohort.key, way.engine, way.lanes, mesh, twin))
                unfinished.append(cohort)
    return kinds, unfinished


def keeps_steps(spec: ZooSpec) -> bool:
    """Whether training pauses within epochs, with every slab of a cohort in the middle of one."""
    return spec.snapshots is not None and spec.snapshots.asked


def _keys(cohorts: Sequence[Cohort]) -> Sequence[CohortKey]:
    return [*dict.fromkeys(cohort.key for cohort in cohorts)]


def _with_twins(twin: TwinSpec | None) -> Sequence[TwinSpec | None]:
    return (None,) if twin is None else (None, twin)


def _largest(cohorts: Sequence[Cohort]) -> int:
    return max((len(cohort.members) for cohort in cohorts), default=0)
