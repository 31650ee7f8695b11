"""The checks of a call, made before anything is trained or written: which zoo is meant, and what is wrong with it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxzoo.datasets import Images
from jaxzoo.errors import InputError
from jaxzoo.models.engines import ENGINES, engines_for
from jaxzoo.paths import lasting_path
from jaxzoo.spec.factors import batch_sizes, least_examples
from jaxzoo.spec.layers import Dropout, each_layer
from jaxzoo.spec.plan import Cohort, Plan, plan_zoo
from jaxzoo.spec.tables import differences
from jaxzoo.spec.twin_spec import NO_TWINS, TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec, spec_differences
from jaxzoo.storage.licence import check_licence
from jaxzoo.storage.record import ZooRecord, read_record
from jaxzoo.storage.retention import ALL, Keep, ZooBytes, check_space, kept_epochs, kept_of_twins
from jaxzoo.storage.snapshots import snapshot_epochs
from jaxzoo.storage.zoo_folder import cohort_folder, find_record, twins_folder
from jaxzoo.training.sizes import cohort_bytes

AUTO = "auto"


class Job(NamedTuple):
    """A call that was checked: the zoo to make in `folder`, the cohorts of it, and how.

    `begun` is the record of the zoo where one was begun in the folder. `plan` is that of `begun`, else of the spec that
    was asked for. `cohorts` are the numbers of those to make, None for all. `twin` says how twins are made, None for no
    twins. `kept` has the epochs whose weights stay on disk besides the last two, None for all. With `repair`, missing
    and damaged epochs are made again. `licence` is what the zoo is to say of its licence, None for what it says.
    """

    folder: Path
    plan: Plan
    begun: ZooRecord | None
    cohorts: range | None
    twin: TwinSpec | None
    kept: tuple[int, ...] | None = None
    engine: str | None = None
    lanes: int | None = None
    repair: bool = False
    licence: str | None = None

    @property
    def chosen(self) -> Sequence[Cohort]:
        """The cohorts to make."""
        return choose_cohorts(self.plan, self.cohorts)


def check_generate(
    spec: ZooSpec,
    out: str | Path,
    *,
    models: int | None = None,
    epochs: int | None = None,
    engine: str | None = None,
    lanes: int | None = None,
    cohorts: range | None = None,
    twins: str | TwinSpec | None = None,
    keep_epochs: Keep | None = None,
    licence: str | None = None,
    repair: bool = False,
) -> Job:
    """Checks a call of `jaxzoo.generate` in an instant, before images are loaded. Raises InputError."""
    folder = lasting_path(out)
    spec = restrict(spec, models=models, epochs=epochs)
    kept = kept_epochs(keep_epochs or ALL, spec.epochs)
    licence = None if licence is None else check_licence(licence)
    check_trainable(spec, engine)
    begun = find_record(folder)
    twin = choose_twins(spec, twins)
    if twin is not None and not (isinstance(twins, TwinSpec) and twins.epochs):
        twin = _with_usual_length(folder, twin, spec)
    _check_engine(folder, begun, engine, lanes)
    if begun is not None:
        _check_same_spec(folder, begun.spec, spec)
        if keep_epochs is not None and kept != begun.kept:
            raise InputError(f"{folder}: was begun with kept epochs {begun.kept}, got {kept}, expected the same")
        kept = begun.kept
    if twin is not None:
        _check_twins(folder, spec, twin)
    plan = plan_zoo(spec) if begun is None else begun.plan
    job = Job(folder, plan, begun, cohorts, twin, kept, engine, lanes, repair, licence)
    check_space(folder, *space_of(job))
    return job


def space_of(job: Job) -> list[ZooBytes]:
    """What the cohorts of a call take on disk, and then their twins, if there are any."""
    spec, twin = job.plan.spec, job.twin
    parts = [ZooBytes([cohort_bytes(cohort) for cohort in job.chosen], spec.epochs, job.kept)]
    if twin is not None:
        cohorts = [cohort_bytes(cohort, twin) for cohort in job.chosen]
        parts.append(ZooBytes(cohorts, twin.length, kept_of_twins(job.kept, twin)))
    return parts


def check_make_twins(zoo: str | Path, twin: TwinSpec, cohorts: range | None = None, *, repair: bool = False) -> Job:
    """Checks a call of `jaxzoo.make_twins`: the zoo is dense, and the cohorts are finished. Raises InputError."""
    folder = lasting_path(zoo)
    record = read_record(folder)
    if record.twin is not None:
        raise InputError(f"{folder}: is a zoo of twins, expected a dense one")
    twin = twin if twin.epochs else _with_usual_length(folder, twin, record.spec)
    job = Job(folder, record.plan, record, cohorts, twin, record.kept, repair=repair)
    for cohort in job.chosen:
        epochs = snapshot_epochs(cohort_folder(folder, cohort.number))
        if record.spec.epochs not in epochs:
            got = f"epochs up to {epochs[-1]}" if epochs else "no epoch"
            raise InputError(
                f"{folder}: cohort {cohort.number} holds {got}, expected it finished ({record.spec.epochs})"
            )
    _check_twins(folder, record.spec, twin)
    return job


def choose_twins(spec: ZooSpec, twins: str | TwinSpec | None) -> TwinSpec | None:
    """How twins are made: as given, by a method with the spec's settings, or as the spec says. Raises InputError."""
    if twins is None:
        return spec.twins
    if isinstance(twins, TwinSpec):
        return twins
    return None if twins == NO_TWINS else dataclasses.replace(spec.twins or TwinSpec(), method=twins)


def _with_usual_length(folder: Path, twin: TwinSpec, spec: ZooSpec) -> TwinSpec:
    """How twins are made whose epochs a call does not say: as many as were begun, or as the zoo's spec says."""
    begun = find_record(twins_folder(folder, twin.method))
    usual = (begun.twin if begun is not None else None) or spec.twins or TwinSpec()
    return dataclasses.replace(twin, epochs=usual.length)


def restrict(spec: ZooSpec, *, models: int | None = None, epochs: int | None = None) -> ZooSpec:
    """The spec with another number of models or epochs. Raises InputError for more models than the grid gives.

    Where epochs are fewer than the spec's, its twins have no more than these.
    """
    twins = spec.twins
    if twins is not None and epochs is not None and 1 <= epochs < spec.epochs:
        twins = dataclasses.replace(twins, epochs=min(twins.length, epochs))
    spec = dataclasses.replace(
        spec,
        models=spec.models if models is None else models,
        epochs=spec.epochs if epochs is None else epochs,
        twins=twins,
    )
    most = spec.population_size
    if spec.models is not None and spec.models > most:
        raise InputError(
            f"zoo {spec.name!r}: models is {spec.models}, expected 1..{most}, what its grid and seeds give"
        )
    return spec


def choose_cohorts(plan: Plan, cohorts: range | None) -> Sequence[Cohort]:
    """The cohorts of a range of numbers, all without one. Raises InputError for numbers that the plan does not have."""
    if cohorts is None:
        return plan.cohorts
    if not 0 <= cohorts.start < cohorts.stop <= len(plan.cohorts):
        got = f"{cohorts.start}:{cohorts.stop}"
        raise InputError(f"zoo {plan.spec.name!r}: cohorts are {got}, expected a part of 0:{len(plan.cohorts)}")
    return plan.cohorts[cohorts.start : cohorts.stop]


def check_trainable(spec: ZooSpec, engine: str | None) -> None:
    """Raises InputError for dropout in a network without dropout layers, and for an engine without its kernels."""
    dropout = spec.values("dropout")
    if any(dropout) and not any(isinstance(layer, Dropout) for layer in each_layer(spec.layers)):
        raise InputError(f"zoo {spec.name!r}: dropout is {dropout}, expected 0: {spec.architecture} has none")
    known = engines_for(spec.layers, spec.precision)
    if engine in ENGINES and engine not in known:
        what = f"{spec.architecture} in {spec.precision}"
        raise InputError(f"zoo {spec.name!r}: engine is {engine!r}, expected {' or '.join(known)} for {what}")


def check_examples(spec: ZooSpec, images: Images) -> None:
    """Raises InputError where a class that is left out may leave a member less than a batch."""
    classes = [number for number in spec.values("excluded_class") if number >= 0]
    counts = np.bincount(images.train.labels, minlength=spec.dataset.classes)
    gone = max((int(counts[number]) for number in classes), default=0)
    least, batch = least_examples(spec) - gone, max(batch_sizes(spec))
    if least < batch:
        raise InputError(
            f"zoo {spec.name!r}: excluded_class may leave {max(least, 0)} examples, expected a batch of {batch} or more"
        )


def _check_twins(folder: Path, spec: ZooSpec, twin: TwinSpec) -> None:
    """Raises InputError where twins by the method of `twin` are there under other settings, or only warm up."""
    warmup = spec.schedule.values.get("warmup", 0.0)  # in their epochs, which the schedule spans anew
    if warmup >= twin.length:
        got = f"zoo {spec.name!r}: schedule.warmup is {warmup}"
        raise InputError(f"{got}, expected less than the {twin.length} epochs of its twins")
    twins = twins_folder(folder, twin.method)
    begun = find_record(twins)
    if begun is None:
        return
    if begun.twin is None:
        raise InputError(f"{twins}: holds a dense zoo, expected twins by {twin.method}")
    differing = differences(begun.twin.used, twin.used)
    if differing:
        raise InputError(f"{twins}: was begun as other twins: {differing}; expected the same")


def _check_engine(folder: Path, begun: ZooRecord | None, engine: str | None, lanes: int | None) -> None:
    if engine not in (None, AUTO, *ENGINES):
        raise InputError(f"engine is {engine!r}, expected one of: {', '.join((AUTO, *ENGINES))}")
    if lanes is not None and lanes < 1:
        raise InputError(f"lanes is {lanes}, expected 1 or more")
    if lanes is not None and engine == AUTO:
        raise InputError(f"lanes is {lanes} and engine 'auto', which chooses the lanes; expected one of the two")
    if begun is None:
        return
    for way in begun.cohorts:
        if engine not in (None, AUTO, way.engine):
            raise InputError(f"{folder}: was begun with engine {way.engine!r}, got {engine!r}, expected the same")
        if lanes not in (None, way.lanes):
            raise InputError(f"{folder}: was begun with {way.lanes} lanes, got {lanes}, expected the same")


def _check_same_spec(folder: Path, begun: ZooSpec, wanted: ZooSpec) -> None:
    differing = spec_differences(begun, wanted)
    if differing:
        raise InputError(f"{folder}: holds another zoo: {differing}; expected the same or another folder")
