"""Which states of a zoo a selection keeps: rows of a table of states, under conditions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.reading.expressions import rows_where
from jaxzoo.reading.selection import Selection


class Conditions(NamedTuple):
    """What every state that is kept meets; None and False ask for nothing.

    `models` are numbers; `where` is a condition on columns; `finite` and `max_abs_weight` are those of `Zoo.select`.
    """

    models: Sequence[int] | None = None
    where: str | None = None
    finite: bool = False
    max_abs_weight: float | None = None


def kept_states(
    table: pd.DataFrame, conditions: Conditions, selection_of: Callable[[pd.DataFrame], Selection]
) -> pd.DataFrame:
    """The rows of the states that meet every condition. Weights are read only where a condition is on them."""
    if conditions.models is not None:
        table = table[table["model"].isin(conditions.models)]
    if conditions.finite:
        table = table[table["finite"]]
    if conditions.where is not None:
        table = table[rows_where(table, conditions.where)]
    if conditions.max_abs_weight is not None:
        table = table[largest_weights(selection_of(table)) <= conditions.max_abs_weight]
    return table


def largest_weights(selection: Selection) -> np.ndarray:
    """The largest absolute parameter of every state, infinite where one is not finite."""
    joined = np.empty(len(selection), np.float32)
    for rows, part in selection.by_architecture():
        largest = [np.abs(weights).max(axis=1) for weights in part.portions()]
        joined[rows] = np.concatenate([*largest, np.empty(0, np.float32)])
    return np.where(np.isfinite(joined), joined, np.inf)
