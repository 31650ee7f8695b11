"""What a report says, as tables: collected from the zoo on disk, and from images where they are at hand."""

import dataclasses
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
from jaxzoo.analysis.predict import predict_classes
from jaxzoo.analysis.probe import LARGEST_WEIGHT, probe_states, select_states
from jaxzoo.errors import InputError
from jaxzoo.reading.selection import held_states
from jaxzoo.reading.zoo import Zoo
from jaxzoo.spec.plan import GridPoint

MOST_COMPARED = 512  # models of which all pairs are compared by their predictions
MOST_PAIRS = 1000  # pairs whose weights are compared
MOST_IMAGES = 2000
PROBE_SEEDS = 3


class Content(NamedTuple):
    """A report in tables.

    `models` has a row per model: its hyperparameters, its metrics at the last epoch and, of models whose weights are
    not huge, the place `x`, `y` in a projection of them; `varying` names the hyperparameters that differ. `twins` has
    by method a row per model, `sparsity`, `test_accuracy`, `parent_accuracy` and, with images, `agreement`;
    `quartiles`, and `trajectories` of twins, are `performance_quartiles`. `notes` says what was left out, and why.
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
    """The report of a zoo; `images` are normalised test images (N, H, W, C) for comparing predictions.

    Raises InputError for a zoo that has no epoch yet.
    """
    if not zoo.epochs:
        raise InputError(f"{zoo.path}: no epoch is there yet that all cohorts hold, expected one or more")
    notes: list[str] = []
    images = _first_images(images, notes)
    on_step("metrics")
    metrics = zoo.metrics
    last = zoo.epochs[-1]
    models = zoo.select(epochs=last).table
    on_step("weights in two dimensions")
    compared = _compared(zoo, notes)
    weights = zoo.weights(last, compared)
    places, explained = _project(weights, notes)
    models[["x", "y"]] = np.nan
    models.loc[compared, ["x", "y"]] = places
    on_step("twins")
    classes = None if images is None else predict_classes(zoo, images, last)
    made = _twins_begun(zoo, notes)
    twins = {method: _twin_table(twin, models, images, classes) for method, twin in made.items()}
    on_step("diversity")
    diversity = _diversity(zoo, weights, None if classes is None else classes[compared], notes)
    return Content(
        name=zoo.spec.name if zoo.record.twin is None else f"{zoo.spec.name}: twins by {zoo.record.twin.method}",
        facts=_facts(zoo),
        quartiles=performance_quartiles(metrics),
        models=models,
        varying=tuple(name for name in GridPoint._fields if models[name].nunique() > 1),
        explained=explained,
        twins=twins,
        trajectories={method: performance_quartiles(twin.metrics) for method, twin in made.items()},
        layers=layer_weights(zoo, [zoo.epochs[0], last]),
        diversity=diversity,
        probe=_probe(zoo, notes, on_step) if with_probe else None,
        notes=notes,
    )


def _facts(zoo: Zoo) -> dict[str, str]:
    spec, dataset, record = zoo.spec, zoo.spec.dataset, zoo.record
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    made = f"{record.engine} engine, {record.lanes} lanes"
    twin = {} if record.twin is None else {"twins": ", ".join(f"{k} {v}" for k, v in vars(record.twin.used).items())}
    return {
        "models": f"{len(zoo.members):,}",
        "epochs": f"{zoo.epochs[0]} to {zoo.epochs[-1]}"
        + ("" if zoo.epochs[-1] == record.epochs else f" of {record.epochs}: unfinished"),
        "architecture": f"{spec.architecture}, {zoo.layout[-1].columns.stop:,} parameters",
        "images": f"{dataset.name}, {dataset.train:,} + {dataset.validation:,} + {dataset.test:,} "
        f"(train, validation, test), {dataset.size} x {dataset.size} x {dataset.channels}",
        **{name: ", ".join(map(str, values)) for name, values in dataclasses.asdict(spec.grid).items()},
        "batch size": str(spec.batch_size),
        **twin,
        "made with": f"{made}; {versions}",
        "digest": spec.digest,
        "fingerprint of images": record.fingerprint,
    }


def _first_images(images: np.ndarray | None, notes: list[str]) -> np.ndarray | None:
    if images is None:
        notes.append("Predictions are not compared: the images are not at hand.")
        return None
    if len(images) > MOST_IMAGES:
        notes.append(f"Predictions are compared on {MOST_IMAGES:,} of {len(images):,} test images.")
    return images[:MOST_IMAGES]


def _compared(zoo: Zoo, notes: list[str]) -> list[int]:
    """Models whose weights and predictions are compared: all, or as many as memory should hold, spread evenly."""
    count = len(zoo.members)
    step = -(-count // held_states(zoo.layout))
    if step > 1:
        notes.append(f"Compared are {len(range(0, count, step))} of {count:,} models, whose weights come to 1 GB.")
    return list(range(0, count, step))


def _project(weights: np.ndarray, notes: list[str]) -> tuple[np.ndarray, tuple[float, float]]:
    """The first two principal components, (models, 2), NaN where weights are huge; and the variance they hold."""
    from sklearn.decomposition import PCA  # here: who only reads a zoo needs no scikit-learn

    shown = np.isfinite(weights).all(axis=1) & (np.abs(np.nan_to_num(weights)).max(axis=1) <= LARGEST_WEIGHT)
    places = np.full((len(weights), 2), np.nan)
    if shown.sum() < 3:
        notes.append(f"Weights are not shown in two dimensions: n = {shown.sum()} is too small.")
        return places, (0.0, 0.0)
    if not shown.all():
        left_out = len(weights) - shown.sum()
        notes.append(f"Not in the projection: {left_out} models with weights not finite or above {LARGEST_WEIGHT:g}.")
    components = PCA(2, svd_solver="covariance_eigh" if shown.sum() > weights.shape[1] else "full").fit(weights[shown])
    places[shown] = components.transform(weights[shown])
    first, second = components.explained_variance_ratio_
    return places, (float(first), float(second))


def _twins_begun(zoo: Zoo, notes: list[str]) -> dict[str, Zoo]:
    twins = dict(zoo.twins)
    for method in [method for method, twin in twins.items() if not twin.epochs]:
        notes.append(f"Twins by {method} have no epoch yet that all cohorts hold.")
        del twins[method]
    return twins


def _twin_table(
    twin: Zoo, models: pd.DataFrame, images: np.ndarray | None, parent_classes: np.ndarray | None
) -> pd.DataFrame:
    last = twin.epochs[-1]
    table = twin.metrics_at(last)[["model", "sparsity", "test_accuracy", "finite"]]
    table["parent_accuracy"] = models["test_accuracy"].to_numpy()
    if images is not None and parent_classes is not None:
        table["agreement"] = twin_agreement(parent_classes, predict_classes(twin, images, last))
    return table


def _diversity(zoo: Zoo, weights: np.ndarray, classes: np.ndarray | None, notes: list[str]) -> pd.DataFrame:
    """Quartiles over pairs of models at the last epoch; `pairs` says of how many."""
    kept = np.flatnonzero(np.isfinite(weights).all(axis=1))
    if len(kept) < 2:
        notes.append(f"Models are not compared: n = {len(kept)} finite ones is too small.")
        return pd.DataFrame(columns=["quantity", "pairs", *QUARTILES])
    rows: dict[str, np.ndarray] = {}
    if classes is not None:
        compared = kept[:: -(-len(kept) // MOST_COMPARED)]
        agreement = prediction_agreement(classes[compared], zoo.spec.dataset.classes)
        upper = np.triu_indices(len(compared), 1)
        rows |= {"agreement of predictions": agreement.agreement[upper], "Cohen's kappa": agreement.kappa[upper]}
    pairs = sample_pairs(len(kept), MOST_PAIRS)
    finite = weights[kept]
    plain = weight_distances(finite, pairs)
    rows |= {"l2 distance of weights": plain.l2, "cosine distance of weights": plain.cosine}
    try:
        aligned = aligned_distances(Alignment.of(zoo.layout, zoo.spec.dataset.channels), finite, pairs)
        rows |= {"l2 distance, units aligned": aligned.l2, "cosine distance, units aligned": aligned.cosine}
    except InputError as error:
        notes.append(f"Units are not aligned: {error}.")
    quartiles = [(name, len(values), *np.nanquantile(values, [*QUARTILES.values()])) for name, values in rows.items()]
    return pd.DataFrame(quartiles, columns=["quantity", "pairs", *QUARTILES])


def _probe(zoo: Zoo, notes: list[str], on_step: Callable[[str], None]) -> pd.DataFrame | None:
    try:
        states = select_states(zoo)
        return probe_states(states, seeds=PROBE_SEEDS, on_step=lambda text: on_step(f"probe of {text}"))
    except InputError as error:
        notes.append(f"No probe: {error}.")
        return None
