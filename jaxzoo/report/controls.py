"""What all charts share: the models, the filters on them, and the choice of colour."""

import html
import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bokeh.models import (
    BooleanFilter,
    CDSView,
    ColumnDataSource,
    CustomJS,
    Div,
    InlineStyleSheet,
    MultiChoice,
    RangeSlider,
    Select,
)

from jaxzoo.report.colors import MEASURES, color_key, colors_of, words
from jaxzoo.report.content import Content

MOST_LEVELS, RANGES = 40, 8  # of one hyperparameter: more values are put into ranges
WIDGET_CSS = ":host { font-family: inherit; font-size: 14px; }"  # as the page's text, instead of Bokeh's 12px Helvetica


class Shared(NamedTuple):
    """The models that all charts show, and the filter on them.

    `colored` collects the renderers that follow the choice of colour.
    """

    source: ColumnDataSource
    view: CDSView
    colored: list[Any]


def share(content: Content) -> Shared:
    """The source, with a column of colours for every way to colour the models.

    It also has a column of positions along the axis for every hyperparameter that varies.
    """
    table = content.models.copy()
    for name in content.varying:
        # models of one level are spread sideways, so that their dots do not hide each other
        jitter = np.random.default_rng(0).uniform(-0.35, 0.35, len(table))
        table[f"position_{name}"] = levels_of(table[name]).indices + 0.5 + jitter
    for name in color_choices(content):
        table[f"color_{name}"] = colors_of(table[name])
    # as text, since the filters' options are text and the browser compares the two
    levels = {name: levels_of(table[name]) for name in content.varying}
    source = source_of(table.assign(**{name: np.array(own.texts)[own.indices] for name, own in levels.items()}))
    return Shared(source, CDSView(filter=BooleanFilter([True] * len(table))), [])


class Levels(NamedTuple):
    """What a hyperparameter may be, as texts in order, and the index of the text of each model."""

    texts: list[str]
    indices: np.ndarray


def levels_of(values: pd.Series) -> Levels:
    """The different values; of drawn numbers, which are many, the eighths of the models that they are in."""
    if values.nunique() <= MOST_LEVELS or not pd.api.types.is_numeric_dtype(values):
        ordered = sorted(values.unique())
        return Levels([str(value) for value in ordered], np.array([ordered.index(value) for value in values]))
    ends = np.quantile(values, np.linspace(0, 1, RANGES + 1))
    indices = np.clip(np.searchsorted(ends, values, side="right") - 1, 0, RANGES - 1)
    return Levels([f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(ends)], indices)


def color_choices(content: Content) -> list[str]:
    """The columns that models can be coloured by; the first one is the choice at the start."""
    return [*content.varying, *MEASURES, "finite"]


def controls(content: Content, shared: Shared) -> dict[str, Any]:
    """The widgets: the choice of colour and its key, a filter per varying hyperparameter and for accuracy, a count."""
    choices = color_choices(content)
    keys = {name: color_key(content.models[name]) for name in choices}
    style = [InlineStyleSheet(css=WIDGET_CSS)]
    options = [(name, words(name)) for name in choices]
    select = Select(title="colour by", value=choices[0], options=options, name="color", stylesheets=style)
    key = Div(text=keys[choices[0]], sizing_mode="stretch_width", disable_math=True, stylesheets=style)
    filters = [_filter(content.models[name], style) for name in content.varying]
    limits = RangeSlider(
        start=0, end=1, value=(0, 1), step=0.01, title="test accuracy", sizing_mode="stretch_width", stylesheets=style
    )
    count = Div(text=f"{len(content.models)} of {len(content.models)} models", stylesheets=style)
    apply = CustomJS(
        args={
            "source": shared.source,
            "filter": shared.view.filter,
            "filters": filters,
            "names": list(content.varying),
            "limits": limits,
            "count": count,
        },
        code=FILTER,
    )
    for widget in (*filters, limits):
        widget.js_on_change("value", apply)
    recolor = CustomJS(args={"renderers": shared.colored, "keys": keys, "key": key}, code=RECOLOR)
    select.js_on_change("value", recolor)
    return {"color": select, "key": key, "limits": limits, "count": count} | {
        f"filter_{name}": widget for name, widget in zip(content.varying, filters, strict=True)
    }


def _filter(values: pd.Series, style: list[InlineStyleSheet]) -> MultiChoice:
    """The widget that leaves only models with the chosen values of a hyperparameter."""
    levels = levels_of(values).texts
    return MultiChoice(
        title=words(str(values.name)),
        options=[(level, html.escape(level)) for level in levels],  # the browser takes a choice's label as HTML
        placeholder="all",
        name=f"filter_{values.name}",
        sizing_mode="stretch_width",
        stylesheets=style,
    )


# runs in the browser; an accuracy that is not a number is neither below nor above the limits, so its model stays
FILTER = """
const data = source.data
const kept = Array.from(data["test_accuracy"], (accuracy, row) =>
  !(accuracy < limits.value[0] || accuracy > limits.value[1]) &&
  names.every((name, index) => filters[index].value.length == 0 || filters[index].value.includes(data[name][row])))
filter.booleans = kept
count.text = `${kept.filter((each) => each).length} of ${kept.length} models`
"""

# runs in the browser; Bokeh keeps glyphs of their own for dots that are selected and for those that are not
RECOLOR = """
for (const renderer of renderers) {
  for (const glyph of [renderer.glyph, renderer.selection_glyph, renderer.nonselection_glyph, renderer.muted_glyph]) {
    if (glyph && glyph.fill_color) {
      glyph.fill_color = {field: "color_" + this.value}
      glyph.line_color = {field: "color_" + this.value}
    }
  }
}
key.text = keys[this.value]
"""


def source_of(table: pd.DataFrame) -> ColumnDataSource:
    """The columns of a table, as charts take them."""
    # column by column: given a whole table, Bokeh calls a function that pandas has deprecated
    return ColumnDataSource({name: table[name].to_numpy() for name in table})
