"""Features of model states: the numbers by which a probe, or a person, sees their weights."""

import numpy as np
import pandas as pd

from jaxzoo.reading.layout import Layout
from jaxzoo.reading.selection import Selection

PERCENTILES = (1, 25, 50, 75, 99)
ENDS = ("kernel", "bias")  # of the first and of the last layer
STATISTICS = ("mean", "variance", *(f"p{percent}" for percent in PERCENTILES))


def layer_statistics(layout: Layout, weights: np.ndarray) -> np.ndarray:
    """Seven numbers for each entry of the layout, kernels and biases apart: (states, D) to (states, 7 x entries).

    They are mean, variance and the 1, 25, 50, 75 and 99 percentiles (Unterthiner et al. 2020, arXiv 2002.11448;
    Eilertsen et al. 2020), in the order of the layout. CNN-s has 70 such numbers.
    """
    parts = []
    for entry in layout:
        # entry by entry, so that only one layer's weights are held in twice the precision
        parts.append(_statistics(weights[:, entry.columns].astype(np.float64)))
    return np.concatenate(parts, axis=1)


def mixture_statistics(layout: Layout, weights: np.ndarray) -> np.ndarray:
    """Numbers that networks of every architecture have: (states, D) to (states, 7 x 6).

    They are the statistics of `layer_statistics` of all kernels together, of all other parameters, and of kernel and
    bias of the first and of the last layer; of what a layer does not have, all are 0.
    """
    kernels = [entry for entry in layout if entry.kind == "kernel"]
    groups = [kernels, [entry for entry in layout if entry.kind != "kernel"]]
    for layer in (kernels[0].layer, kernels[-1].layer):
        groups += [[entry for entry in layout if (entry.layer, entry.kind) == (layer, kind)] for kind in ENDS]
    parts = []
    for group in groups:
        held = [weights[:, entry.columns] for entry in group] or [np.zeros((len(weights), 1))]
        parts.append(_statistics(np.concatenate(held, axis=1).astype(np.float64)))
    return np.concatenate(parts, axis=1)


def states_statistics(states: Selection) -> np.ndarray:
    """The `layer_statistics` of states, in the order of their table. The weights are read in portions.

    Of states of several architectures they are the `mixture_statistics`.
    """
    if not states.mixed:
        return np.concatenate([layer_statistics(states.layout, weights) for weights in states.portions()])
    features = np.empty((len(states), len(STATISTICS) * 6))
    for rows, part in states.by_architecture():
        features[rows] = np.concatenate([mixture_statistics(part.layout, weights) for weights in part.portions()])
    return features


def _statistics(values: np.ndarray) -> np.ndarray:
    """(states, n) to (states, 7)."""
    percentiles = np.percentile(values, PERCENTILES, axis=1)
    return np.column_stack([values.mean(axis=1), values.var(axis=1), *percentiles])


def statistics_table(layout: Layout, weights: np.ndarray) -> pd.DataFrame:
    """The `layer_statistics` as a table, with a row per state and columns such as conv1_kernel_mean."""
    names = [f"{entry.layer}_{entry.kind}_{statistic}" for entry in layout for statistic in STATISTICS]
    return pd.DataFrame(layer_statistics(layout, weights), columns=names)
