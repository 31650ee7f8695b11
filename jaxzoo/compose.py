"""The composer: from a spec to a zoo on disk. `python -m jaxzoo.generate` is its command line."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxzoo.card import zoo_card
from jaxzoo.datasets import load_images
from jaxzoo.devices import model_mesh, platform_of
from jaxzoo.engines import ENGINES
from jaxzoo.errors import InputError
from jaxzoo.networks import architecture_layers
from jaxzoo.plan import Cohort, Plan, plan_zoo, population_size
from jaxzoo.program import DeviceImages, build_program
from jaxzoo.spec import ZooSpec
from jaxzoo.store import CohortStore, ZooRecord, begin_zoo, cohort_folder, find_record
from jaxzoo.train import (
    Metrics,
    Population,
    State,
    Stopped,
    evaluate,
    get_state,
    initial_params,
    initial_state,
    put_cohort,
    put_images,
    train_epoch,
)
from jaxzoo.tune import Choice, compile_training, measure_engines, usual_lanes
from jaxzoo.version import __version__
from jaxzoo.zoo import Zoo, open_zoo

AUTO = "auto"


class Trained(NamedTuple):
    """So many more training samples are done; `restored` ones were done by an earlier run."""

    cohort: int
    epoch: int
    samples: int
    restored: bool = False


class EpochSaved(NamedTuple):
    """An epoch of a cohort is trained, evaluated and on its way to the disk."""

    cohort: int
    epoch: int
    metrics: Metrics


class Notice(NamedTuple):
    """Something that a person should know."""

    text: str


Event = Trained | EpochSaved | Notice


class Interrupted(Exception):
    """`should_stop` asked for an end; every finished epoch is on disk and the same call goes on from there."""


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
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Zoo:
    """Trains the zoo into the folder `out`, or goes on where an earlier call stopped; returns it opened.

    `models` and `epochs` replace the spec's; `cohorts` restricts this call to some of them. `engine` is "lanes",
    "vmap", or "auto": the fastest here, with the fastest number of `lanes`, the models side by side on a device. A zoo
    once begun keeps its engine and lanes, which decide the last bits; else the default is "lanes" on a CPU and "auto"
    on other devices. Raises InputError on anything the caller can mend, before it has written anything, and
    Interrupted.
    """
    spec = restrict(spec, models=models, epochs=epochs)
    folder = Path(out)
    begun = check_call(spec, folder, engine=engine, lanes=lanes, cohorts=cohorts)
    plan = plan_zoo(spec)
    chosen = choose_cohorts(plan, cohorts)
    images = load_images(spec.dataset, data_dir, on_note=lambda text: on_event(Notice(text)))
    if begun is not None and begun.fingerprint != images.fingerprint:
        raise InputError(
            f"{folder}: was begun on images of fingerprint {begun.fingerprint[:12]}, got {images.fingerprint[:12]}"
        )
    mesh = model_mesh()
    device_images = put_images(images, mesh)
    record = begun
    if record is None:
        choice = _choose_engine(engine, lanes, chosen[0], device_images, mesh, on_event)
        record = ZooRecord(spec=spec, **choice._asdict(), fingerprint=images.fingerprint, versions=_versions())
        begin_zoo(folder, record, plan, zoo_card(plan))
    for cohort in chosen:
        _run_cohort(folder, record, cohort, device_images, mesh, on_event, should_stop)
    return open_zoo(folder)


def restrict(spec: ZooSpec, *, models: int | None = None, epochs: int | None = None) -> ZooSpec:
    """The spec with another number of models or epochs. Raises InputError for more models than the grid gives."""
    spec = dataclasses.replace(
        spec,
        models=spec.models if models is None else models,
        epochs=spec.epochs if epochs is None else epochs,
    )
    most = population_size(spec)
    if spec.models is not None and spec.models > most:
        raise InputError(
            f"zoo {spec.name!r}: models is {spec.models}, expected 1..{most}, what its grid and seeds give"
        )
    return spec


def check_call(
    spec: ZooSpec, folder: Path, *, engine: str | None, lanes: int | None, cohorts: range | None
) -> ZooRecord | None:
    """What of a call can be checked in an instant, before images are loaded; returns the zoo begun in the folder.

    Raises InputError.
    """
    choose_cohorts(plan_zoo(spec), cohorts)
    check_trainable(spec)
    begun = find_record(folder)
    _check_engine(folder, begun, engine, lanes)
    if begun is not None:
        _check_same_spec(folder, begun.spec, spec)
    return begun


def check_trainable(spec: ZooSpec) -> None:
    """Raises InputError for a zoo that can be planned but not trained yet."""
    architecture_layers(spec.architecture)
    if spec.schedule.kind != "constant":
        raise InputError(
            f"zoo {spec.name!r}: schedule {spec.schedule.kind!r} cannot be trained yet, expected 'constant'"
        )


def _run_cohort(
    folder: Path,
    record: ZooRecord,
    cohort: Cohort,
    images: DeviceImages,
    mesh: Mesh,
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """From the last whole epoch on disk, or the untrained members, to the last epoch of the spec."""
    program = build_program(cohort.key, record.engine, record.lanes, mesh)
    samples = len(cohort.members) * cohort.key.dataset.train
    with CohortStore(cohort_folder(folder, cohort.number)) as store:
        saved, notes = store.restore()
        for note in notes:
            on_event(Notice(note))
        done = 0 if saved is None else saved.epoch
        on_event(Trained(cohort.number, done, done * samples, restored=True))
        if saved is not None and done == record.spec.epochs:
            return
        state = initial_state(cohort, initial_params(cohort) if saved is None else saved.params)
        if saved is not None:
            state = State(saved.params, jax.tree.unflatten(jax.tree.structure(state.optimizer), saved.optimizer))
        population = put_cohort(program, cohort, state)
        for epoch in range(0 if saved is None else done + 1, record.spec.epochs + 1):
            try:
                metrics = _run_epoch(population, images, cohort.number, epoch, on_event, should_stop)
            except Stopped as stopped:
                raise Interrupted(f"{folder}: stopped in epoch {epoch} of cohort {cohort.number}") from stopped
            _save(store, cohort.number, epoch, population, metrics, on_event)


def _run_epoch(
    population: Population,
    images: DeviceImages,
    cohort: int,
    epoch: int,
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> Metrics:
    """Epoch 0 is the untrained cohort, evaluated on all splits. An epoch once trained is evaluated whatever comes."""
    if epoch == 0:
        return evaluate(population, images, ("train", "validation", "test"), should_stop)
    metrics = train_epoch(
        population, images, epoch, lambda samples: on_event(Trained(cohort, epoch, samples)), should_stop
    )
    return metrics | evaluate(population, images, ("validation", "test"))


def _save(
    store: CohortStore,
    cohort: int,
    epoch: int,
    population: Population,
    metrics: Metrics,
    on_event: Callable[[Event], None],
) -> None:
    state = get_state(population)
    metrics = {name: values.astype(np.float32) for name, values in metrics.items()}
    metrics["finite"] = _finite(state, metrics)
    store.save(epoch, state.params, metrics, jax.tree.leaves(state.optimizer))
    on_event(EpochSaved(cohort, epoch, metrics))


def _finite(state: State, metrics: Metrics) -> np.ndarray:
    """Whether a member's training loss and all its parameters are finite, (models,)."""
    leaves = jax.tree.leaves(state.params)
    return np.isfinite(metrics["train_loss"]) & np.logical_and.reduce(
        [np.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim))) for leaf in leaves]
    )


def choose_cohorts(plan: Plan, cohorts: range | None) -> Sequence[Cohort]:
    """The cohorts of a range of numbers, all without one. Raises InputError for numbers that are not there."""
    if cohorts is None:
        return plan.cohorts
    if not 0 <= cohorts.start < cohorts.stop <= len(plan.cohorts):
        got = f"{cohorts.start}:{cohorts.stop}"
        raise InputError(f"zoo {plan.spec.name!r}: cohorts are {got}, expected a part of 0:{len(plan.cohorts)}")
    return plan.cohorts[cohorts.start : cohorts.stop]


def _check_engine(folder: Path, begun: ZooRecord | None, engine: str | None, lanes: int | None) -> None:
    if engine not in (None, AUTO, *ENGINES):
        raise InputError(f"engine is {engine!r}, expected one of: {', '.join((AUTO, *ENGINES))}")
    if lanes is not None and lanes < 1:
        raise InputError(f"lanes is {lanes}, expected 1 or more")
    if lanes is not None and engine == AUTO:
        raise InputError(f"lanes is {lanes} and engine 'auto', which chooses the lanes; expected one of the two")
    if begun is None:
        return
    if engine not in (None, AUTO, begun.engine):
        raise InputError(f"{folder}: was begun with engine {begun.engine!r}, got {engine!r}, expected the same")
    if lanes not in (None, begun.lanes):
        raise InputError(f"{folder}: was begun with {begun.lanes} lanes, got {lanes}, expected the same")


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
    choice = Choice(engine or "lanes", lanes or usual_lanes(mesh), {})
    if choice.lanes > usual_lanes(mesh):
        compile_training(build_program(cohort.key, choice.engine, choice.lanes, mesh))
    return choice


def _check_same_spec(folder: Path, begun: ZooSpec, wanted: ZooSpec) -> None:
    if begun.digest == wanted.digest:
        return
    differing = [
        f"{field.name} {getattr(begun, field.name)!r}, got {getattr(wanted, field.name)!r}"
        for field in dataclasses.fields(ZooSpec)
        if getattr(begun, field.name) != getattr(wanted, field.name)
    ]
    raise InputError(f"{folder}: holds another zoo: {'; '.join(differing)}; expected the same or another folder")


def _versions() -> dict[str, str]:
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {"jaxzoo": __version__} | {name: importlib.metadata.version(name) for name in names}
