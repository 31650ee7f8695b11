"""A cohort, or the twins of one, from the last whole epoch on disk to the last epoch of the zoo."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxzoo.models.networks import Variables
from jaxzoo.models.sparsity import sparsity_metrics
from jaxzoo.spec.plan import Cohort
from jaxzoo.storage.cohort_store import CohortStore, Saved
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.record import ZooRecord
from jaxzoo.storage.zoo_folder import cohort_folder
from jaxzoo.training.events import EpochSaved, Event, Interrupted, Metrics, Notice, Trained
from jaxzoo.training.population import (
    Population,
    Stopped,
    evaluate,
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

    `made` is what snapshots say that they were made with. With `repair`, missing and damaged epochs are made again.
    """

    cohorts: int
    images: DeviceImages
    made: Mapping[str, Any]
    repair: bool
    on_event: Callable[[Event], None]
    should_stop: Callable[[], bool]


class Beginning(NamedTuple):
    """Where a cohort begins: `variables()` are those of epoch 0, (models, ...).

    `parent` is the checksum of the snapshot that twins begin from, None for a dense cohort.
    """

    variables: Callable[[], Variables]
    parent: int | None = None


def run_cohort(
    folder: Path, record: ZooRecord, program: Program, cohort: Cohort, beginning: Beginning, run: Run
) -> None:
    """Trains the cohort of the zoo in a folder to its last epoch. Raises Interrupted."""
    twins = program.method is not None
    identity = identity_of(record, cohort.number, cohort.members, run.made, beginning.parent)
    with CohortStore(cohort_folder(folder, cohort.number), identity, record.kept) as store:
        saved, last, notes = store.restore(record.epochs, repair=run.repair)
        for note in (*notes, *_elsewhere(folder, saved, run.made)):
            run.on_event(Notice(note))
        done = record.epochs if last is None else 0 if saved is None else saved.epoch
        run.on_event(Trained(cohort.number, run.cohorts, done, done * cohort.samples, restored=True, twins=twins))
        if last is None:
            return
        state = initial_state(beginning.variables(), program.method) if saved is None else _restore(program, saved)
        population = put_cohort(program, cohort, state)
        for epoch in range(0 if saved is None else done + 1, last + 1):
            try:
                metrics = _run_epoch(population, cohort.number, epoch, run)
            except Stopped as stopped:
                raise Interrupted(f"{folder}: stopped in epoch {epoch} of cohort {cohort.number}") from stopped
            _save(store, cohort.number, epoch, population, metrics, run.on_event)


def _elsewhere(folder: Path, saved: Saved | None, made: Mapping[str, Any]) -> list[str]:
    """A line where training goes on with something else than made the saved epoch: last bits may differ."""
    if saved is None or saved.made is None:
        return []
    changed = [name for name in made if saved.made.get(name) != made[name]]
    words = ", ".join(f"{name} {made[name]}, not {saved.made.get(name)}" for name in changed)
    return [f"{folder}: goes on with {words}: last bits may differ from a run on one machine"] if changed else []


def _restore(program: Program, saved: Saved) -> State:
    """Twins keep their whole state beside a snapshot. A dense cohort keeps the optimizer; the snapshot has the rest."""
    whole = abstract_state(program)
    if program.method is not None:
        return jax.tree.unflatten(jax.tree.structure(whole), saved.leaves)
    optimizer = jax.tree.unflatten(jax.tree.structure(whole.optimizer), saved.leaves)
    return initial_state(saved.variables)._replace(optimizer=optimizer)


def _run_epoch(population: Population, cohort: int, epoch: int, run: Run) -> Metrics:
    """Epoch 0 is the untrained cohort, evaluated on all splits. An epoch that is trained is always evaluated."""
    if epoch == 0:
        return evaluate(population, run.images, ("train", "validation", "test"), run.should_stop)
    twins = population.program.method is not None

    def report(samples: int) -> None:
        run.on_event(Trained(cohort, run.cohorts, epoch, samples, twins=twins))

    metrics = train_epoch(population, run.images, epoch, report, run.should_stop)
    return metrics | evaluate(population, run.images, ("validation", "test"))


def _save(
    store: CohortStore,
    cohort: int,
    epoch: int,
    population: Population,
    metrics: Metrics,
    on_event: Callable[[Event], None],
) -> None:
    twins = population.program.method is not None
    state = get_state(population)
    params = get_params(population) if twins else state.params
    variables = {"params": params, **({"batch_stats": state.batch_stats} if state.batch_stats else {})}
    metrics = {name: values.astype(np.float32) for name, values in metrics.items()}
    metrics["finite"] = _finite(state, metrics)
    if twins:
        metrics |= {name: values.astype(np.float32) for name, values in sparsity_metrics(params).items()}
    store.save(epoch, variables, metrics, jax.tree.leaves(state if twins else state.optimizer))
    on_event(EpochSaved(cohort, epoch, metrics, twins))


def _finite(state: State, metrics: Metrics) -> np.ndarray:
    """Whether a member's training loss and all its parameters are finite, (models,)."""
    leaves = jax.tree.leaves(state.params)
    return np.isfinite(metrics["train_loss"]) & np.logical_and.reduce(
        [np.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim))) for leaf in leaves]
    )
