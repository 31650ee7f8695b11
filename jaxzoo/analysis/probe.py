"""What a linear probe reads off the weights of a zoo's models: the baseline to beat.

The benchmark of Unterthiner et al. 2020 (arXiv 2002.11448) as the model zoos paper uses it: flattened weights and layer
statistics; ridge regression (R^2) and softmax regression (accuracy); parts by model, never by state.
"""

import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from jaxzoo.analysis.features import states_statistics
from jaxzoo.errors import InputError
from jaxzoo.reading.selection import Parts, States
from jaxzoo.reading.zoo import Zoo

NUMBERS = ("test_accuracy", "generalization_gap", "epoch", "dropout", "learning_rate", "weight_decay")
CLASSES = ("activation", "initialization", "optimizer")
PENALTIES = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)  # of ridge, on standardised features and the sum of squares
INVERSE_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # of softmax regression, on the sum of cross-entropies
MOST_ITERATIONS = 100  # of softmax regression: converged, or as good as
MOST_EPOCHS = 6
MOST_COLUMNS = 100_000  # of flattened weights that a linear fit is tried on
LARGEST_WEIGHT = 10.0  # models that went astray have more, and a few of them are all that a linear fit sees
FEWEST_MODELS = 20
SPLIT_SEEDS = 5


class Result(NamedTuple):
    """A target read off features: `score` is R^2 or accuracy on test models, mean and spread over split seeds.

    `chance` is what naming the mean, or the commonest class, of the training models gives.
    """

    target: str
    features: str
    measure: str
    score: float
    spread: float
    chance: float
    states: int


def probe_states(states: States, *, seeds: int = SPLIT_SEEDS, on_step: Callable[[str], None] = print) -> pd.DataFrame:
    """A `Result` per target that varies and kind of features, over `seeds` splits of the models.

    Raises InputError where models are too few, or weights not finite.
    """
    models = states.table["model"].nunique()
    if models < FEWEST_MODELS:
        raise InputError(f"there are {models} models, expected {FEWEST_MODELS} or more to probe: n is too small")
    table = states.table
    numbers = [name for name in NUMBERS if table[name].nunique() > 1]
    classes = [name for name in CLASSES if table[name].nunique() > 1]
    results = []
    for kind, features in _features(states, on_step).items():
        on_step(f"{kind}, {features.shape[1]:,} numbers of {len(table):,} states")
        scores = _probe_splits(features, table, numbers, classes, [_parts(states, seed) for seed in range(seeds)])
        for target in (*numbers, *classes):
            values, chances = np.array([score[target] for score in scores]).T
            measure = "R^2" if target in numbers else "accuracy"
            spread = float(values.std(ddof=1)) if seeds > 1 else float("nan")
            results.append(Result(target, kind, measure, values.mean(), spread, chances.mean(), len(table)))
    return pd.DataFrame(results, columns=Result._fields)


def _features(states: States, on_step: Callable[[str], None]) -> dict[str, np.ndarray]:
    """By kind, a row per state. Raises InputError where weights are not finite."""
    features = {"statistics": states_statistics(states)}
    columns = states.layout[-1].columns.stop
    if columns <= MOST_COLUMNS:
        features = {"weights": states.weights(), **features}
    else:
        on_step(f"weights are left out: {columns:,} numbers, above {MOST_COLUMNS:,}")
    if not all(np.isfinite(values).all() for values in features.values()):
        raise InputError("weights are not all finite, expected states selected with finite and max_abs_weight")
    return features


def select_states(
    zoo: Zoo, *, epochs: Sequence[int] | None = None, where: str | None = None, max_abs_weight: float = LARGEST_WEIGHT
) -> States:
    """The states a probe is made of: at those epochs, or at six spread evenly over the zoo's; finite and not huge."""
    held = zoo.epochs
    if epochs is None:
        places = np.unique(np.linspace(0, len(held) - 1, min(MOST_EPOCHS, len(held))).round().astype(int))
        epochs = [held[place] for place in places]
    return zoo.select(epochs=epochs, where=where, finite=True, max_abs_weight=max_abs_weight)


def format_results(results: pd.DataFrame) -> str:
    """The table as people read it: a row per target, a column per kind of features."""
    cells = results["score"].map("{:.3f}".format) + " ± " + results["spread"].map("{:.3f}".format)
    table = results.assign(cell=cells, chance=results["chance"].map("{:.3f}".format))
    rows = ["target", "measure", "chance"]
    wide = table.pivot_table(index=rows, columns="features", values="cell", aggfunc="first", sort=False)
    return wide.rename_axis(columns=None).reset_index().to_string(index=False)


def _parts(states: States, seed: int) -> Parts:
    """The rows of the table in each part of a split by model."""
    parts = states.split(seed=seed)
    model = states.table["model"]
    rows = [np.flatnonzero(model.isin(part.table["model"].unique())) for part in parts]
    for name, part in zip(Parts._fields, rows, strict=True):
        if len(part) < 2:
            raise InputError(f"{name} has {len(part)} states, expected 2 or more: n is too small")
    return Parts(*rows)


def _probe_splits(
    features: np.ndarray, table: pd.DataFrame, numbers: Sequence[str], classes: Sequence[str], parts: Sequence[Parts]
) -> list[Mapping[str, tuple[float, float]]]:
    """`_probe_once` of every split, a thread for each.

    Each thread stays on one core: many small products do not gain from a second one, and suffer where it is busy (50
    times slower, measured).
    """
    from sklearn.exceptions import ConvergenceWarning  # here: who only reads a zoo needs no scikit-learn

    probe = functools.partial(_probe_once, features, table, numbers, classes)
    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # out here: filters are the whole process's, not a thread's
        return list(pool.map(probe, parts))


def _probe_once(
    features: np.ndarray, table: pd.DataFrame, numbers: Sequence[str], classes: Sequence[str], part: Parts
) -> Mapping[str, tuple[float, float]]:
    """(score, chance) by target on one split."""
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit(features[part.train]).transform(features.astype(np.float64))
    scores = {}
    if numbers:
        for name, score in zip(numbers, _ridge(scaled, table[list(numbers)].to_numpy(float), part), strict=True):
            scores[name] = (score, 0.0)
    for name in classes:
        labels = table[name].to_numpy()
        commonest = pd.Series(labels[part.train]).mode()[0]
        scores[name] = (_softmax(scaled, labels, part), float((labels[part.test] == commonest).mean()))
    return scores


def _ridge(features: np.ndarray, targets: np.ndarray, part: Parts) -> np.ndarray:
    """R^2 on test states of every target, each with the penalty that is best on validation states."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score

    def scores(model: Any, rows: np.ndarray) -> np.ndarray:
        return r2_score(targets[rows], model.predict(features[rows]), multioutput="raw_values")

    fitted = [Ridge(alpha=penalty).fit(features[part.train], targets[part.train]) for penalty in PENALTIES]
    best = np.argmax([scores(model, part.validation) for model in fitted], axis=0)
    return np.array([scores(model, part.test) for model in fitted])[best, np.arange(len(best))]


def _softmax(features: np.ndarray, labels: np.ndarray, part: Parts) -> float:
    """Accuracy on test states with the penalty that is best on validation states."""
    from sklearn.linear_model import LogisticRegression

    fitted = [
        LogisticRegression(C=inverse, max_iter=MOST_ITERATIONS).fit(features[part.train], labels[part.train])
        for inverse in INVERSE_PENALTIES
    ]
    best = max(fitted, key=lambda model: model.score(features[part.validation], labels[part.validation]))
    return float(best.score(features[part.test], labels[part.test]))
