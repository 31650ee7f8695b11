"""The epochs of a zoo on disk, read across its cohorts, each snapshot held to its identity once."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError
from jaxzoo.reading.layout import Layout, flatten, layout_width
from jaxzoo.spec.layers import weight_layers
from jaxzoo.spec.plan import Member
from jaxzoo.storage.identity import Identity, identity_of
from jaxzoo.storage.imported import Record
from jaxzoo.storage.snapshots import metrics_epochs, read_metrics, read_snapshot, snapshot_epochs
from jaxzoo.storage.zoo_folder import cohort_folder

METRICS = (
    *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("test_loss", "test_accuracy", "finite"),
)


class StoredEpochs:
    """What the cohorts of a zoo hold, by epoch: the epochs that all of them hold, or, if `partial`, any of them."""

    def __init__(self, path: Path, record: Record, members: Sequence[Member], *, partial: bool = False) -> None:
        self._path, self._record, self._partial = path, record, partial
        self.cohorts: Mapping[int, list[Member]] = _by_cohort(members)  # in the order of their rows
        self._checked: set[tuple[int, int]] = set()  # (cohort, epoch) of snapshots that were held to their identity

    @property
    def with_weights(self) -> tuple[int, ...]:
        """The epochs whose weights are held."""
        return self._held(snapshot_epochs)

    @property
    def with_metrics(self) -> tuple[int, ...]:
        """The epochs whose metrics are held, those without weights too."""
        return self._held(metrics_epochs)

    def models_at(self, epoch: int) -> list[int]:
        """The models whose weights are there at an epoch, in ascending order."""
        holding = self._holding(epoch, snapshot_epochs)
        return sorted(member.model for cohort in holding for member in self.cohorts[cohort])

    def models_at_all(self, epochs: Sequence[int]) -> list[int]:
        """The models that every one of the epochs has. Raises InputError where epochs have different ones."""
        at_first, *others = (self.models_at(epoch) for epoch in epochs)
        for epoch, other in zip(epochs[1:], others, strict=True):
            self.check_held([epoch], at_first)
            if other != at_first:
                self.check_held([epochs[0]], other)
        return at_first

    def check_held(self, epochs: Sequence[int], models: Sequence[int]) -> None:
        """Raises InputError for a model whose weights one of the epochs does not have."""
        for epoch in epochs if self._partial else ():
            missing = {*models} - {*self.models_at(epoch)}
            if missing:
                raise InputError(
                    f"{self._path}: model {min(missing)} has no weights at epoch {epoch}, expected models of "
                    f"zoo.models_at({epoch})"
                )

    @functools.cached_property
    def identities(self) -> Mapping[int, Identity]:
        """What the snapshots of every cohort are to be held to."""
        return {number: identity_of(self._record, number, members, {}) for number, members in self.cohorts.items()}

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
        nothing = pd.DataFrame(columns=["model", "epoch", *self._metric_names])
        table = pd.concat(tables, ignore_index=True) if tables else nothing
        return table, [error for error in read if isinstance(error, InputError)]

    def weights(
        self, collection: str, layout: Layout, epochs: Iterable[int], chosen: Sequence[Member]
    ) -> list[np.ndarray]:
        """A collection of variables, flattened: (models, D) float32 of each epoch."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda epoch: self._read_weights(collection, layout, epoch, chosen), epochs))

    @property
    def _metric_names(self) -> tuple[str, ...]:
        if self._record.twin is None:
            return METRICS
        weighted = weight_layers(self._record.spec.layers)
        return (*METRICS, "sparsity", *(f"sparsity_{layer.name}" for layer in weighted))

    def _held(self, epochs_of: Callable[[Path], list[int]]) -> tuple[int, ...]:
        held = [set(epochs_of(cohort_folder(self._path, cohort))) for cohort in self.cohorts]
        return tuple(sorted(set.union(*held) if self._partial else set.intersection(*held)))

    def _holding(self, epoch: int, epochs_of: Callable[[Path], list[int]]) -> list[int]:
        """The cohorts that hold an epoch. Unless the zoo is partial no folder is asked: all of them do."""
        folders = {cohort: cohort_folder(self._path, cohort) for cohort in self.cohorts}
        return [cohort for cohort, folder in folders.items() if not self._partial or epoch in epochs_of(folder)]

    def _unchecked(self, cohort: int, epoch: int) -> Identity | None:
        """The identity that a snapshot is to be held to, None where that was done."""
        return None if (cohort, epoch) in self._checked else self.identities[cohort]

    def _read_metrics(self, epoch: int) -> pd.DataFrame:
        tables = []
        for cohort in self._holding(epoch, metrics_epochs):
            path, members = cohort_folder(self._path, cohort), self.cohorts[cohort]
            stored = read_metrics(path, epoch, self._unchecked(cohort, epoch))
            self._checked.add((cohort, epoch))
            strangers = [name for name in self._metric_names if np.shape(stored.get(name, ())) != (len(members),)]
            if strangers:
                raise InputError(f"{path}: epoch {epoch} has no metric {strangers[0]!r} of {len(members)} models")
            columns = {"model": [member.model for member in members], "epoch": epoch}
            tables.append(pd.DataFrame(columns | {name: stored[name] for name in self._metric_names}))
        return pd.concat(tables).sort_values("model", ignore_index=True)

    def _read_weights(self, collection: str, layout: Layout, epoch: int, chosen: Sequence[Member]) -> np.ndarray:
        weights = np.empty((0, layout_width(layout)), np.float32)
        for cohort in {member.cohort for member in chosen}:
            indices = [index for index, member in enumerate(chosen) if member.cohort == cohort]
            rows = [chosen[index].row for index in indices]
            identity = self._unchecked(cohort, epoch)
            stored = read_snapshot(cohort_folder(self._path, cohort), epoch, collection, rows, identity)
            self._checked.add((cohort, epoch))
            flat = flatten(layout, stored)
            if not len(weights):  # only now: a layout that is not that of the files may be of any size
                weights = np.empty((len(chosen), flat.shape[-1]), np.float32)
            weights[indices] = flat
        return weights


def _by_cohort(members: Sequence[Member]) -> dict[int, list[Member]]:
    cohorts: dict[int, list[Member]] = {}
    for member in sorted(members, key=lambda member: (member.cohort, member.row)):
        cohorts.setdefault(member.cohort, []).append(member)
    return cohorts
