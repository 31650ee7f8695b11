"""The composer: from a spec to a zoo on disk. `python -m jaxzoo.generate` is its command line."""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable
from pathlib import Path

from jax.sharding import Mesh

from jaxzoo.datasets import load_images
from jaxzoo.devices import model_mesh, platform_of
from jaxzoo.errors import InputError
from jaxzoo.models.engines import engines_for, usual_lanes
from jaxzoo.models.networks import Variables
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.spec.plan import Cohort, Plan, plan_zoo
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec
from jaxzoo.storage.card import zoo_card
from jaxzoo.storage.cohort_store import (
    ZooRecord,
    begin_zoo,
    cohort_folder,
    find_record,
    read_whole_variables,
    twins_folder,
)
from jaxzoo.storage.retention import ALL, Keep, kept_epochs, kept_of_twins
from jaxzoo.training.checks import (
    AUTO,
    check_call,
    check_parent,
    check_same_images,
    choose_cohorts,
    choose_twins,
    restrict,
)
from jaxzoo.training.cohort import Event, Notice, Run, run_cohort
from jaxzoo.training.memory import models_that_fit
from jaxzoo.training.population import initial_variables, put_images
from jaxzoo.training.programs import build_program
from jaxzoo.training.steps import DeviceImages
from jaxzoo.training.tuning import Choice, measure_engines
from jaxzoo.version import __version__


def generate(
    spec: ZooSpec,
    out: str | Path,
    *,
    models: int | None = None,
    epochs: int | None = None,
    data_dir: str | Path | None = None,
    engine: str | None = None,
    lanes: int | None = None,
    cohorts: range | None = None,
    twins: str | TwinSpec | None = None,
    keep_epochs: Keep | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Zoo:
    """Trains the zoo into the folder `out`, or goes on where an earlier call stopped; returns it opened.

    `models` and `epochs` replace the spec's; `cohorts` restricts this call to some of them. `twins` says which sparse
    twins each cohort gets when it is trained: a method, a whole TwinSpec, "none"; None for the spec's. `engine` is
    "lanes", "vmap", or "auto": the fastest here, with the fastest number of `lanes`, the models side by side on a
    device. A zoo once begun keeps its engine and lanes, which decide the last bits; else the default is "lanes" on a
    CPU and "auto" on other devices. `keep_epochs` says which epochs stay on disk besides the last two, of twins as
    well: "all", the default, "last" for no others, or a tuple; no weight depends on it. Raises InputError on anything
    the caller can mend, before it has written anything, and Interrupted.
    """
    spec = restrict(spec, models=models, epochs=epochs)
    folder = Path(out)
    twin = choose_twins(spec, twins)
    begun = check_call(spec, folder, engine=engine, lanes=lanes, cohorts=cohorts, twin=twin, keep_epochs=keep_epochs)
    plan = plan_zoo(spec if begun is None else begun.spec)
    images = load_images(spec.dataset, data_dir, on_note=lambda text: on_event(Notice(text)))
    if begun is not None:
        check_same_images(folder, begun, images)
    mesh = model_mesh()
    device_images = put_images(images, mesh)
    record = begun
    if record is None:
        choice = _choose_engine(engine, lanes, plan.cohorts[0], device_images, mesh, on_event)
        plan = _fit_cohorts(plan, choice, mesh, twin, cohorts, on_event)
        kept = kept_epochs(keep_epochs or ALL, spec.epochs)
        record = _begin_dense(folder, plan, choice, images.fingerprint, kept)
    run = Run(len(plan.cohorts), device_images, on_event, should_stop)
    twin_record = None if twin is None else _begin_twins(folder, record, plan, twin)
    for cohort in choose_cohorts(plan, cohorts):
        program = build_program(cohort.key, record.engine, record.lanes, mesh)
        run_cohort(folder, record, program, cohort, functools.partial(initial_variables, cohort), run)
        if twin_record is not None:
            _run_twins(folder, twin_record, cohort, mesh, run)
    return open_zoo(folder)


def make_twins(
    zoo: str | Path,
    twin: TwinSpec,
    *,
    data_dir: str | Path | None = None,
    cohorts: range | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Zoo:
    """Makes sparse twins of a finished zoo, in its folder, or goes on with them; returns them opened.

    Never touches the zoo itself. Raises InputError, where the zoo or the cohorts asked for are not finished, too, and
    Interrupted.
    """
    folder = Path(zoo)
    record = check_parent(folder, twin, cohorts)
    plan = plan_zoo(record.spec)
    images = load_images(record.spec.dataset, data_dir, on_note=lambda text: on_event(Notice(text)))
    check_same_images(folder, record, images)
    mesh = model_mesh()
    run = Run(len(plan.cohorts), put_images(images, mesh), on_event, should_stop)
    twin_record = _begin_twins(folder, record, plan, twin)
    for cohort in choose_cohorts(plan, cohorts):
        _run_twins(folder, twin_record, cohort, mesh, run)
    return open_zoo(twins_folder(folder, twin.method))


def _begin_dense(folder: Path, plan: Plan, choice: Choice, fingerprint: str, kept: tuple[int, ...] | None) -> ZooRecord:
    """The record of a new zoo, written."""
    record = ZooRecord(spec=plan.spec, **choice._asdict(), fingerprint=fingerprint, versions=_versions(), kept=kept)
    begin_zoo(folder, record, plan, zoo_card(plan))
    return record


def _begin_twins(folder: Path, parent: ZooRecord, plan: Plan, twin: TwinSpec) -> ZooRecord:
    """The record of the twins in a zoo's folder, written first where there are none."""
    begun = find_record(twins_folder(folder, twin.method))
    if begun is not None:
        if (begun.spec.digest, begun.fingerprint) != (parent.spec.digest, parent.fingerprint):
            raise InputError(f"{twins_folder(folder, twin.method)}: holds twins of another zoo than {folder}")
        return begun
    kept = kept_of_twins(parent.kept, twin)
    record = dataclasses.replace(parent, twin=twin, kept=kept, versions=_versions())
    begin_zoo(twins_folder(folder, twin.method), record, plan, zoo_card(plan, twin))
    return record


def _run_twins(folder: Path, record: ZooRecord, cohort: Cohort, mesh: Mesh, run: Run) -> None:
    """From the last epoch of the cohort in the parent's folder."""
    twin = record.twin
    assert twin is not None

    def last_epoch() -> Variables:
        return read_whole_variables(cohort_folder(folder, cohort.number), record.spec.epochs)

    program = build_program(cohort.key, record.engine, record.lanes, mesh, twin)
    run_cohort(twins_folder(folder, twin.method), record, program, cohort, last_epoch, run)


def _choose_engine(
    engine: str | None,
    lanes: int | None,
    cohort: Cohort,
    images: DeviceImages,
    mesh: Mesh,
    on_event: Callable[[Event], None],
) -> Choice:
    if engine == AUTO or (engine is None and lanes is None and platform_of(mesh) != "cpu"):
        return measure_engines(cohort, images, mesh, lambda text: on_event(Notice(text)))
    architecture = cohort.key.architecture
    usual = engines_for(architecture, cohort.key.precision)[0]
    return Choice(engine or usual, lanes or usual_lanes(architecture, platform_of(mesh)), {})


def _fit_cohorts(
    plan: Plan,
    choice: Choice,
    mesh: Mesh,
    twin: TwinSpec | None,
    cohorts: range | None,
    on_event: Callable[[Event], None],
) -> Plan:
    """The plan, with smaller cohorts where the devices' memory does not hold the spec's. Raises InputError.

    Not where only some cohorts are asked for: other machines count on the same ones.
    """
    what = (plan.cohorts[0].key, choice.engine, choice.lanes, mesh)
    programs = [build_program(*what), *([] if twin is None else [build_program(*what, twin)])]
    most = min(map(models_that_fit, programs))
    largest = max(len(cohort.members) for cohort in plan.cohorts)
    if largest <= most:
        return plan
    if cohorts is not None:
        raise InputError(f"a cohort has {largest} models, expected at most {most} here: a cohort_size in the config")
    on_event(Notice(f"cohorts of {most} models, not {largest}: what the memory here holds"))
    return plan_zoo(dataclasses.replace(plan.spec, cohort_size=most))


def _versions() -> dict[str, str]:
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {"jaxzoo": __version__} | {name: importlib.metadata.version(name) for name in names}
