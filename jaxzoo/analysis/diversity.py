"""How different the models of a population are: in performance, in predictions, in weights."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxzoo.analysis.alignment import Alignment
from jaxzoo.analysis.features import STATISTICS, states_statistics
from jaxzoo.analysis.predict import NO_CLASS
from jaxzoo.datasets.images import SPLITS
from jaxzoo.errors import InputError
from jaxzoo.reading.selection import with_gap
from jaxzoo.reading.zoo import Zoo
from jaxzoo.settings import pinned_settings

QUARTILES = {"q25": 0.25, "q50": 0.5, "q75": 0.75}
QUANTITIES: Mapping[str, tuple[str, ...]] = {  # and the splits whose predictions each is computed from
    **{f"{split}_accuracy": (split,) for split in SPLITS},
    "generalization_gap": ("train", "test"),
    "sparsity": (),
}


def performance_quartiles(metrics: pd.DataFrame) -> pd.DataFrame:
    """Per epoch the quartiles over models of accuracy on each split, of the generalization gap, and of twins' sparsity.

    The columns are quantity, epoch, q25, q50 and q75. A model does not count at an epoch at which it is not finite, or
    its predictions on a split of the quantity are not: the accuracy of such a model is that of the first class.
    """
    table = with_gap(metrics)
    for name, splits in QUANTITIES.items():
        if name in table:
            losses = table[[f"{split}_loss" for split in splits]].to_numpy(float)
            table[name] = table[name].where(table["finite"].astype(bool) & np.isfinite(losses).all(axis=1))
    long = table.melt("epoch", [name for name in QUANTITIES if name in table], "quantity")
    by_epoch = long.groupby(["quantity", "epoch"], sort=False)["value"]
    quartiles = {name: by_epoch.quantile(share) for name, share in QUARTILES.items()}
    return pd.DataFrame(quartiles).reset_index()


class Agreement(NamedTuple):
    """For every two models, (M, M): the share of examples that they class alike, and Cohen's kappa (Cohen 1960).

    kappa = (observed - expected) / (1 - expected), where `expected` is the agreement by chance of two models with these
    class frequencies. It is NaN if both name one and the same class throughout. Both are NaN for a model that names no
    class (-1) for some example, because its logits are not finite.
    """

    agreement: np.ndarray
    kappa: np.ndarray


@pinned_settings()
def prediction_agreement(classes_MN: np.ndarray, classes: int) -> Agreement:
    """The agreement of all pairs of models, computed from their predictions (M, N) on the first of JAX's devices."""
    examples = classes_MN.shape[1]

    # class by class, as a matrix product: comparing all pairs at once would take M * M * N numbers
    def count(together_MM: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        named_MN = (jnp.asarray(classes_MN) == label).astype(jnp.float32)
        # sums of ones in float32 are exact below 2^24 examples
        return together_MM + named_MN @ named_MN.T, named_MN.sum(axis=1)

    together_MM, named_CM = jax.lax.scan(count, jnp.zeros((len(classes_MN),) * 2), jnp.arange(classes))
    silent_M = (classes_MN == NO_CLASS).any(axis=1)
    agreement = np.asarray(together_MM, np.float64) / examples
    agreement[silent_M] = agreement[:, silent_M] = np.nan
    frequency_CM = np.asarray(named_CM, np.float64) / examples
    expected = frequency_CM.T @ frequency_CM
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(expected < 1, (agreement - expected) / (1 - expected), np.nan)
    return Agreement(agreement, kappa)


def twin_agreement(parents_MN: np.ndarray, twins_MN: np.ndarray) -> np.ndarray:
    """The share of examples that each twin classes as its parent does, (M,), from the predictions of both.

    It is NaN where one of the two names no class (-1) for some example, because its logits are not finite.
    """
    silent_M = ((parents_MN == NO_CLASS) | (twins_MN == NO_CLASS)).any(axis=1)
    return np.where(silent_M, np.nan, (parents_MN == twins_MN).mean(axis=1))


class Distances(NamedTuple):
    """The distances of two models' flattened parameters, one value per pair: Euclidean, and 1 - cosine similarity."""

    l2: np.ndarray
    cosine: np.ndarray


def weight_distances(weights: np.ndarray, pairs: np.ndarray) -> Distances:
    """The distances of pairs of rows of `weights` (M, D); `pairs` (P, 2) are the numbers of the rows."""
    first, second = (weights[pairs[:, side]].astype(np.float64) for side in (0, 1))
    return _distances(first, second)


def aligned_distances(alignment: Alignment, weights: np.ndarray, pairs: np.ndarray) -> Distances:
    """As `weight_distances`, after each pair's second model has its hidden units put into the order of the first's."""
    aligned = alignment.match(weights[pairs[:, 0]], weights[pairs[:, 1]]).aligned
    return _distances(weights[pairs[:, 0]].astype(np.float64), aligned.astype(np.float64))


def sample_pairs(models: int, most: int, *, seed: int = 42) -> np.ndarray:
    """All pairs of different models, (P, 2), or `most` of them, drawn without repetition.

    Raises InputError for fewer than two models.
    """
    if models < 2:
        raise InputError(f"there are {models} models, expected 2 or more to compare: n is too small")
    pairs = np.column_stack(np.triu_indices(models, 1))
    if len(pairs) <= most:
        return pairs
    return pairs[np.sort(np.random.default_rng(seed).choice(len(pairs), most, replace=False))]


def layer_weights(zoo: Zoo, epochs: Sequence[int], models: Sequence[int] | None = None) -> pd.DataFrame:
    """Per epoch and parameter, the medians over models of mean, variance and percentiles; only finite models count."""
    tables = []
    for epoch in epochs:
        statistics = states_statistics(zoo.select(epochs=epoch, models=models))
        statistics = statistics[np.isfinite(statistics).all(axis=1)]
        medians = np.median(statistics, axis=0) if len(statistics) else np.full(statistics.shape[1], np.nan)
        table = pd.DataFrame(medians.reshape(-1, len(STATISTICS)), columns=list(STATISTICS))
        table.insert(0, "epoch", epoch)
        table.insert(1, "layer", [entry.layer for entry in zoo.layout])
        table.insert(2, "kind", [entry.kind for entry in zoo.layout])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _distances(first: np.ndarray, second: np.ndarray) -> Distances:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = 1 - np.einsum("pd,pd->p", first, second) / norms
    return Distances(np.linalg.norm(first - second, axis=1), cosine)
