"""A zoo on disk, for reading."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError
from jaxzoo.models.networks import Network, build_network, variable_shapes
from jaxzoo.reading.expressions import rows_where
from jaxzoo.reading.layout import Layout, build_layout, flatten, unflatten
from jaxzoo.reading.selection import Parts, States, split_models, with_gap
from jaxzoo.spec.layers import architecture_layers, weight_layers
from jaxzoo.spec.plan import Member
from jaxzoo.spec.zoo_spec import METHODS, ZooSpec
from jaxzoo.storage.cohort_store import (
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
        return self._metrics_of(self.epochs)

    def metrics_at(self, epoch: int) -> pd.DataFrame:
        """The rows of `metrics` at one epoch. Raises InputError for an epoch that is not there."""
        return self._metrics_of(self._checked_epochs(epoch))

    def params(
        self, epoch: int | Sequence[int], models: Sequence[int] | None = None
    ) -> dict[str, dict[str, np.ndarray]]:
        """Parameters by layer and kind of all models, or of those given, in that order; leaves (models, ...).

        At several epochs leaves are (epochs, models, ...). Reads those epochs alone. Raises InputError for an
        epoch or a model that is not there.
        """
        return self.unflatten(self.weights(epoch, models))

    def variables(self, epoch: int | Sequence[int], models: Sequence[int] | None = None) -> dict[str, Any]:
        """What a model's module applies, Flax's collections: "params" as `params` gives them, and, of networks that
        normalise batches, "batch_stats", their running means and variances in the same shapes.

        >>> jax.vmap(zoo.network.apply, (0, None))(zoo.variables(epoch=20), images)
        """
        return {
            collection: unflatten(layout, self._read(collection, layout, epoch, models))
            for collection, layout in self._layouts.items()
        }

    def weights(self, epoch: int | Sequence[int], models: Sequence[int] | None = None) -> np.ndarray:
        """Flattened parameters, (models, D) float32, or (epochs, models, D) at several epochs.

        `layout` says which column is what. Raises InputError for an epoch or a model that is not there.
        """
        return self._read("params", self.layout, epoch, models)

    @property
    def layout(self) -> Layout:
        """The columns of `weights`: layer by layer, kernel (or scale) before bias, each in row-major order."""
        return self._layouts["params"]

    def flatten(self, params: Mapping[str, Mapping[str, Any]]) -> Any:
        """Parameters with leaves (..., *shape) as rows (..., D), as `weights` are; NumPy or JAX. Raises InputError."""
        return flatten(self.layout, params)

    def unflatten(self, weights: Any) -> dict[str, dict[str, Any]]:
        """Rows (..., D) as parameters with leaves (..., *shape), as `params` are; NumPy or JAX. Raises InputError."""
        return unflatten(self.layout, weights)

    def select(
        self,
        *,
        epochs: int | Sequence[int] | None = None,
        models: Sequence[int] | None = None,
        where: str | None = None,
        finite: bool = False,
        max_abs_weight: float | None = None,
    ) -> States:
        """The states at some epochs (all that are there) of some models (all) that meet every condition given.

        `where` is a condition on the columns of `members` and `metrics`, and generalization_gap, such as
        "activation == 'tanh' and test_accuracy > 0.5"; `finite` keeps models that are still finite; `max_abs_weight`
        those all of whose parameters are finite and at most so large, which reads the weights. Raises InputError, also
        where nothing is left.
        """
        held = self._checked_epochs(self.epochs if epochs is None else epochs)
        table = with_gap(self._metrics_of(held)).merge(self.members.drop(columns=["cohort", "row"]), on="model")
        if models is not None:
            numbers = [member.model for member in self._chosen(models)]
            table = table[table["model"].isin(numbers)]
        if finite:
            table = table[table["finite"]]
        if where is not None:
            table = table[rows_where(table, where)]
        if max_abs_weight is not None:
            table = table[_largest_weights(self._states(table)) <= max_abs_weight]
        if table.empty:
            raise InputError(f"{self.path}: no state is left, of {len(held)} epochs and {len(self._members)} models")
        return self._states(table)

    def _states(self, table: pd.DataFrame) -> States:
        return States(table, self.layout, self.weights, len(self._members))

    def split(self, train: float = 0.7, validation: float = 0.15, test: float = 0.15, *, seed: int = 42) -> Parts:
        """All model numbers, shuffled and shared out: `train`, `validation` and `test`, no model in two of them.

        Raises InputError for fractions that are no split, and where models are too few for a part to have any.
        """
        return split_models(len(self._members), train, validation, test, seed=seed)

    @property
    def network(self) -> Network:
        """The Flax module of every model: `network.apply(variables, images)` on normalised images (B, H, W, C).

        In a zoo with several activations raises InputError; `network_of(model)` gives each model's own.
        """
        if len(self.spec.grid.activation) > 1:
            raise InputError(f"{self.path}: its models differ in activation, expected a call of network_of(model)")
        return build_network(self.spec)

    def network_of(self, model: int) -> Network:
        """The Flax module of one model."""
        return build_network(self.spec, activation=self._chosen([model])[0].activation)

    @property
    def twins(self) -> dict[str, "Zoo"]:
        """The sparse twins by method: zoos whose model i is the twin of model i, epoch 0 the parent's last epoch."""
        places = {method: twins_folder(self.path, method) for method in METHODS}
        found = {method: open_zoo(place) for method, place in places.items() if (place / "zoo.json").exists()}
        return Twins(self.path, found)

    @property
    def _metric_names(self) -> tuple[str, ...]:
        if self.record.twin is None:
            return METRICS
        weighted = weight_layers(architecture_layers(self.spec.architecture))
        return (*METRICS, "sparsity", *(f"sparsity_{layer.name}" for layer in weighted))

    @functools.cached_property
    def _cohorts(self) -> dict[int, list[Member]]:
        cohorts: dict[int, list[Member]] = {}
        for member in sorted(self._members, key=lambda member: (member.cohort, member.row)):
            cohorts.setdefault(member.cohort, []).append(member)
        return cohorts

    @functools.cached_property
    def _layouts(self) -> dict[str, Layout]:
        """By collection: "params", and "batch_stats" where there are any."""
        shapes = variable_shapes(self.spec.architecture, self.spec.dataset)
        return {collection: build_layout(layers) for collection, layers in shapes.items()}

    def _metrics_of(self, epochs: Sequence[int]) -> pd.DataFrame:
        if not epochs:
            return pd.DataFrame(columns=["model", "epoch", *self._metric_names])
        with ThreadPoolExecutor() as pool:
            tables = list(pool.map(self._read_metrics, epochs))
        return pd.concat(tables, ignore_index=True)

    def _read_metrics(self, epoch: int) -> pd.DataFrame:
        tables = []
        for cohort, members in self._cohorts.items():
            stored = read_snapshot(cohort_folder(self.path, cohort), epoch, "metrics")
            columns = {"model": [member.model for member in members], "epoch": epoch}
            tables.append(pd.DataFrame(columns | {name: stored[name] for name in self._metric_names}))
        return pd.concat(tables).sort_values("model", ignore_index=True)

    def _read(
        self, collection: str, layout: Layout, epoch: int | Sequence[int], models: Sequence[int] | None
    ) -> np.ndarray:
        """A collection flattened, (models, D) or (epochs, models, D)."""
        chosen = self._chosen(models)
        epochs = self._checked_epochs(epoch)
        with ThreadPoolExecutor() as pool:  # reading waits for files, not for Python
            weights = list(pool.map(lambda each: self._read_at(collection, layout, each, chosen), epochs))
        return np.stack(weights) if isinstance(epoch, Iterable) else weights[0]

    def _read_at(self, collection: str, layout: Layout, epoch: int, chosen: Sequence[Member]) -> np.ndarray:
        weights = np.empty((len(chosen), layout[-1].columns.stop), np.float32)
        for cohort in {member.cohort for member in chosen}:
            places = [place for place, member in enumerate(chosen) if member.cohort == cohort]
            rows = [chosen[place].row for place in places]
            stored = read_snapshot(cohort_folder(self.path, cohort), epoch, collection, rows)
            weights[places] = flatten(layout, stored)
        return weights

    def _checked_epochs(self, epochs: int | Iterable[int]) -> list[int]:
        """One epoch, or several, as a list. Raises InputError unless all are there."""
        wanted = list(epochs) if isinstance(epochs, Iterable) else [epochs]
        held = self.epochs
        strangers = [epoch for epoch in wanted if epoch not in held]
        if strangers or not wanted:
            got = repr(strangers[0]) if strangers else "none"
            known = f"one of {held[0]}..{held[-1]}" if held else "one that all cohorts hold; there is none yet"
            raise InputError(f"{self.path}: epoch is {got}, expected {known}")
        return wanted

    def _chosen(self, models: Sequence[int] | None) -> Sequence[Member]:
        if models is None:
            return self._members
        for model in models:
            if not 0 <= model < len(self._members):
                raise InputError(f"{self.path}: model is {model!r}, expected 0..{len(self._members) - 1}")
        return [self._members[model] for model in models]


def _largest_weights(states: States) -> np.ndarray:
    """The largest absolute parameter of every state, infinite where one is not finite."""
    largest = [np.abs(weights).max(axis=1) for weights in states.portions()]
    joined = np.concatenate([*largest, np.empty(0, np.float32)])
    return np.where(np.isfinite(joined), joined, np.inf)


class Twins(dict[str, Zoo]):
    """Twins by method; asking for those that are not there says what is."""

    def __init__(self, parent: Path, found: Mapping[str, Zoo]) -> None:
        super().__init__(found)
        self._parent = parent

    def __missing__(self, method: str) -> NoReturn:
        raise InputError(
            f"{self._parent}: has no twins by {method!r}, expected one of: {', '.join(self) or 'none yet'}"
        )


def open_zoo(path: str | Path) -> Zoo:
    """The zoo in that folder, finished or still being made. Raises InputError where there is none."""
    folder = Path(path)
    return Zoo(folder, read_record(folder), read_members(folder))
