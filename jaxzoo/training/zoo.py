"""From a spec to a zoo on disk: check, load images, choose how to train, begin the record, train, open."""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh

from jaxzoo.datasets import Images, load_images
from jaxzoo.devices import model_mesh, platform_of
from jaxzoo.errors import InputError
from jaxzoo.models.engines import engines_for, usual_lanes
from jaxzoo.models.networks import Variables
from jaxzoo.models.variables import parameter_count
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.spec.plan import Cohort, Plan, plan_zoo
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec
from jaxzoo.storage.card import zoo_card
from jaxzoo.storage.cohort_store import read_whole_variables
from jaxzoo.storage.record import ZooRecord, begin_zoo, cohort_folder, find_record, twins_folder
from jaxzoo.storage.retention import Keep, kept_of_twins
from jaxzoo.training.checks import AUTO, Job, check_generate, check_make_twins, choose_cohorts
from jaxzoo.training.cohort import Run, run_cohort
from jaxzoo.training.events import Event, Notice
from jaxzoo.training.memory import models_that_fit
from jaxzoo.training.population import initial_variables, put_images
from jaxzoo.training.programs import build_program
from jaxzoo.training.steps import DeviceImages
from jaxzoo.training.tuning import Choice, measure_engines
from jaxzoo.version import __version__

OnEvent = Callable[[Event], None]


def generate(
    spec: ZooSpec,
    out: str | Path,
    *,
    models: int | None = None,
    epochs: int | None = None,
    data_dir: str | Path | None = None,
    engine: str | None = None,
    lanes: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    cohorts: range | None = None,
    twins: str | TwinSpec | None = None,
    keep_epochs: Keep | None = None,
    on_event: OnEvent = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Zoo:
    """Trains a zoo into the folder `out`, or goes on where an earlier call stopped, and opens it.

    Args:
        spec: the zoo.
        out: the folder of the zoo.
        models: replaces the spec's.
        epochs: replaces the spec's.
        data_dir: the folder of the images (see `load_images`).
        engine: "lanes", "vmap", or "auto", which measures what is fastest. A zoo once begun keeps its engine and lanes,
            which decide the last bits; else the default is "lanes" on a CPU and "auto" on other devices.
        lanes: the models side by side on a device.
        devices: train on these devices instead of on all of JAX's default kind. No weight depends on their number.
        cohorts: makes only these cohorts of the zoo.
        twins: a cohort's sparse twins: a method, a TwinSpec, or "none"; by default the spec's.
        keep_epochs: the epochs that stay on disk besides the last two: "all", the default, "last" for none, or a tuple.
        on_event: hears of progress: `Trained`, `EpochSaved`, `Notice`.
        should_stop: is asked about twice a second whether to stop.

    Raises InputError, before anything is written, on what the caller can mend; Interrupted after `should_stop()`.

    """
    job = check_generate(
        spec,
        out,
        models=models,
        epochs=epochs,
        engine=engine,
        lanes=lanes,
        cohorts=cohorts,
        twins=twins,
        keep_epochs=keep_epochs,
    )
    images = load_images(spec.dataset, data_dir, on_note=lambda text: on_event(Notice(text)))
    return run_generate(job, images, devices=devices, on_event=on_event, should_stop=should_stop)


def make_twins(
    zoo: str | Path,
    twin: TwinSpec,
    *,
    data_dir: str | Path | None = None,
    devices: Sequence[jax.Device] | None = None,
    cohorts: range | None = None,
    on_event: OnEvent = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Zoo:
    """Makes sparse twins of a finished zoo, in its folder, or goes on with them, and opens them.

    Never changes the zoo itself. The arguments are those of `generate`. Raises InputError, also where the zoo or one
    of the cohorts is not finished, and Interrupted.
    """
    job = check_make_twins(zoo, twin, cohorts)
    images = load_images(job.plan.spec.dataset, data_dir, on_note=lambda text: on_event(Notice(text)))
    return run_make_twins(job, images, devices=devices, on_event=on_event, should_stop=should_stop)


def run_generate(
    job: Job,
    images: Images,
    *,
    devices: Sequence[jax.Device] | None,
    on_event: OnEvent,
    should_stop: Callable[[], bool],
) -> Zoo:
    """`generate` after its checks, with the images at hand."""
    mesh = model_mesh(devices)
    if job.begun is not None:
        images.check_fingerprint(job.begun.fingerprint, job.folder)
    device_images = put_images(images, mesh)
    if job.begun is None:
        record, plan = _begin_dense(job, device_images, images.fingerprint, mesh, on_event)
    else:
        record, plan = job.begun, job.plan
    run = Run(len(plan.cohorts), device_images, on_event, should_stop)
    twin_record = None if job.twin is None else _begin_twins(job.folder, record, plan, job.twin)
    for cohort in choose_cohorts(plan, job.cohorts):
        program = build_program(cohort.key, record.engine, record.lanes, mesh)
        run_cohort(job.folder, record, program, cohort, functools.partial(initial_variables, cohort), run)
        if twin_record is not None:
            _run_twins(job.folder, twin_record, cohort, mesh, run)
    return open_zoo(job.folder)


def run_make_twins(
    job: Job,
    images: Images,
    *,
    devices: Sequence[jax.Device] | None,
    on_event: OnEvent,
    should_stop: Callable[[], bool],
) -> Zoo:
    """`make_twins` after its checks, with the images at hand."""
    assert job.begun is not None  # check_make_twins gives both
    assert job.twin is not None
    mesh = model_mesh(devices)
    images.check_fingerprint(job.begun.fingerprint, job.folder)
    run = Run(len(job.plan.cohorts), put_images(images, mesh), on_event, should_stop)
    record = _begin_twins(job.folder, job.begun, job.plan, job.twin)
    for cohort in job.chosen:
        _run_twins(job.folder, record, cohort, mesh, run)
    return open_zoo(twins_folder(job.folder, job.twin.method))


def _begin_dense(
    job: Job, images: DeviceImages, fingerprint: str, mesh: Mesh, on_event: OnEvent
) -> tuple[ZooRecord, Plan]:
    """Chooses how a new zoo is trained, and writes its record."""
    choice = _choose_engine(job, images, mesh, on_event)
    plan = _fit_cohorts(job, choice, mesh, on_event)
    record = ZooRecord(spec=plan.spec, **choice._asdict(), fingerprint=fingerprint, versions=_versions(), kept=job.kept)
    begin_zoo(job.folder, record, plan, zoo_card(plan, parameter_count(plan.spec.layers, plan.spec.dataset)))
    return record, plan


def _begin_twins(folder: Path, parent: ZooRecord, plan: Plan, twin: TwinSpec) -> ZooRecord:
    """The record of the twins in a zoo's folder, which is written where there is none."""
    twins = twins_folder(folder, twin.method)
    begun = find_record(twins)
    if begun is not None:
        if (begun.spec.digest, begun.fingerprint) != (parent.spec.digest, parent.fingerprint):
            raise InputError(f"{twins}: holds twins of another zoo than {folder}")
        return begun
    record = dataclasses.replace(parent, twin=twin, kept=kept_of_twins(parent.kept, twin), versions=_versions())
    begin_zoo(twins, record, plan, zoo_card(plan, parameter_count(plan.spec.layers, plan.spec.dataset), twin))
    return record


def _run_twins(folder: Path, record: ZooRecord, cohort: Cohort, mesh: Mesh, run: Run) -> None:
    """Makes the twins of a cohort from its last epoch in the parent's folder."""
    twin = record.twin
    assert twin is not None

    def last_epoch() -> Variables:
        return read_whole_variables(cohort_folder(folder, cohort.number), record.spec.epochs)

    program = build_program(cohort.key, record.engine, record.lanes, mesh, twin)
    run_cohort(twins_folder(folder, twin.method), record, program, cohort, last_epoch, run)


def _choose_engine(job: Job, images: DeviceImages, mesh: Mesh, on_event: OnEvent) -> Choice:
    cohort = job.plan.cohorts[0]
    unsaid = job.engine is None and job.lanes is None
    if job.engine == AUTO or (unsaid and platform_of(mesh) != "cpu"):
        return measure_engines(cohort, images, mesh, lambda text: on_event(Notice(text)))
    usual = engines_for(cohort.key.layers, cohort.key.precision)[0]
    return Choice(job.engine or usual, job.lanes or usual_lanes(cohort.key.layers, platform_of(mesh)))


def _fit_cohorts(job: Job, choice: Choice, mesh: Mesh, on_event: OnEvent) -> Plan:
    """The plan, with smaller cohorts where the devices' memory does not hold the spec's. Raises InputError.

    Where only some cohorts are asked for they stay as they are: other machines count on the same cohorts.
    """
    what = (job.plan.cohorts[0].key, choice.engine, choice.lanes, mesh)
    programs = [build_program(*what)]
    if job.twin is not None:
        programs.append(build_program(*what, job.twin))
    most = min(models_that_fit(program) for program in programs)
    largest = max(len(cohort.members) for cohort in job.plan.cohorts)
    if largest <= most:
        return job.plan
    if job.cohorts is not None:
        raise InputError(f"a cohort has {largest} models, expected at most {most} here: a cohort_size in the config")
    on_event(Notice(f"cohorts of {most} models, not {largest}: what the memory here holds"))
    return plan_zoo(dataclasses.replace(job.plan.spec, cohort_size=most))


def _versions() -> dict[str, str]:
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {"jaxzoo": __version__} | {name: importlib.metadata.version(name) for name in names}
