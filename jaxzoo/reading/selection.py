"""Selections of a zoo's states: their table, their weights, and batches of them for training on weights."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, require
from jaxzoo.reading.layout import Layout, layout_width, unflatten
from jaxzoo.spec.fields import require_choices

if TYPE_CHECKING:
    from jaxzoo.reading.torch_dataset import StateDataset

SPLIT_BY = ("model", "seed")
ARCHITECTURE = "architecture"  # the column of zoos whose models differ in it
SHARES = (0.7, 0.15, 0.15)  # of training, validation and test
HELD_BYTES = 1_000_000_000  # of weights in memory at a time, unless asked otherwise: 100,000 states of CNN-s


class Parts(NamedTuple):
    """Training, validation and test: model numbers, or selections."""

    train: Any
    validation: Any
    test: Any


class Batch(NamedTuple):
    """`weights` (B, D) float32, and the columns asked for of the same states, (B,) each."""

    weights: Any
    labels: dict[str, Any]


class Selection:
    """States of a zoo that `Zoo.select` picked; a state is a model at an epoch, or after a step.

    `table` has a row for each state: model, epoch, hyperparameters, metrics, generalization_gap; states after steps
    have `step`, and the metrics of steps. Weights are read when they are asked for.

    >>> selection = zoo.select(epochs=[1, 2], models=[0, 3])
    >>> selection.weights().shape, len(selection.table)
    ((4, 2464), 4)
    """

    def __init__(
        self,
        table: pd.DataFrame,
        layout_of: Callable[[Sequence[int]], Layout],
        read: Callable[[int, Sequence[int]], np.ndarray],
        seeds: Mapping[int, int],
    ) -> None:
        """`seeds` are those of all models of the zoo, by their numbers: a split shares out all of them.

        `read(time, models)` gives weights at an epoch, or at a step where the table has steps. `layout_of(models)`
        raises InputError for models of several architectures.
        """
        self.table = table.reset_index(drop=True)
        self._time = "step" if "step" in table.columns else "epoch"
        self._layout_of = layout_of
        self._read = read
        self._seeds = seeds

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Selection({len(self)} of {self.table['model'].nunique()} models)"

    @functools.cached_property
    def layout(self) -> Layout:
        """The columns of `weights`. Raises InputError where the states are of models of several architectures."""
        return self._layout_of(self.table["model"].unique().tolist())

    @property
    def mixed(self) -> bool:
        """Whether the states are of models of several architectures."""
        return ARCHITECTURE in self.table.columns and self.table[ARCHITECTURE].nunique() > 1

    def by_architecture(self) -> Iterator[tuple[np.ndarray, "Selection"]]:
        """Yields (rows of the table, the selection of these states) of every architecture."""
        if not self.mixed:
            yield np.arange(len(self)), self
            return
        for _, table in self.table.groupby(ARCHITECTURE, sort=False):
            yield table.index.to_numpy(), self.take(table.index.to_numpy())

    @property
    def states(self) -> pd.DataFrame:
        """The columns of `table` that say which states they are: model and epoch, and step where it has steps."""
        return self.table[[name for name in ("model", "step", "epoch") if name in self.table.columns]]

    def weights(self) -> np.ndarray:
        """Flattened parameters, (states, D) float32, in the order of `table`. Reads the times of the table only."""
        return self._weights_at(np.arange(len(self)))

    def params(self) -> dict[str, dict[str, np.ndarray]]:
        """Parameters by layer and kind, leaves (states, ...), in the order of `table`."""
        return unflatten(self.layout, self.weights())

    def final(self) -> "Selection":
        """Of every model the state at its last epoch, or step, here, in the order of the models' numbers."""
        last = self.table.groupby("model")[self._time].transform("max")
        table = self.table[self.table[self._time] == last].sort_values("model")
        return Selection(table, self._layout_of, self._read, self._seeds)

    def portions(self) -> Iterator[np.ndarray]:
        """Yields `weights` part by part, in the order of `table`, about 1 GB at a time."""
        held = held_states(self.layout)
        for first in range(0, len(self), held):
            yield self._weights_at(np.arange(first, min(first + held, len(self))))

    def split(
        self,
        train: float = SHARES[0],
        validation: float = SHARES[1],
        test: float = SHARES[2],
        *,
        seed: int = 42,
        by: str = "model",
    ) -> Parts:
        """Three selections that share no model, or, with `by="seed"`, no seed.

        A model goes where `Zoo.split` puts it, whatever else was left out.
        """
        models = split_models(self._seeds, train, validation, test, seed=seed, by=by)
        return Parts(*(self.take(self.table["model"].isin(part).to_numpy()) for part in models))

    def batches(
        self,
        size: int,
        *,
        seed: int,
        labels: Sequence[str] = (),
        passes: int | None = 1,
        as_jax: bool = False,
        held: int | None = None,
    ) -> Iterator[Batch]:
        """Yields shuffled batches of `size` states; the last batch of a pass may be smaller.

        `labels` names columns of `table`. `passes` None goes on without an end. At most `held` states, by default 1 GB,
        are in memory at a time: a pass over more states reads the zoo once for each such share. With `as_jax` the
        arrays lie on JAX's default device. Raises InputError for an unknown column.
        """
        held = held_states(self.layout) if held is None else held
        self._check_batches(size, labels, held)
        return self._shuffled(size, seed, labels, passes, as_jax, held)

    def _check_batches(self, size: int, labels: Sequence[str], held: int) -> None:
        if size < 1 or held < 1:
            raise InputError(f"size is {size} and held {held}, expected 1 or more states")
        if not len(self):
            raise InputError("there is no state to make batches of, expected one or more")
        self._check_labels(labels)

    def _check_labels(self, labels: Sequence[str]) -> None:
        for name in labels:
            if name not in self.table.columns:
                raise InputError(f"no column {name!r}, expected one of: {', '.join(self.table.columns)}")

    def torch(self, labels: Sequence[str] = (), *, held: int | None = None) -> "StateDataset":
        """The states as a `torch.utils.data.Dataset`, in the order of `table`: (weights (D,) float32, dict of labels).

        `labels` names columns of `table` that hold numbers. At most `held` states, by default 1 GB, are kept in memory;
        of more, every batch is read from the disk, by workers that are spawned and not forked. Raises InputError for
        an unknown column, for one of words, and without PyTorch.
        """
        from jaxzoo.reading.torch_dataset import StateDataset  # imported late: PyTorch takes seconds, or is not there

        held = held_states(self.layout) if held is None else held
        require(held >= 0, "held", held, "0 or more states")
        self._check_labels(labels)
        columns = {name: self.table[name].to_numpy() for name in labels}
        return StateDataset(self._weights_at, columns, states=len(self), held=held)

    def _shuffled(
        self, size: int, seed: int, labels: Sequence[str], passes: int | None, as_jax: bool, held: int
    ) -> Iterator[Batch]:
        put = _put_on_device if as_jax else np.asarray
        columns = {name: self.table[name].to_numpy() for name in labels}
        draws = np.random.default_rng(seed)
        share = max(held // size, 1) * size  # so that only the last batch of a pass is smaller
        rounds = itertools.count() if passes is None else range(passes)
        orders = (draws.permutation(len(self)) for _ in rounds)
        shares = (order[first : first + share] for order in orders for first in range(0, len(order), share))
        for rows in shares:
            weights = self._weights_at(rows)
            for first in range(0, len(rows), size):
                part = slice(first, first + size)
                yield Batch(put(weights[part]), {name: put(columns[name][rows[part]]) for name in labels})

    def _weights_at(self, rows: np.ndarray) -> np.ndarray:
        chosen = self.table.iloc[rows]
        models, times = chosen["model"].to_numpy(), chosen[self._time].to_numpy()
        weights = np.empty((len(rows), layout_width(self.layout)), np.float32)
        for time in np.unique(times).tolist():
            at_time = np.flatnonzero(times == time)
            weights[at_time] = self._read(time, models[at_time].tolist())
        return weights

    def take(self, rows: np.ndarray) -> "Selection":
        """The states of some rows of the table: their indices, or a truth value for each."""
        indices = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Selection(self.table.iloc[indices], self._layout_of, self._read, self._seeds)


def held_states(layout: Layout) -> int:
    """How many states have weights of about 1 GB together."""
    return max(1, HELD_BYTES // (4 * layout_width(layout)))


def with_gap(table: pd.DataFrame) -> pd.DataFrame:
    """Metrics with the column generalization_gap: train accuracy - test accuracy."""
    return table.assign(generalization_gap=table["train_accuracy"] - table["test_accuracy"])


def split_models(
    seeds: Mapping[int, int], train: float, validation: float, test: float, *, seed: int, by: str = "model"
) -> Parts:
    """The numbers of models, whose seeds are given by them, shuffled and shared out by three fractions.

    Models are shared out one by one, or, with `by="seed"`, all models of a seed go together. Each part is in ascending
    order. Raises InputError for fractions that do not sum to 1, and where a part with a fraction above 0 would be
    empty.
    """
    fractions = (train, validation, test)
    if not (min(fractions) >= 0 and abs(sum(fractions) - 1) < 1e-6):
        raise InputError(f"split is {fractions}, expected three fractions that sum to 1")
    require_choices("by", (by,), SPLIT_BY)
    models = np.array([*seeds])
    group_of = np.arange(len(models)) if by == "model" else np.unique([*seeds.values()], return_inverse=True)[1]
    groups = int(group_of.max()) + 1
    bounds = np.round(np.cumsum(fractions) * groups).astype(int)
    parts = np.split(np.random.default_rng(seed).permutation(groups), bounds[:2])
    for name, fraction, part in zip(Parts._fields, fractions, parts, strict=True):
        if fraction > 0 and not part.size:
            raise InputError(f"split is {fractions} of {groups} {by}s: none is left for {name}, n is too small")
    return Parts(*(models[np.isin(group_of, part)] for part in parts))


def _put_on_device(values: np.ndarray) -> Any:
    import jax  # imported late: NumPy arrays start no device
    import jax.numpy as jnp

    if not np.issubdtype(values.dtype, np.number) and values.dtype != bool:
        raise InputError(f"a label is of type {values.dtype}, expected numbers for JAX arrays")
    with jax.transfer_guard("allow"):  # the transfer is what was asked for
        return jnp.asarray(values)
