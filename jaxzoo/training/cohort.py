"""A cohort, or the twins of one, from the last whole epoch on disk to the last epoch of the zoo."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxzoo.devices import platform_of
from jaxzoo.models.engines import kernels_of
from jaxzoo.models.networks import Params, Variables
from jaxzoo.models.sparsity import sparsity_metrics
from jaxzoo.spec.asked import Asked, asked_of
from jaxzoo.spec.dataset_spec import SPLITS, DatasetSpec
from jaxzoo.spec.plan import Cohort
from jaxzoo.spec.snapshots import Moment, Snapshots
from jaxzoo.storage.cohort_store import CohortStore, Saved
from jaxzoo.storage.identity import changes_of_making, identity_of
from jaxzoo.storage.leases import Lease
from jaxzoo.storage.mirror import Elsewhere, Nowhere
from jaxzoo.storage.record import ZooRecord
from jaxzoo.storage.zoo_folder import cohort_folder
from jaxzoo.training.events import EpochSaved, Event, Interrupted, Metrics, Notice, Trained
from jaxzoo.training.optimizer_state import named_state
from jaxzoo.training.outputs import outputs_of
from jaxzoo.training.population import (
    Population,
    Stopped,
    evaluate,
    evaluate_heldout,
    get_params,
    get_state,
    initial_state,
    put_cohort,
    train_epoch,
)
from jaxzoo.training.programs import Program, abstract_state
from jaxzoo.training.steps import DeviceImages, State


class Run(NamedTuple):
    """What all cohorts of a zoo share: their number, the images, who hears of events and who may ask for an end.

    `images_of(dataset)` puts those of a data set on the devices. `made` is what snapshots say that they were made
    with, beside the kernels. With `repair`, missing and damaged epochs are made again. `elsewhere` is told what is
    saved. `lease` is that of the cohort at work, where workers share a zoo.
    """

    cohorts: int
    images_of: Callable[[DatasetSpec], DeviceImages]
    made: Mapping[str, Any]
    repair: bool
    on_event: Callable[[Event], None]
    should_stop: Callable[[], bool]
    elsewhere: Elsewhere = Nowhere()
    lease: Lease | None = None


class Beginning(NamedTuple):
    """Where a cohort begins: `variables()` are those of epoch 0, (models, ...).

    `parent` is the checksum of the snapshot that twins begin from, None for a dense cohort.
    """

    variables: Callable[[], Variables]
    parent: int | None = None


class Work(NamedTuple):
    """A cohort at work: its store, its population on the devices, and what is asked of it.

    `ready()` returns when its training program is compiled.
    """

    store: CohortStore
    population: Population
    cohort: int
    record: ZooRecord
    asked: Asked
    run: Run
    images: DeviceImages
    ready: Callable[[], None]

    @property
    def twins(self) -> bool:
        """Whether it is a cohort of sparse twins."""
        return self.population.program.method is not None

    @property
    def snapshots(self) -> Snapshots | None:
        """What the spec says of snapshots of this cohort; nothing of those of twins."""
        return None if self.twins else self.record.spec.snapshots


def run_cohort(
    folder: Path,
    record: ZooRecord,
    program: Program,
    cohort: Cohort,
    beginning: Beginning,
    run: Run,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Trains the cohort of the zoo in a folder to its last epoch. Raises Interrupted.

    `ready()` is called before a step is trained, and returns when the training program is compiled.
    """
    twins, own = program.method is not None, cohort_folder(folder, cohort.number)
    if run.elsewhere.finished(own, record.epochs) and not run.repair:
        samples = record.epochs * cohort.samples
        run.on_event(Trained(cohort.number, run.cohorts, record.epochs, samples, restored=True, twins=twins))
        return
    run.elsewhere.fetch(own)
    way, samples = record.cohorts[cohort.number], program.method is not None and program.method.samples
    made = {**run.made, "kernels": kernels_of(way.engine, platform_of(program.mesh), samples=samples)}
    identity = identity_of(record, cohort.number, cohort.members, made, beginning.parent)
    asked = asked_of(record.spec, cohort.key, record.twin)
    with CohortStore(own, identity, record.kept, asked, run.lease, run.elsewhere.saved) as store:
        saved, last, notes = store.restore(record.epochs, repair=run.repair)
        for note in (*notes, *_elsewhere(folder, saved, made)):
            run.on_event(Notice(note))
        done = record.epochs if last is None else 0 if saved is None else saved.epoch
        run.on_event(Trained(cohort.number, run.cohorts, done, done * cohort.samples, restored=True, twins=twins))
        if last is None:
            return
        state = initial_state(beginning.variables(), program.method) if saved is None else _restore(program, saved)
        images = run.images_of(cohort.key.dataset)
        work = Work(store, put_cohort(program, cohort, state), cohort.number, record, asked, run, images, ready)
        for epoch in range(0 if saved is None else done + 1, last + 1):
            try:
                metrics = _run_epoch(work, epoch)
                _save_outputs(work, epoch)
            except Stopped as stopped:
                raise Interrupted(f"{folder}: stopped in epoch {epoch} of cohort {cohort.number}") from stopped
            _save(work, epoch, metrics)


def _elsewhere(folder: Path, saved: Saved | None, made: Mapping[str, Any]) -> list[str]:
    """A line where training goes on with something else than made the saved epoch: last bits may differ."""
    if saved is None or saved.made is None:
        return []
    changed = changes_of_making(saved.made, made)
    return [f"{folder}: goes on with {changed}: last bits may differ from a run on one machine"] if changed else []


def _restore(program: Program, saved: Saved) -> State:
    """Twins keep their whole state beside a snapshot. A dense cohort keeps the optimizer; the snapshot has the rest."""
    whole = abstract_state(program)
    if program.method is not None:
        return jax.tree.unflatten(jax.tree.structure(whole), saved.leaves)
    optimizer = jax.tree.unflatten(jax.tree.structure(whole.optimizer), saved.leaves)
    return initial_state(saved.variables)._replace(optimizer=optimizer)


def _run_epoch(work: Work, epoch: int) -> Metrics:
    """Epoch 0 is the untrained cohort, evaluated on all splits. An epoch that is trained is always evaluated.

    Saves the steps within the epoch that are asked for.
    """
    population, run = work.population, work.run
    if epoch == 0:
        # of a large cohort the evaluation takes minutes
        run.on_event(Trained(work.cohort, run.cohorts, 0, 0, twins=work.twins))
        metrics = evaluate(population, work.images, SPLITS, run.should_stop)
        return metrics | _heldout(work)
    before = (epoch - 1) * work.asked.per_epoch
    pauses = [moment.step - before for moment in work.asked.moments if moment.epoch == epoch and moment.step]

    def report(samples: int) -> None:
        run.on_event(Trained(work.cohort, run.cohorts, epoch, samples, twins=work.twins))

    work.ready()
    metrics = train_epoch(
        population,
        work.images,
        epoch,
        report,
        run.should_stop,
        pauses=pauses,
        on_pause=lambda step: _save_step(work, Moment(epoch, before + step)),
    )
    return metrics | evaluate(population, work.images, ("validation", "test")) | _heldout(work)


def _heldout(work: Work) -> Metrics:
    """Loss and accuracy on the held-out subset, at the end of an epoch too where steps are asked for."""
    snapshots = work.snapshots
    if snapshots is None or not snapshots.asked:
        return {}
    return evaluate_heldout(work.population, work.images, snapshots.examples)


def _save_step(work: Work, moment: Moment) -> None:
    state = get_state(work.population)
    metrics = {name: values.astype(np.float32) for name, values in _heldout(work).items()}
    metrics["finite"] = _finite(state, metrics["heldout_loss"])
    work.store.save_step(moment, _variables(work, state, state.params), metrics)


def _save_outputs(work: Work, epoch: int) -> None:
    outputs = work.record.spec.outputs
    if outputs is None or epoch not in work.asked.outputs:
        return
    engine = work.record.cohorts[work.cohort].engine
    work.store.save_outputs(epoch, outputs_of(work.population, work.images, outputs, engine, work.run.should_stop))


def _save(work: Work, epoch: int, metrics: Metrics) -> None:
    state = get_state(work.population)
    params = get_params(work.population) if work.twins else state.params
    metrics = {name: values.astype(np.float32) for name, values in metrics.items()}
    metrics["finite"] = _finite(state, metrics["train_loss"])
    if work.twins:
        metrics |= {name: values.astype(np.float32) for name, values in sparsity_metrics(params).items()}
    leaves = jax.tree.leaves(state if work.twins else state.optimizer)
    work.store.save(epoch, _variables(work, state, params), metrics, leaves)
    work.run.on_event(EpochSaved(work.cohort, epoch, metrics, work.twins))


def _variables(work: Work, state: State, params: Params) -> dict[str, Any]:
    """The collections that a snapshot holds, with the optimizer's state where it is to be kept."""
    variables = {"params": params, **({"batch_stats": state.batch_stats} if state.batch_stats else {})}
    if work.snapshots is not None and work.snapshots.keep_optimizer:
        variables["optimizer"] = named_state(state.optimizer, work.population.size)
    return variables


def _finite(state: State, loss_M: np.ndarray) -> np.ndarray:
    """Whether a member's loss and all its parameters are finite, (models,)."""
    leaves = jax.tree.leaves(state.params)
    return np.isfinite(loss_M) & np.logical_and.reduce(
        [np.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim))) for leaf in leaves]
    )
