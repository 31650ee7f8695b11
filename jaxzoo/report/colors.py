"""What colours and words stand for: a colour per value of a column, and the keys that say so."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from bokeh.palettes import Category10, Viridis256

MEASURES = ("train_accuracy", "validation_accuracy", "test_accuracy", "test_loss", "generalization_gap")
NO_COLOR = "#c0c0c0"
SCALED = (*MEASURES, "sparsity")  # what is coloured by a scale, however few its values are
UNBROKEN = '<span style="display:inline-block;max-width:100%">'  # a colour stays on the line of its value


def words(name: str) -> str:
    """The name of a column as people read it."""
    return name.replace("_", " ")


def bands_key(quantities: Sequence[str]) -> str:
    """The HTML that says which colour of a chart of quartiles is which quantity."""
    return _dots([words(quantity) for quantity in quantities])


def colors_of(values: pd.Series) -> list[str]:
    """A colour per value: one of ten if there are few different values, else by a scale from lowest to highest."""
    levels = _levels(values)
    if levels is not None:
        return [Category10[10][levels.index(value) % 10] for value in values]
    low, high = _scale(values)
    shares = ((values - low) / max(high - low, 1e-12)).to_numpy(float)  # all values may be the same number
    return [Viridis256[int(255 * min(max(share, 0), 1))] if np.isfinite(share) else NO_COLOR for share in shares]


def color_key(values: pd.Series) -> str:
    """The HTML that says which colour is which value."""
    levels = _levels(values)
    if levels is not None:
        return _dots(levels)
    low, high = _scale(values)
    stops = ", ".join(Viridis256[index] for index in range(0, 256, 51))
    ramp = f"display:inline-block;width:8em;height:0.8em;background:linear-gradient(to right, {stops})"
    return f'{UNBROKEN}{low:.3g} <span style="{ramp}"></span> {high:.3g}</span>'


def _dots(levels: Sequence[Any]) -> str:
    dots = zip(levels, Category10[10], strict=False)
    return " &nbsp; ".join(
        f'{UNBROKEN}<span style="color:{color}">&#9679;</span> {html.escape(str(level))}</span>'
        for level, color in dots
    )


def _levels(values: pd.Series) -> Sequence[Any] | None:
    """The different values in their order, or None if they are to be coloured by a scale."""
    levels = sorted(values.unique())
    few = len(levels) <= 8 and values.name not in SCALED
    return levels if few or not pd.api.types.is_numeric_dtype(values) else None


def _scale(values: pd.Series) -> tuple[float, float]:
    finite = values[np.isfinite(values.astype(float))].astype(float)
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
