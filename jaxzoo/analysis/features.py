"""Features of model states: the numbers by which a probe, or a person, sees their weights."""

import numpy as np
import pandas as pd

from jaxzoo.reading.layout import Layout
from jaxzoo.reading.selection import Selection

PERCENTILES = (1, 25, 50, 75, 99)
STATISTICS = ("mean", "variance", *(f"p{percent}" for percent in PERCENTILES))


def layer_statistics(layout: Layout, weights: np.ndarray) -> np.ndarray:
    """Seven numbers for each entry of the layout, kernels and biases apart: (states, D) to (states, 7 x entries).

    They are mean, variance and the 1, 25, 50, 75 and 99 percentiles (Unterthiner et al. 2020, arXiv 2002.11448;
    Eilertsen et al. 2020), in the order of the layout. CNN-s has 70 such numbers.
    """
    parts = []
    for entry in layout:
        # entry by entry, so that only one layer's weights are held in twice the precision
        values = weights[:, entry.columns].astype(np.float64)
        percentiles = np.percentile(values, PERCENTILES, axis=1)
        parts.append(np.column_stack([values.mean(axis=1), values.var(axis=1), *percentiles]))
    return np.concatenate(parts, axis=1)


def states_statistics(states: Selection) -> np.ndarray:
    """The `layer_statistics` of states, in the order of their table. The weights are read in portions."""
    return np.concatenate([layer_statistics(states.layout, weights) for weights in states.portions()])


def statistics_table(layout: Layout, weights: np.ndarray) -> pd.DataFrame:
    """The `layer_statistics` as a table, with a row per state and columns such as conv1_kernel_mean."""
    names = [f"{entry.layer}_{entry.kind}_{statistic}" for entry in layout for statistic in STATISTICS]
    return pd.DataFrame(layer_statistics(layout, weights), columns=names)
