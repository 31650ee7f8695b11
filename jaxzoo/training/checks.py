"""The checks of a call, made before anything is trained or written: which zoo is meant, and what is wrong with it."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.datasets import Images
from jaxzoo.errors import InputError
from jaxzoo.models.engines import ENGINES, engines_for
from jaxzoo.spec.asked import kept_with_ends
from jaxzoo.spec.factors import batch_sizes, least_examples
from jaxzoo.spec.form import Form, form_of_word, form_word, settled_form
from jaxzoo.spec.layers import Dropout, each_layer
from jaxzoo.spec.plan import Plan, plan_zoo, steps_of
from jaxzoo.spec.snapshots import LAST_STEP
from jaxzoo.spec.tables import differences
from jaxzoo.spec.twin_spec import NO_TWINS, TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.growth import grown_record
from jaxzoo.storage.licence import check_licence
from jaxzoo.storage.modules import check_module, with_module, with_network
from jaxzoo.storage.record import ZooRecord, read_record
from jaxzoo.storage.retention import ALL, Keep, ZooBytes, check_space, kept_epochs, kept_of_twins
from jaxzoo.storage.staging import staged
from jaxzoo.storage.store_paths import AnyPath
from jaxzoo.storage.targets import Target
from jaxzoo.storage.twins_folders import (
    check_parent,
    check_room,
    of_earlier_epoch,
    older_folder,
    set_apart,
)
from jaxzoo.storage.zoo_folder import find_record, twins_folder
from jaxzoo.training.job import Job
from jaxzoo.training.module_checks import check_batches, check_module_spec
from jaxzoo.training.sizes import cohort_bytes

AUTO = "auto"
DRIVE = Path("/content/drive")  # where Colab mounts Google Drive
LEAST_LEASE, MOST_LEASE = 1.0, 3600.0  # seconds


def check_generate(
    spec: ZooSpec,
    out: str | Path,
    *,
    stage: str | Path | None = None,
    models: int | None = None,
    epochs: int | None = None,
    engine: str | None = None,
    lanes: int | None = None,
    cohorts: range | None = None,
    twins: str | TwinSpec | None = None,
    keep_epochs: Keep | None = None,
    licence: str | None = None,
    repair: bool = False,
    network: Any = None,
    form: str | Form | None = None,
    share: float | None = None,
) -> Job:
    """Checks a call of `jaxzoo.generate` in an instant, before images are loaded. Raises InputError.

    Where the network is a Flax module, that takes a second: its logits are computed. Where the zoo is in a bucket, or
    is written through a stage, what describes it is fetched.
    """
    folder, target = staged(out, stage)
    _check_staged(target, repair=repair)
    _check_share(folder, share, target, repair=repair)
    named = folder if target is None else target.root
    spec = with_network(spec, network)
    found = find_record(folder)
    check_module(named, found, spec)
    spec = restrict(spec, models=models, epochs=epochs)
    kept = kept_epochs(keep_epochs or ALL, spec.epochs)
    licence = None if licence is None else check_licence(licence)
    check_trainable(spec, engine)
    found = None if found is None else with_module(named, found, spec.network)
    begun = None if found is None else grown_record(named, found, spec)
    twin = choose_twins(spec, twins)
    _check_engine(named, begun, engine, lanes)
    asked = None if form is None else settled_form(spec, form_of_word(form))
    _check_form(named, begun, spec, engine, asked)
    plan = plan_zoo(spec, form=asked or ()) if begun is None else begun.plan
    check_batches(plan)
    _check_steps(plan)
    kept = kept_with_ends(kept, plan)
    if begun is not None:
        if keep_epochs is not None and kept != begun.kept:
            raise InputError(f"{named}: was begun with kept epochs {begun.kept}, got {kept}, expected the same")
        kept = begun.kept
    wanted = None if begun is found else spec
    job = Job(folder, plan, begun, cohorts, None, kept, engine, lanes, repair, licence, wanted, False, asked, share)
    job = job._replace(target=target)
    if twin is not None:
        job = _with_twins(job, twin, spec, length_said=isinstance(twins, TwinSpec) and twins.epochs is not None)
    _check_room(job)
    return job


def _check_share(folder: Path, share: float | None, target: Target | None, *, repair: bool) -> None:
    """Raises InputError for a lease of no length, a zoo to repair, and a place that no two machines can share."""
    if share is None:
        return
    if not LEAST_LEASE <= share <= MOST_LEASE:
        raise InputError(f"lease is {share:g} seconds, expected {LEAST_LEASE:g} to {MOST_LEASE:g}")
    if repair:
        raise InputError(f"{folder}: a zoo is repaired by one call alone, expected repair or share")
    if target is not None:
        raise InputError(f"{target}: share is asked for, expected a zoo in a folder, without a stage")
    if folder.is_relative_to(DRIVE):
        raise InputError(f"{folder}: is on Google Drive, where no lease holds; expected other cohorts on each machine")


def _check_staged(target: Target | None, *, repair: bool) -> None:
    if target is not None and repair:
        raise InputError(f"{target}: repair is asked for, expected a zoo in a folder, without a stage")


def _check_room(job: Job) -> None:
    """Raises InputError where a disk obviously cannot hold a zoo and its twins. A stage holds the last epochs alone."""
    space = space_of(job)
    if job.target is None:
        check_space(job.folder, *space, apart=set_apart(job.folder, job.begun))
        return
    check_space(job.folder, *(part.smallest for part in space))
    if isinstance(job.target.root, Path):
        check_space(job.target.root, *space)


def _with_twins(job: Job, twin: TwinSpec, spec: ZooSpec, *, length_said: bool) -> Job:
    """The job of a call for a zoo of that spec, with its twins. Raises InputError.

    A call for fewer epochs than the zoo has asked for twins of that earlier epoch, and makes none where they are there.
    So the calls that a zoo has grown by may be made again in any order.
    """
    begun = find_record(twins_folder(job.folder, twin.method))
    anew = begun is not None and job.begun is not None and of_earlier_epoch(begun, job.begun)
    older = older_folder(job.folder, twin.method, spec.epochs)
    if spec.epochs < job.plan.spec.epochs and (anew or find_record(older) is not None):
        return job
    usual = spec.twins if anew or begun is None else begun.twin
    job = job._replace(twin=twin if length_said else _of_usual_length(twin, usual), anew=anew)
    _check_twins(job, begun)
    return job


def space_of(job: Job) -> list[ZooBytes]:
    """What the cohorts of a call take on disk, and then their twins, if there are any."""
    spec, twin = job.plan.spec, job.twin
    least = kept_with_ends((), job.plan) or ()
    parts = [ZooBytes([cohort_bytes(spec, cohort) for cohort in job.chosen], spec.epochs, job.kept, least)]
    if twin is not None:
        cohorts = [cohort_bytes(spec, cohort, twin) for cohort in job.chosen]
        parts.append(ZooBytes(cohorts, twin.length, kept_of_twins(job.kept, twin)))
    return parts


def check_make_twins(
    zoo: str | Path,
    twin: TwinSpec,
    cohorts: range | None = None,
    *,
    stage: str | Path | None = None,
    repair: bool = False,
    network: Any = None,
) -> Job:
    """Checks a call of `jaxzoo.make_twins`: the zoo is dense, and the cohorts are finished. Raises InputError."""
    folder, target = staged(zoo, stage)
    _check_staged(target, repair=repair)
    record = read_record(folder)
    spec = with_network(record.spec, network)
    check_module(folder, record, spec)
    record = with_module(folder, record, spec.network)
    if record.twin is not None:
        raise InputError(f"{folder}: is a zoo of twins, expected a dense one")
    job = Job(folder, record.plan, record, cohorts, None, record.kept, repair=repair, target=target)
    for cohort in job.chosen:
        epochs = job.held(cohort, None)
        if record.spec.epochs not in epochs:
            got = f"epochs up to {epochs[-1]}" if epochs else "no epoch"
            raise InputError(
                f"{folder}: cohort {cohort.number} holds {got}, expected it finished ({record.spec.epochs})"
            )
    return _with_twins(job, twin, record.spec, length_said=twin.epochs is not None)


def choose_twins(spec: ZooSpec, twins: str | TwinSpec | None) -> TwinSpec | None:
    """How twins are made: as given, by a method with the spec's settings, or as the spec says. Raises InputError."""
    if twins is None:
        return spec.twins
    if isinstance(twins, TwinSpec):
        return twins
    return None if twins == NO_TWINS else dataclasses.replace(spec.twins or TwinSpec(), method=twins)


def _of_usual_length(twin: TwinSpec, usual: TwinSpec | None) -> TwinSpec:
    """How twins are made whose epochs a call does not say: as many as were begun, or as the zoo's spec says."""
    return dataclasses.replace(twin, epochs=(usual or TwinSpec()).length)


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


def check_trainable(spec: ZooSpec, engine: str | None) -> None:
    """Raises InputError for dropout in a network without dropout layers, and for an engine without its kernels.

    A module does by itself what `dropout` and `precision` ask of layers.
    """
    dropout = spec.values("dropout")
    if spec.network is not None:
        check_module_spec(spec)
    for name in spec.architecture_names:
        layers = spec.layers_named(name)
        if any(dropout) and not any(isinstance(layer, Dropout) for layer in each_layer(layers)):
            raise InputError(f"zoo {spec.name!r}: dropout is {dropout}, expected 0: {name} has none")
        known = engines_for(layers, spec.precision)
        if engine in ENGINES and engine not in known:
            what = f"{name} in {spec.precision}"
            raise InputError(f"zoo {spec.name!r}: engine is {engine!r}, expected {' or '.join(known)} for {what}")


def check_examples(spec: ZooSpec, every: Iterable[Images]) -> None:
    """Raises InputError where a class that is left out may leave a member less than a batch."""
    classes = [number for number in spec.values("excluded_class") if number >= 0]
    counts = [np.bincount(images.train.labels, minlength=spec.dataset.classes) for images in every]
    gone = max((int(count[number]) for number in classes for count in counts), default=0)
    least, batch = least_examples(spec) - gone, max(batch_sizes(spec))
    if least < batch:
        raise InputError(
            f"zoo {spec.name!r}: excluded_class may leave {max(least, 0)} examples, expected a batch of {batch} or more"
        )


def _check_twins(job: Job, begun: ZooRecord | None) -> None:
    """Raises InputError where the twins that were `begun` by the method of a call are none that it can go on with.

    So it does where they would only warm up.
    """
    twin, spec = job.twin, job.plan.spec
    if twin is None:
        return
    if spec.network is not None and twin.method != "magnitude":
        wanted = "'magnitude', or 'none': the networks are a Flax module"
        raise InputError(f"zoo {spec.name!r}: twins is {twin.method!r}, expected {wanted}")
    warmup = spec.schedule.values.get("warmup", 0.0)  # in their epochs, which the schedule spans anew
    if warmup >= twin.length:
        got = f"zoo {spec.name!r}: schedule.warmup is {warmup}"
        raise InputError(f"{got}, expected less than the {twin.length} epochs of its twins")
    if begun is None:
        return
    twins = twins_folder(job.folder, twin.method)
    if begun.twin is None:
        raise InputError(f"{twins}: holds a dense zoo, expected twins by {twin.method}")
    if job.begun is not None:
        check_parent(job.folder, begun, job.begun)
    if job.anew and job.target is not None:
        raise InputError(
            f"{job.target}: its twins were made of an earlier epoch and would have to be renamed, expected no twins "
            "('none'), or a zoo in a folder, without a stage"
        )
    if job.anew:
        check_room(job.folder, begun)
        return
    differing = differences(begun.twin.used, twin.used)
    if differing:
        raise InputError(f"{twins}: was begun as other twins: {differing}; expected the same")


def _check_steps(plan: Plan) -> None:
    """Raises InputError for steps to keep that one of the cohorts does not have."""
    spec, snapshots = plan.spec, plan.spec.snapshots
    if snapshots is None or not snapshots.asked:
        return
    last = min(spec.epochs * steps_of(key) for key in {cohort.key for cohort in plan.cohorts})
    given = {"every": snapshots.every or 1, "steps": max(snapshots.steps, default=1)}
    for name, step in given.items():
        if step > last:
            raise InputError(f"zoo {spec.name!r}: snapshots.{name} is {step}, expected steps of 1..{last}")
    if last > LAST_STEP:
        raise InputError(f"zoo {spec.name!r}: has {last} steps, expected at most {LAST_STEP} where steps are kept")


def _check_engine(folder: AnyPath, begun: ZooRecord | None, engine: str | None, lanes: int | None) -> None:
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


def _check_form(folder: AnyPath, begun: ZooRecord | None, spec: ZooSpec, engine: str | None, form: Form | None) -> None:
    """Raises InputError for a form that a zoo was not begun with, and for one that its engine has not."""
    if begun is not None and form not in (None, begun.form):
        got = f"was begun with form {form_word(begun.form)}, got {form_word(form)}"
        raise InputError(f"{folder}: {got}, expected the same")
    if form and not takes_forms(spec, engine):
        raise InputError(
            f"zoo {spec.name!r}: form is {form_word(form)}, expected none: the engine lanes alone has forms"
        )


def takes_forms(spec: ZooSpec, engine: str | None) -> bool:
    """Whether all members are computed in lanes, whose programs alone have forms."""
    names = spec.architecture_names
    return engine != "vmap" and all("lanes" in engines_for(spec.layers_named(name), spec.precision) for name in names)
