"""The epochs and steps of a zoo on disk, read across its cohorts, each snapshot held to its identity once."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from jaxzoo.errors import InputError
from jaxzoo.reading.layout import Layout, flatten, layout_width
from jaxzoo.spec.asked import Asked
from jaxzoo.spec.layers import weight_names
from jaxzoo.spec.plan import Member
from jaxzoo.spec.snapshots import Moment
from jaxzoo.storage.beside import asked_of_cohort
from jaxzoo.storage.checkpoints import ALL_ROWS, Rows
from jaxzoo.storage.identity import Identity, identity_of
from jaxzoo.storage.imported import Record
from jaxzoo.storage.outputs import outputs_epochs, read_outputs
from jaxzoo.storage.snapshots import metrics_epochs, read_metrics, read_snapshot, snapshot_epochs, snapshot_steps
from jaxzoo.storage.store_paths import AnyPath
from jaxzoo.storage.zoo_folder import cohort_folder

METRICS = (
    *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("test_loss", "test_accuracy", "finite"),
)
STEP_METRICS = ("heldout_loss", "heldout_accuracy", "finite")


class Step(NamedTuple):
    """A step of training as a time, beside the ends of epochs, which are whole numbers."""

    number: int

    def __str__(self) -> str:
        return f"step {self.number}"


Time = int | Step


class StoredTimes:
    """What the cohorts of a zoo hold, by time: at times that all of them hold, or, if `partial`, any of them."""

    def __init__(self, path: AnyPath, record: Record, members: Sequence[Member], *, partial: bool = False) -> None:
        self._path, self._record, self._partial = path, record, partial
        self.cohorts: Mapping[int, list[Member]] = _by_cohort(members)  # in the order of their rows
        self._checked: set[tuple[int, Moment]] = set()  # of snapshots that were held to their identity

    @property
    def with_weights(self) -> tuple[int, ...]:
        """The epochs whose weights are held."""
        return self._held(lambda cohort: snapshot_epochs(self._folder(cohort)))

    @property
    def with_steps(self) -> tuple[int, ...]:
        """The steps that the spec asks for and whose weights are held, some of them at the ends of epochs."""
        return self._held(self._steps_of)

    @property
    def with_outputs(self) -> tuple[int, ...]:
        """The epochs whose outputs are held."""
        return self._held(lambda cohort: outputs_epochs(self._folder(cohort)))

    @property
    def with_metrics(self) -> tuple[int, ...]:
        """The epochs whose metrics are held, those without weights too."""
        return self._held(lambda cohort: metrics_epochs(self._folder(cohort)))

    def models_at(self, time: Time) -> list[int]:
        """The models whose weights are there at a time, in ascending order."""
        holding = self._holding(lambda cohort: self._holds(cohort, time))
        return sorted(member.model for cohort in holding for member in self.cohorts[cohort])

    def models_at_all(self, times: Sequence[Time]) -> list[int]:
        """The models that every one of the times has. Raises InputError where times have different ones."""
        at_first, *others = (self.models_at(time) for time in times)
        for time, other in zip(times[1:], others, strict=True):
            self.check_held([time], at_first)
            if other != at_first:
                self.check_held([times[0]], other)
        return at_first

    def check_held(self, times: Sequence[Time], models: Sequence[int]) -> None:
        """Raises InputError for a model whose weights one of the times does not have."""
        for time in times if self._partial else ():
            missing = {*models} - {*self.models_at(time)}
            if missing:
                when = f"epoch {time}" if isinstance(time, int) else str(time)
                asked = f"zoo.models_at({time})" if isinstance(time, int) else f"zoo.models_at(step={time.number})"
                raise InputError(
                    f"{self._path}: model {min(missing)} has no weights at {when}, expected models of {asked}"
                )

    @functools.cached_property
    def identities(self) -> Mapping[int, Identity]:
        """What the snapshots of every cohort are to be held to."""
        return {number: identity_of(self._record, number, members, {}) for number, members in self.cohorts.items()}

    @functools.cached_property
    def asked(self) -> Mapping[int, Asked]:
        """What the spec asks of every cohort besides the ends of epochs."""
        return {number: asked_of_cohort(self._record, number) for number in self.cohorts}

    def metrics(self, epochs: Sequence[int]) -> pd.DataFrame:
        """A row per (model, epoch). Raises InputError where one of the epochs cannot be read."""
        table, errors = self.readable_metrics(epochs)
        for error in errors:
            raise error
        return table

    def readable_metrics(self, epochs: Sequence[int]) -> tuple[pd.DataFrame, list[InputError]]:
        """A row per (model, epoch) of the epochs that can be read, and why others cannot."""

        def attempt(epoch: int) -> pd.DataFrame | InputError:
            try:
                return self._read_metrics(epoch)
            except InputError as error:
                return error

        with ThreadPoolExecutor() as pool:  # reading waits for files, not for Python
            read = list(pool.map(attempt, epochs))
        tables = [table for table in read if not isinstance(table, InputError)]
        nothing = pd.DataFrame(columns=["model", "epoch", *self._metric_names(*self.cohorts)])
        table = pd.concat(tables, ignore_index=True) if tables else nothing
        return table, [error for error in read if isinstance(error, InputError)]

    def step_metrics(self, steps: Sequence[int]) -> pd.DataFrame:
        """A row per (model, step); `epoch` is how many epochs of its own cohort a step is. Raises InputError."""
        with ThreadPoolExecutor() as pool:
            tables = list(pool.map(self._read_step_metrics, steps))
        nothing = pd.DataFrame(columns=["model", "step", "epoch", *STEP_METRICS])
        return pd.concat(tables, ignore_index=True) if tables else nothing

    def weights(
        self, collection: str, layout: Layout, times: Iterable[Time], chosen: Sequence[Member]
    ) -> list[np.ndarray]:
        """A collection of variables, flattened: (models, D) float32 of each time."""

        def read(time: Time) -> np.ndarray:
            parts = self._read_parts(time, chosen, collection)
            flat = ((indices, flatten(layout, stored)) for indices, stored in parts)
            return _joined(len(chosen), flat, np.empty((0, layout_width(layout)), np.float32))

        with ThreadPoolExecutor() as pool:
            return list(pool.map(read, times))

    def optimizer(self, time: Time, chosen: Sequence[Member]) -> dict[str, Any]:
        """The optimizer's state, leaves (models, ...), of members that have one optimizer. Raises InputError."""
        parts = [*self._read_parts(time, chosen, "optimizer")]
        if not parts:
            raise InputError(f"{self._path}: models are none, expected one or more")
        indices, trees = zip(*parts, strict=True)
        if len({jax.tree.structure(tree) for tree in trees}) > 1:
            raise InputError(f"{self._path}: the models have optimizers of several kinds, expected models of one")

        def join(*leaves: np.ndarray) -> np.ndarray:
            return _joined(len(chosen), zip(indices, leaves, strict=True), leaves[0][:0])

        joined: dict[str, Any] = jax.tree.map(join, *trees)
        return joined

    def outputs(self, epoch: int, kind: str, split: str, chosen: Sequence[Member]) -> np.ndarray:
        """The outputs of members on a split, (models, N, ...) float16. Raises InputError."""

        def read(cohort: int, indices: Sequence[int]) -> np.ndarray:
            rows = [chosen[index].row for index in indices]
            return read_outputs(self._folder(cohort), epoch, kind, split, rows, self.identities[cohort])

        parts = ((indices, read(cohort, indices)) for cohort, indices in _indices_by_cohort(chosen).items())
        return _joined(len(chosen), parts, np.empty(0, np.float16))

    def models_with_outputs(self, epoch: int) -> list[int]:
        """The models whose outputs are there at an epoch, in ascending order."""
        holding = self._holding(lambda cohort: epoch in outputs_epochs(self._folder(cohort)))
        return sorted(member.model for cohort in holding for member in self.cohorts[cohort])

    def _metric_names(self, *cohorts: int) -> tuple[str, ...]:
        """The metrics of some cohorts; those of twins depend on the architecture."""
        if self._record.twin is None:
            return METRICS
        firsts = [self.cohorts[cohort][0].hyperparameters for cohort in cohorts]
        weighted = [name for point in firsts for name in weight_names(self._record.spec.layers_of(point))]
        return (*METRICS, "sparsity", *(f"sparsity_{name}" for name in dict.fromkeys(weighted)))

    def _folder(self, cohort: int) -> AnyPath:
        return cohort_folder(self._path, cohort)

    def _held(self, times_of: Callable[[int], Iterable[int]]) -> tuple[int, ...]:
        held = [{*times_of(cohort)} for cohort in self.cohorts]
        return tuple(sorted(set.union(*held) if self._partial else set.intersection(*held)))

    def _holding(self, holds: Callable[[int], bool]) -> list[int]:
        """The cohorts that hold a time. Unless the zoo is partial no folder is asked: all of them do."""
        return [cohort for cohort in self.cohorts if not self._partial or holds(cohort)]

    def _steps_of(self, cohort: int) -> list[int]:
        """The steps that the spec asks of a cohort and that it holds."""
        asked = self.asked[cohort]
        if not asked.steps:
            return []
        within, ends = {*snapshot_steps(self._folder(cohort))}, {*snapshot_epochs(self._folder(cohort))}
        moments = {step: asked.moment_of(step) for step in asked.steps}
        return [step for step, (epoch, at) in moments.items() if (at in within if at is not None else epoch in ends)]

    def _holds(self, cohort: int, time: Time) -> bool:
        epoch, step = self._moment(cohort, time)
        folder = self._folder(cohort)
        return epoch in snapshot_epochs(folder) if step is None else step in snapshot_steps(folder)

    def _moment(self, cohort: int, time: Time) -> Moment:
        """When in its own epochs a cohort was at a time."""
        return Moment(time) if isinstance(time, int) else self.asked[cohort].moment_of(time.number)

    def _unchecked(self, cohort: int, moment: Moment) -> Identity | None:
        """The identity that a snapshot is to be held to, None where that was done."""
        return None if (cohort, moment) in self._checked else self.identities[cohort]

    def _read_metrics(self, epoch: int) -> pd.DataFrame:
        tables = []
        for cohort in self._holding(lambda cohort: epoch in metrics_epochs(self._folder(cohort))):
            stored = read_metrics(self._folder(cohort), epoch, self._unchecked(cohort, Moment(epoch)))
            self._checked.add((cohort, Moment(epoch)))
            tables.append(self._table(cohort, {"epoch": epoch}, stored, self._metric_names(cohort), f"epoch {epoch}"))
        return pd.concat(tables).sort_values("model", ignore_index=True)

    def _read_step_metrics(self, step: int) -> pd.DataFrame:
        tables = []
        for cohort in self._holding(lambda cohort: self._holds(cohort, Step(step))):
            stored = self._read_part(cohort, Step(step), "metrics")
            times = {"step": step, "epoch": step / self.asked[cohort].per_epoch}
            tables.append(self._table(cohort, times, stored, STEP_METRICS, f"step {step}"))
        return pd.concat(tables).sort_values("model", ignore_index=True)

    def _table(
        self, cohort: int, times: Mapping[str, Any], stored: Mapping[str, Any], names: Sequence[str], when: str
    ) -> pd.DataFrame:
        """A row per model of a cohort, with the metrics of those names. Raises InputError where one is missing."""
        members = self.cohorts[cohort]
        strangers = [name for name in names if np.shape(stored.get(name, ())) != (len(members),)]
        if strangers:
            where = self._folder(cohort)
            raise InputError(f"{where}: {when} has no metric {strangers[0]!r} of {len(members)} models")
        columns = {"model": [member.model for member in members], **times}
        return pd.DataFrame(columns | {name: stored[name] for name in names})

    def _read_parts(self, time: Time, chosen: Sequence[Member], part: str) -> Iterator[tuple[list[int], Any]]:
        """Yields, cohort by cohort, the indices among the chosen members and what their snapshot holds of a part."""
        for cohort, indices in _indices_by_cohort(chosen).items():
            yield indices, self._read_part(cohort, time, part, [chosen[index].row for index in indices])

    def _read_part(self, cohort: int, time: Time, part: str, rows: Rows = ALL_ROWS) -> Any:
        moment = self._moment(cohort, time)
        identity = self._unchecked(cohort, moment)
        stored = read_snapshot(self._folder(cohort), moment.epoch, part, rows, identity, step=moment.step)
        self._checked.add((cohort, moment))
        return stored


def _indices_by_cohort(chosen: Sequence[Member]) -> dict[int, list[int]]:
    indices: dict[int, list[int]] = {}
    for index, member in enumerate(chosen):
        indices.setdefault(member.cohort, []).append(index)
    return indices


def _joined(count: int, parts: Iterable[tuple[Sequence[int], np.ndarray]], nothing: np.ndarray) -> np.ndarray:
    """An array (count, ...) of rows that come part by part, with their indices; `nothing` where there are none."""
    joined = nothing
    for indices, rows in parts:
        if not len(joined):  # only now: a layout that is not that of the files may be of any size
            joined = np.empty((count, *rows.shape[1:]), nothing.dtype)
        joined[list(indices)] = rows
    return joined


def _by_cohort(members: Sequence[Member]) -> dict[int, list[Member]]:
    cohorts: dict[int, list[Member]] = {}
    for member in sorted(members, key=lambda member: (member.cohort, member.row)):
        cohorts.setdefault(member.cohort, []).append(member)
    return cohorts
