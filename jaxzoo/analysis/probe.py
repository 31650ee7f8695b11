"""Linear probes, which predict a model's metrics and hyperparameters from its weights: the baseline to beat.

This is the benchmark of Unterthiner et al. 2020 (arXiv 2002.11448) as the model zoos paper uses it. The features are
flattened weights or layer statistics. Ridge regression predicts numbers (scored by R^2), softmax regression predicts
classes (scored by accuracy). Train, validation and test are split by seed where there are seeds enough, else by model,
and never by state.
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
from jaxzoo.reading.layout import layout_width
from jaxzoo.reading.selection import SHARES, Parts, Selection
from jaxzoo.reading.zoo import Zoo
from jaxzoo.spec import grid

NUMBERS = ("test_accuracy", "generalization_gap", "epoch", *grid.NUMBERS, *grid.FACTOR_NUMBERS)
CLASSES = (*grid.WORDS, *grid.NAMES)
PENALTIES = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)  # of ridge, for standardised features and the sum of squares
INVERSE_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # of softmax regression, for the sum of cross-entropies
MOST_ITERATIONS = 100  # of softmax regression, which has then converged, or nearly
MOST_EPOCHS = 6
MOST_COLUMNS = 100_000  # of flattened weights; larger models are probed by their statistics alone
# a single state with a parameter of 90, among 256 models on MNIST, took R^2 on layer statistics from 0.6 to -13
LARGEST_WEIGHT = 10.0
FEWEST_MODELS = 20
FEWEST_OF_CLASS = 4  # models, on average
SPLIT_SEEDS = 5
FEWEST_SEEDS = 10  # in each part of a split by seed
SHARED_SEEDS = "splits are by model: training and test models share seeds, of which there are too few to split by"


class Result(NamedTuple):
    """How well a target is predicted from features.

    `score` is R^2 or accuracy on test models, as a mean over splits; `spread` is the standard deviation over splits.
    `chance` is the score of always naming the mean, or the commonest class, of the training models.
    """

    target: str
    features: str
    measure: str
    score: float
    spread: float
    chance: float
    states: int


def probe_states(
    states: Selection, *, seeds: int = SPLIT_SEEDS, on_step: Callable[[str], None] = print
) -> pd.DataFrame:
    """A row (see `Result`) per kind of features and per target that varies, over `seeds` splits (see `split_by`).

    Raises InputError for too few models, and for weights that are not finite.
    """
    models = states.table["model"].nunique()
    if models < FEWEST_MODELS:
        raise InputError(f"there are {models} models, expected {FEWEST_MODELS} or more to probe: n is too small")
    table = states.table
    numbers, classes = _varying(table, NUMBERS), _varying(table, CLASSES)
    by = split_by(states)
    if shares_seeds(states):
        on_step(SHARED_SEEDS)
    parts = [_parts(states, seed, by) for seed in range(seeds)]
    results = []
    for kind, features in _features(states, on_step).items():
        on_step(f"{kind}, {features.shape[1]:,} numbers of {len(table):,} states")
        scores = _probe_splits(features, table, numbers, classes, parts)
        for target in (*numbers, *classes):
            values, chances = np.array([score[target] for score in scores]).T  # a value per split
            measure = "R^2" if target in numbers else "accuracy"
            spread = float(values.std(ddof=1)) if seeds > 1 else float("nan")
            results.append(Result(target, kind, measure, values.mean(), spread, chances.mean(), len(table)))
    return pd.DataFrame(results, columns=Result._fields)


def _varying(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The columns that are there and have several values; of an imported zoo some may not be known."""
    known = [name for name in names if name in table.columns and (names is NUMBERS or _repeated(table, name))]
    return [name for name in known if table[name].nunique() > 1 and table[name].notna().all()]


def _repeated(table: pd.DataFrame, name: str) -> bool:
    """Whether each class has some models to learn it from; each drawn architecture may be a class of its own."""
    return bool(table[name].nunique() * FEWEST_OF_CLASS <= table["model"].nunique())


def split_by(states: Selection) -> str:
    """How states are split for a probe: by "seed" where each part gets ten seeds or more, else by "model".

    Models of one seed and initialisation begin as the same weights, so a split by model may tell a probe too much.
    """
    return "seed" if states.table["seed"].nunique() * min(SHARES) >= FEWEST_SEEDS else "model"


def shares_seeds(states: Selection) -> bool:
    """Whether a probe of these states trains and tests on models of one seed."""
    table = states.table
    return split_by(states) == "model" and table["seed"].nunique() < table["model"].nunique()


def _features(states: Selection, on_step: Callable[[str], None]) -> dict[str, np.ndarray]:
    """The features by kind, with a row per state. Raises InputError for weights that are not finite."""
    features = {"statistics": states_statistics(states)}
    if states.mixed:
        on_step("weights are left out: the models have several architectures")
        return _finite(features)
    columns = layout_width(states.layout)
    if columns <= MOST_COLUMNS:
        features = {"weights": states.weights(), **features}
    else:
        on_step(f"weights are left out: {columns:,} numbers, above {MOST_COLUMNS:,}")
    return _finite(features)


def _finite(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not all(np.isfinite(values).all() for values in features.values()):
        raise InputError("weights are not all finite, expected states selected with finite and max_abs_weight")
    return features


def select_states(
    zoo: Zoo, *, epochs: Sequence[int] | None = None, where: str | None = None, max_abs_weight: float = LARGEST_WEIGHT
) -> Selection:
    """The states for a probe, with weights that are finite and not huge.

    They are at the given epochs, or at six epochs spread evenly over the zoo's without epoch 0: untrained models of one
    seed and initialisation are the same vector.
    """
    held = [epoch for epoch in zoo.epochs if epoch > 0]
    if epochs is None and not held:
        raise InputError(f"{zoo.path}: no trained epoch is there yet, expected one, or epochs given")
    if epochs is None:
        indices = np.unique(np.linspace(0, len(held) - 1, min(MOST_EPOCHS, len(held))).round().astype(int))
        epochs = [held[index] for index in indices]
    return zoo.select(epochs=epochs, where=where, finite=True, max_abs_weight=max_abs_weight)


def format_results(results: pd.DataFrame) -> str:
    """The results as text: a row per target, a column per kind of features."""
    cells = results["score"].map("{:.3f}".format) + " ± " + results["spread"].map("{:.3f}".format)
    table = results.assign(cell=cells, chance=results["chance"].map("{:.3f}".format))
    rows = ["target", "measure", "chance"]
    wide = table.pivot_table(index=rows, columns="features", values="cell", aggfunc="first", sort=False)
    return wide.rename_axis(columns=None).reset_index().to_string(index=False)


def _parts(states: Selection, seed: int, by: str) -> Parts:
    """The rows of the table in each part of a split. Raises InputError for a part that is too small."""
    parts = states.split(seed=seed, by=by)
    model = states.table["model"]
    rows = [np.flatnonzero(model.isin(part.table["model"].unique())) for part in parts]
    for name, part in zip(Parts._fields, rows, strict=True):
        if len(part) < 2:
            raise InputError(f"{name} has {len(part)} states, expected 2 or more: n is too small")
    return Parts(*rows)


def _probe_splits(
    features: np.ndarray, table: pd.DataFrame, numbers: Sequence[str], classes: Sequence[str], parts: Sequence[Parts]
) -> list[Mapping[str, tuple[float, float]]]:
    """Runs `_probe_once` on every split, each in a thread of its own."""
    from sklearn.exceptions import ConvergenceWarning  # not above: reading a zoo needs no scikit-learn

    # linear algebra stays on one core a thread: its many small products gain nothing from a second core,
    # and ran 50 times slower where that core was busy
    probe = functools.partial(_probe_once, features, table, numbers, classes)
    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # out here: all threads of a process share its filters
        return list(pool.map(probe, parts))


def _probe_once(
    features: np.ndarray, table: pd.DataFrame, numbers: Sequence[str], classes: Sequence[str], part: Parts
) -> Mapping[str, tuple[float, float]]:
    """The score and the chance of every target on one split."""
    from sklearn.preprocessing import StandardScaler

    # the scale is that of training states alone, or it would tell the fit about the others
    scaled = StandardScaler().fit(features[part.train]).transform(features.astype(np.float64))
    scores = {}
    if numbers:
        for name, score in zip(numbers, _ridge(scaled, table[list(numbers)].to_numpy(float), part), strict=True):
            scores[name] = (score, 0.0)  # an R^2 of 0 is that of naming the mean
    for name in classes:
        labels = table[name].to_numpy()
        commonest = pd.Series(labels[part.train]).mode()[0]
        scores[name] = (_softmax(scaled, labels, part), float((labels[part.test] == commonest).mean()))
    return scores


def _ridge(features: np.ndarray, targets: np.ndarray, part: Parts) -> np.ndarray:
    """R^2 of every target on test states, with the penalty that is best for that target on validation states."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score

    def scores(model: Any, rows: np.ndarray) -> np.ndarray:
        return r2_score(targets[rows], model.predict(features[rows]), multioutput="raw_values")

    fitted = [Ridge(alpha=penalty).fit(features[part.train], targets[part.train]) for penalty in PENALTIES]
    best = np.argmax([scores(model, part.validation) for model in fitted], axis=0)
    return np.array([scores(model, part.test) for model in fitted])[best, np.arange(len(best))]


def _softmax(features: np.ndarray, labels: np.ndarray, part: Parts) -> float:
    """The accuracy on test states, with the penalty that is best on validation states."""
    from sklearn.linear_model import LogisticRegression

    fitted = [
        LogisticRegression(C=inverse, max_iter=MOST_ITERATIONS).fit(features[part.train], labels[part.train])
        for inverse in INVERSE_PENALTIES
    ]
    best = max(fitted, key=lambda model: model.score(features[part.validation], labels[part.validation]))
    return float(best.score(features[part.test], labels[part.test]))
