"""Collects the contents of a report as tables, from the zoo on disk and, if they are at hand, from images."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.analysis.alignment import Alignment
from jaxzoo.analysis.diversity import (
    QUARTILES,
    aligned_distances,
    layer_weights,
    performance_quartiles,
    prediction_agreement,
    sample_pairs,
    twin_agreement,
    weight_distances,
)
from jaxzoo.analysis.features import STATISTICS, states_statistics
from jaxzoo.analysis.predict import NO_CLASS, predict_classes
from jaxzoo.analysis.probe import LARGEST_WEIGHT, SHARED_SEEDS, probe_states, select_states, shares_seeds
from jaxzoo.errors import InputError
from jaxzoo.reading.layout import layout_width
from jaxzoo.reading.selection import Selection, held_states
from jaxzoo.reading.zoo import Zoo
from jaxzoo.report.facts import zoo_facts
from jaxzoo.spec.layers import module_of
from jaxzoo.spec.plan import hyperparameter_names

MOST_COMPARED = 512  # models whose predictions are compared, in all pairs
MOST_PAIRS = 1000  # pairs of models whose weights are compared
MOST_ALIGNED = 100_000_000  # parameters that are aligned: 8 pairs of a ResNet-18 take two minutes
MOST_ARCHITECTURES = 16  # whose predictions are compared: a program of each is compiled, in seconds
MOST_IMAGES = 2000  # on which predictions are compared


class Content(NamedTuple):
    """A report in tables.

    `models` has a row per model: its hyperparameters, its metrics at the last epoch, and its coordinates `x`, `y` in a
    projection of the weights (NaN if its weights are huge). `varying` names the hyperparameters that differ. `twins`
    has a table per method, with a row per model: `sparsity`, `test_accuracy`, `parent_accuracy` and, with images,
    `agreement`. `quartiles` are the zoo's `performance_quartiles`, `trajectories` those of its twins, by method.
    `notes` says what was left out of the report, and why.
    """

    name: str
    facts: Mapping[str, str]
    quartiles: pd.DataFrame
    models: pd.DataFrame
    varying: tuple[str, ...]
    explained: tuple[float, float]
    twins: Mapping[str, pd.DataFrame]
    trajectories: Mapping[str, pd.DataFrame]
    layers: pd.DataFrame
    diversity: pd.DataFrame
    probe: pd.DataFrame | None
    notes: list[str]


def collect(
    zoo: Zoo,
    images: np.ndarray | None,
    *,
    with_probe: bool = True,
    on_step: Callable[[str], None] = lambda text: None,
) -> Content:
    """Collects the report of a zoo. `images` are normalised test images (N, H, W, C) for comparing predictions.

    Raises InputError for a zoo that has no epoch yet.
    """
    if not zoo.epochs:
        raise InputError(f"{zoo.path}: no epoch is there yet, expected one or more")
    notes: list[str] = []
    images = _first_images(zoo, images, notes)
    on_step("metrics")
    metrics, final = zoo.metrics, zoo.select().final()
    models = final.table
    on_step("weights in two dimensions")
    compared = _compared(final, notes)
    weights = _rows_of(final.take(compared), notes)
    coordinates, explained = _project(weights, notes)
    models[["x", "y"]] = np.nan
    models.loc[compared, ["x", "y"]] = coordinates
    on_step("twins")
    classes = None if images is None else _classes(zoo, models, images)
    made = _twins_begun(zoo, notes)
    twins = {method: _twin_table(twin, models, images, classes) for method, twin in made.items()}
    on_step("diversity")
    diversity = _diversity(zoo, weights, None if classes is None else classes[compared], notes)
    return Content(
        name=zoo.spec.name if zoo.record.twin is None else f"{zoo.spec.name}: twins by {zoo.record.twin.method}",
        facts=zoo_facts(zoo),
        quartiles=performance_quartiles(metrics),
        models=models,
        varying=tuple(name for name in hyperparameter_names(zoo.members.columns) if models[name].nunique() > 1),
        explained=explained,
        twins=twins,
        trajectories={method: performance_quartiles(twin.metrics) for method, twin in made.items()},
        layers=_layers(zoo, notes),
        diversity=diversity,
        probe=_probe(zoo, notes, on_step) if with_probe else None,
        notes=notes,
    )


def _first_images(zoo: Zoo, images: np.ndarray | None, notes: list[str]) -> np.ndarray | None:
    module = None if zoo.mixed else module_of(zoo.layers)
    if module is not None and module.module is None:
        notes.append(f"Predictions are not compared: the networks are the module {module.name}, which is not at hand.")
        return None
    if len(zoo.groups) > MOST_ARCHITECTURES:
        notes.append(f"Predictions are not compared: each of {len(zoo.groups)} architectures would be compiled.")
        return None
    if images is None:
        notes.append("Predictions are not compared: the images are not at hand.")
        return None
    if len(images) > MOST_IMAGES:
        notes.append(f"Predictions are compared on {MOST_IMAGES:,} of {len(images):,} test images.")
    return images[:MOST_IMAGES]


def _rows_of(states: Selection, notes: list[str]) -> np.ndarray:
    """What states are projected and compared by: their weights; of several architectures, standardised statistics."""
    if not states.mixed:
        return states.weights()
    notes.append("Models of several architectures are shown by statistics of their weights, not by the weights.")
    values = states_statistics(states)
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1), np.float32)


def _layers(zoo: Zoo, notes: list[str]) -> pd.DataFrame:
    if not zoo.mixed:
        return layer_weights(zoo, [zoo.epochs[0], zoo.epochs[-1]])
    notes.append("Layers are not shown: models of several architectures have different ones.")
    return pd.DataFrame(columns=["epoch", "layer", "kind", *STATISTICS])


def _compared(final: Selection, notes: list[str]) -> np.ndarray:
    """The rows of the models whose weights and predictions are compared: all, or every n-th if all exceed 1 GB."""
    if final.mixed:  # they are compared by some statistics of each
        return np.arange(len(final))
    stride = -(-len(final) // held_states(final.layout))
    rows = np.arange(0, len(final), stride)
    if stride > 1:
        notes.append(f"Compared are {len(rows)} of {len(final):,} models, whose weights come to 1 GB.")
    return rows


def _classes(zoo: Zoo, states: pd.DataFrame, images: np.ndarray) -> np.ndarray:
    """The predictions of states, (states, N), in the order of their table."""
    classes = np.empty((len(states), len(images)), int)
    for epoch, rows in states.reset_index(drop=True).groupby("epoch"):
        classes[rows.index] = predict_classes(zoo, images, int(str(epoch)), rows["model"].tolist())
    return classes


def _project(weights: np.ndarray, notes: list[str]) -> tuple[np.ndarray, tuple[float, float]]:
    """The first two principal components, (models, 2), and their shares of the variance.

    The components of models whose weights are huge or not finite are NaN.
    """
    from sklearn.decomposition import PCA  # not above: reading a zoo needs no scikit-learn

    shown = np.isfinite(weights).all(axis=1) & (np.abs(np.nan_to_num(weights)).max(axis=1) <= LARGEST_WEIGHT)
    coordinates = np.full((len(weights), 2), np.nan)
    if shown.sum() < 3:  # two points always lie on a line
        notes.append(f"Weights are not shown in two dimensions: n = {shown.sum()} is too small.")
        return coordinates, (0.0, 0.0)
    if not shown.all():
        left_out = len(weights) - shown.sum()
        notes.append(f"Not in the projection: {left_out} models with weights not finite or above {LARGEST_WEIGHT:g}.")
    # the covariance has a row and a column per parameter: it is worth computing only where models are more
    solver = "covariance_eigh" if shown.sum() > weights.shape[1] else "full"
    components = PCA(2, svd_solver=solver).fit(weights[shown])
    coordinates[shown] = components.transform(weights[shown])
    first, second = components.explained_variance_ratio_
    return coordinates, (float(first), float(second))


def _twins_begun(zoo: Zoo, notes: list[str]) -> dict[str, Zoo]:
    """The twins, by method, that have an epoch to show, and whose parents are the models at the last epoch."""
    begun = {}
    for method, twin in zoo.twins.items():
        parent = twin.record.parent
        if parent is not None and parent.epoch < zoo.epochs[-1]:
            notes.append(f"Twins by {method} are not shown: they were made of epoch {parent.epoch}.")
        elif twin.epochs:
            begun[method] = twin
        else:
            notes.append(f"Twins by {method} have no epoch yet that all cohorts hold.")
    return begun


def _twin_table(
    twin: Zoo, models: pd.DataFrame, images: np.ndarray | None, parent_classes: np.ndarray | None
) -> pd.DataFrame:
    final = twin.select().final().table
    parents = models.reset_index(drop=True).reset_index(names="parent").merge(final[["model"]], on="model")
    table = final[final["model"].isin(parents["model"])].reset_index(drop=True)
    table = table[["model", "epoch", "sparsity", "test_accuracy", "finite"]]
    table["parent_accuracy"] = parents["test_accuracy"].to_numpy()
    if images is not None and parent_classes is not None:
        classes = _classes(twin, table, images)
        table["agreement"] = twin_agreement(parent_classes[parents["parent"].to_numpy()], classes)
    return table.drop(columns="epoch")


def _diversity(zoo: Zoo, weights: np.ndarray, classes: np.ndarray | None, notes: list[str]) -> pd.DataFrame:
    """The quartiles over pairs of models at the last epoch; the column `pairs` has the number of pairs."""
    silent = np.zeros(len(weights), bool) if classes is None else (classes == NO_CLASS).any(axis=1)
    kept = np.flatnonzero(np.isfinite(weights).all(axis=1) & ~silent)
    if len(kept) < len(weights):
        notes.append(f"Not compared: {len(weights) - len(kept)} models whose weights or predictions are not finite.")
    if len(kept) < 2:
        notes.append(f"Models are not compared: n = {len(kept)} finite ones is too small.")
        return pd.DataFrame(columns=["quantity", "pairs", *QUARTILES])
    rows: dict[str, np.ndarray] = {}
    if classes is not None:
        compared = kept[:: -(-len(kept) // MOST_COMPARED)]  # every n-th
        agreement = prediction_agreement(classes[compared], zoo.spec.classes)
        upper = np.triu_indices(len(compared), 1)  # each pair once, and no model with itself
        rows |= {"agreement of predictions": agreement.agreement[upper], "Cohen's kappa": agreement.kappa[upper]}
    if not zoo.mixed:
        rows |= _distances(zoo, weights[kept], notes)
    quartiles = [(name, len(values), *np.nanquantile(values, [*QUARTILES.values()])) for name, values in rows.items()]
    return pd.DataFrame(quartiles, columns=["quantity", "pairs", *QUARTILES])


def _distances(zoo: Zoo, weights: np.ndarray, notes: list[str]) -> dict[str, np.ndarray]:
    """Distances between the weights of pairs of models, by what they are."""
    plain = weight_distances(weights, sample_pairs(len(weights), MOST_PAIRS))
    rows = {"l2 distance of weights": plain.l2, "cosine distance of weights": plain.cosine}
    if module_of(zoo.layers) is not None:
        notes.append("Units are not aligned: the networks are a Flax module, whose units nobody knows.")
        return rows
    fewer = max(1, min(MOST_PAIRS, MOST_ALIGNED // layout_width(zoo.layout)))
    aligned = aligned_distances(Alignment.of(zoo), weights, sample_pairs(len(weights), fewer))
    return {**rows, "l2 distance, units aligned": aligned.l2, "cosine distance, units aligned": aligned.cosine}


def _probe(zoo: Zoo, notes: list[str], on_step: Callable[[str], None]) -> pd.DataFrame | None:
    try:
        states = select_states(zoo)
        if shares_seeds(states):
            notes.append(f"Of the probe: {SHARED_SEEDS}.")
        return probe_states(states, on_step=lambda text: on_step(f"probe of {text}"))
    except InputError as error:
        notes.append(f"No probe: {error}.")
        return None
