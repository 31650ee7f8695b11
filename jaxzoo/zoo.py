"""A zoo on disk, for reading."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError
from jaxzoo.networks import CNN, build_network, parameter_shapes
from jaxzoo.plan import Member
from jaxzoo.spec import METHODS, ZooSpec
from jaxzoo.store import (
    ZooRecord,
    cohort_folder,
    read_members,
    read_record,
    read_snapshot,
    snapshot_epochs,
    twins_folder,
)

METRICS = (
    *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("test_loss", "test_accuracy", "finite"),
)


class LayoutEntry(NamedTuple):
    """Which columns of `Zoo.weights` are which parameter, and its shape in one model."""

    layer: str
    kind: str
    columns: slice
    shape: tuple[int, ...]


class Zoo:
    """A zoo on disk; reads what is asked for, when it is asked for, as NumPy arrays.

    >>> zoo = open_zoo("zoos/digits")
    >>> zoo.weights(epoch=20).shape
    (128, 2464)
    """

    def __init__(self, path: Path, record: ZooRecord, members: Sequence[Member]) -> None:
        self.path = path
        self.record = record
        self._members = tuple(members)

    def __repr__(self) -> str:
        return f"Zoo({str(self.path)!r}: {len(self._members)} models, {len(self.epochs)} epochs)"

    @property
    def spec(self) -> ZooSpec:
        """What the zoo was made from."""
        return self.record.spec

    @functools.cached_property
    def members(self) -> pd.DataFrame:
        """A row per model: its cohort and row there, its seed, its hyperparameters."""
        return pd.DataFrame(self._members, columns=Member._fields)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that all cohorts hold; 0 is the untrained one. Fewer than the spec's while a zoo is being made."""
        held = [set(snapshot_epochs(cohort_folder(self.path, cohort))) for cohort in self._cohorts]
        return tuple(sorted(set.intersection(*held)))

    @property
    def metrics(self) -> pd.DataFrame:
        """A row per (model, epoch): losses in nats, accuracies in 0..1, and whether the model is still finite.

        Of twins also `sparsity`, zero weights of all weights (biases do not count), and `sparsity_<layer>`.
        """
        tables = [self.metrics_at(epoch) for epoch in self.epochs]
        nothing = pd.DataFrame(columns=["model", "epoch", *self._metric_names])
        return pd.concat(tables, ignore_index=True) if tables else nothing

    def metrics_at(self, epoch: int) -> pd.DataFrame:
        """The rows of `metrics` at one epoch. Raises InputError for an epoch that is not there."""
        self._check_epoch(epoch)
        tables = []
        for cohort, members in self._cohorts.items():
            stored = read_snapshot(cohort_folder(self.path, cohort), epoch, "metrics")
            columns = {"model": [member.model for member in members], "epoch": epoch}
            tables.append(pd.DataFrame(columns | {name: stored[name] for name in self._metric_names}))
        return pd.concat(tables).sort_values("model", ignore_index=True)

    def params(self, epoch: int, models: Sequence[int] | None = None) -> dict[str, dict[str, np.ndarray]]:
        """Parameters at an epoch by layer and kind, leaves (models, ...), of all models or those given, in that order.

        Raises InputError for an epoch or a model that is not there.
        """
        chosen = self._chosen(models)
        self._check_epoch(epoch)
        shapes = self._shapes
        leaves = {
            layer: {kind: np.empty((len(chosen), *shape), np.float32) for kind, shape in kinds.items()}
            for layer, kinds in shapes.items()
        }
        for cohort in {member.cohort for member in chosen}:
            places = [place for place, member in enumerate(chosen) if member.cohort == cohort]
            rows = [chosen[place].row for place in places]
            part = read_snapshot(cohort_folder(self.path, cohort), epoch, "params", rows)
            for layer, kinds in shapes.items():
                for kind in kinds:
                    leaves[layer][kind][places] = part[layer][kind]
        return leaves

    def weights(self, epoch: int, models: Sequence[int] | None = None) -> np.ndarray:
        """Flattened parameters at an epoch, (models, D) float32; `layout` says which column is what."""
        params = self.params(epoch, models)
        count = len(self._chosen(models))
        parts = [params[entry.layer][entry.kind].reshape(count, -1) for entry in self.layout]
        return np.concatenate(parts, axis=1)

    @functools.cached_property
    def layout(self) -> tuple[LayoutEntry, ...]:
        """The columns of `weights`: layer by layer, kernel before bias, each in row-major order."""
        entries = []
        first = 0
        for layer, kinds in self._shapes.items():
            for kind, shape in kinds.items():
                last = first + int(np.prod(shape))
                entries.append(LayoutEntry(layer, kind, slice(first, last), shape))
                first = last
        return tuple(entries)

    @property
    def network(self) -> CNN:
        """The Flax module of every model: `network.apply({"params": ...}, images)` on normalised images (B, H, W, C).

        In a zoo with several activations raises InputError; `network_of(model)` gives each model's own.
        """
        if len(self.spec.grid.activation) > 1:
            raise InputError(f"{self.path}: its models differ in activation, expected a call of network_of(model)")
        return build_network(self.spec)

    def network_of(self, model: int) -> CNN:
        """The Flax module of one model."""
        return build_network(self.spec, activation=self._chosen([model])[0].activation)

    @property
    def twins(self) -> dict[str, "Zoo"]:
        """The sparse twins by method: zoos whose model i is the twin of model i, epoch 0 the parent's last epoch."""
        places = {method: twins_folder(self.path, method) for method in METHODS}
        return {method: open_zoo(place) for method, place in places.items() if (place / "zoo.json").exists()}

    @property
    def _metric_names(self) -> tuple[str, ...]:
        if self.record.twin is None:
            return METRICS
        return (*METRICS, "sparsity", *(f"sparsity_{layer}" for layer in self._shapes))

    @functools.cached_property
    def _cohorts(self) -> dict[int, list[Member]]:
        cohorts: dict[int, list[Member]] = {}
        for member in sorted(self._members, key=lambda member: (member.cohort, member.row)):
            cohorts.setdefault(member.cohort, []).append(member)
        return cohorts

    @property
    def _shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return parameter_shapes(self.spec.architecture, self.spec.dataset)

    def _check_epoch(self, epoch: int) -> None:
        held = self.epochs
        if epoch not in held:
            wanted = f"one of {held[0]}..{held[-1]}" if held else "one that all cohorts hold; there is none yet"
            raise InputError(f"{self.path}: epoch is {epoch!r}, expected {wanted}")

    def _chosen(self, models: Sequence[int] | None) -> Sequence[Member]:
        if models is None:
            return self._members
        for model in models:
            if not 0 <= model < len(self._members):
                raise InputError(f"{self.path}: model is {model!r}, expected 0..{len(self._members) - 1}")
        return [self._members[model] for model in models]


def open_zoo(path: str | Path) -> Zoo:
    """The zoo in that folder, finished or still being made. Raises InputError where there is none."""
    folder = Path(path)
    return Zoo(folder, read_record(folder), read_members(folder))
