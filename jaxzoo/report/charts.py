"""The interactive charts. They share one source of data, one filter and one choice of colour."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bokeh.models import (
    BooleanFilter,
    CDSView,
    ColumnDataSource,
    CustomJS,
    DataTable,
    Div,
    HoverTool,
    MultiChoice,
    NumberFormatter,
    RangeSlider,
    Select,
    TableColumn,
)
from bokeh.palettes import Category10, Viridis256
from bokeh.plotting import figure

from jaxzoo.analysis.diversity import QUARTILES
from jaxzoo.report.content import Content

HEIGHT = 340
MEASURES = ("train_accuracy", "validation_accuracy", "test_accuracy", "test_loss", "generalization_gap")
NO_COLOR = "#c0c0c0"
MOST_LETTERS = 32  # of the labels of an axis: more would run into each other, and are turned


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
        levels = sorted(table[name].unique())
        # models of one level are spread sideways, so that their dots do not hide each other
        jitter = np.random.default_rng(0).uniform(-0.35, 0.35, len(table))
        table[f"position_{name}"] = table[name].map(levels.index) + 0.5 + jitter
    for name in color_choices(content):
        table[f"color_{name}"] = _colors(table[name])
    # as text, since the filters' options are text and the browser compares the two
    source = _source(table.assign(**{name: table[name].map(str) for name in content.varying}))
    return Shared(source, CDSView(filter=BooleanFilter([True] * len(table))), [])


def color_choices(content: Content) -> list[str]:
    """The columns that models can be coloured by; the first one is the choice at the start."""
    return [*content.varying, *MEASURES, "finite"]


def controls(content: Content, shared: Shared) -> dict[str, Any]:
    """The widgets: the choice of colour and its key, a filter per varying hyperparameter and for accuracy, a count."""
    choices = color_choices(content)
    keys = {name: _color_key(content.models[name]) for name in choices}
    select = Select(title="colour by", value=choices[0], options=choices, name="color")
    key = Div(text=keys[choices[0]], sizing_mode="stretch_width")
    filters = [
        MultiChoice(
            title=name,
            options=list(map(str, sorted(content.models[name].unique()))),
            name=f"filter_{name}",
            sizing_mode="stretch_width",
        )
        for name in content.varying
    ]
    limits = RangeSlider(start=0, end=1, value=(0, 1), step=0.01, title="test accuracy", sizing_mode="stretch_width")
    count = Div(text=f"{len(content.models)} of {len(content.models)} models")
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


def accuracy_bands(content: Content) -> figure:
    """The quartiles over models of train accuracy, test accuracy and their gap, against the epoch."""
    quantities = ("train_accuracy", "test_accuracy", "generalization_gap")
    return _bands(content.quartiles, quantities, "epoch", "accuracy", "center_right")


def by_hyperparameter(content: Content, shared: Shared, name: str) -> figure:
    """The test accuracy at the last epoch against the values of a hyperparameter."""
    levels = list(map(str, sorted(content.models[name].unique())))
    chart = _figure(name.replace("_", " "), "test accuracy, last epoch", "")
    chart.x_range.start, chart.x_range.end = 0, len(levels)
    chart.xaxis.ticker = [index + 0.5 for index in range(len(levels))]
    chart.xaxis.major_label_overrides = {index + 0.5: level for index, level in enumerate(levels)}
    if sum(map(len, levels)) > MOST_LETTERS:
        chart.xaxis.major_label_orientation = 0.4  # radians
    _scatter(chart, shared, f"position_{name}", "test_accuracy", content)
    return chart


def projection(content: Content, shared: Shared) -> figure:
    """The last epoch's weights in two dimensions."""
    first, second = content.explained
    chart = _figure(f"component 1 ({first:.0%} of variance)", f"component 2 ({second:.0%} of variance)", "")
    _scatter(chart, shared, "x", "y", content)
    return chart


def twin_against_parent(table: pd.DataFrame) -> figure:
    """The test accuracy of twins against that of their parents, coloured by sparsity."""
    chart = _figure("test accuracy of the parent", "of its twin", "")
    shown = table.assign(color=_colors(table["sparsity"]))
    chart.line([0, 1], [0, 1], color=NO_COLOR)  # where a twin is as good as its parent
    dots = chart.scatter("parent_accuracy", "test_accuracy", color="color", source=_source(shown), size=6)
    names = ["model", "parent_accuracy", "test_accuracy", "sparsity", "agreement"]
    tips = [(name.replace("_", " "), f"@{name}") for name in names if name in table]
    chart.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    return chart


def sparsity_curves(trajectory: pd.DataFrame) -> figure:
    """The quartiles of sparsity and of test accuracy against the epoch of sparsification."""
    return _bands(trajectory, ("sparsity", "test_accuracy"), "epoch of sparsification", "share", "bottom_right")


def members_table(content: Content, shared: Shared) -> DataTable:
    """The table of the models that pass the filters, a row per model. A click on a column's head sorts by it."""
    numbers = NumberFormatter(format="0.000")
    names = ["model", "seed", *content.varying, *MEASURES, "finite"]
    columns = []
    for name in names:
        column = TableColumn(field=name, title=name.replace("_", " "), width=110)
        if name in MEASURES:
            column.formatter = numbers
        columns.append(column)
    return DataTable(
        source=shared.source,
        view=shared.view,
        columns=columns,
        index_position=None,
        height=420,
        autosize_mode="none",
        reorderable=False,  # reordering columns needs jQuery UI, which the page does not have
        sizing_mode="stretch_width",
    )


def _figure(x: str, y: str, title: str) -> figure:
    chart = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        x_axis_label=x,
        y_axis_label=y,
        title=title or None,
        tools="pan,box_zoom,wheel_zoom,box_select,tap,reset,save",
        active_drag=None,  # so that a finger on a chart scrolls the page
    )
    chart.toolbar.logo = None
    return chart


def _source(table: pd.DataFrame) -> ColumnDataSource:
    # column by column: given a whole table, Bokeh calls a function that pandas has deprecated
    return ColumnDataSource({name: table[name].to_numpy() for name in table})


def _scatter(chart: figure, shared: Shared, x: str, y: str, content: Content) -> None:
    color = f"color_{color_choices(content)[0]}"
    dots = chart.scatter(
        x, y, source=shared.source, view=shared.view, size=6, fill_color=color, line_color=color, alpha=0.75
    )
    shared.colored.append(dots)
    names = ["model", "seed", *content.varying, "test_accuracy", "generalization_gap"]
    chart.add_tools(HoverTool(renderers=[dots], tooltips=[(name.replace("_", " "), f"@{name}") for name in names]))


def _bands(quartiles: pd.DataFrame, quantities: Sequence[str], x: str, y: str, legend: str) -> figure:
    """A chart with a line for the median of each quantity, in a band from the lower to the upper quartile."""
    chart = _figure(x, y, "quartiles over models")
    for quantity, color in zip(quantities, Category10[10], strict=False):
        source = _source(quartiles[quartiles["quantity"] == quantity])
        label = quantity.replace("_", " ")
        chart.varea("epoch", "q25", "q75", source=source, fill_color=color, fill_alpha=0.2, legend_label=label)
        line = chart.line("epoch", "q50", source=source, color=color, line_width=2, legend_label=label)
        tips = [("epoch", "@epoch"), *((f"{label}, {name}", f"@{name}{{0.000}}") for name in QUARTILES)]
        chart.add_tools(HoverTool(renderers=[line], tooltips=tips, mode="vline"))
    chart.legend.location = legend
    chart.legend.background_fill_alpha = 0.6
    return chart


def _colors(values: pd.Series) -> list[str]:
    """A colour per value: one of ten if there are few different values, else by a scale from lowest to highest."""
    levels = _levels(values)
    if levels is not None:
        return [Category10[10][levels.index(value)] for value in values]
    low, high = _scale(values)
    shares = ((values - low) / max(high - low, 1e-12)).to_numpy(float)  # all values may be the same number
    return [Viridis256[int(255 * min(max(share, 0), 1))] if np.isfinite(share) else NO_COLOR for share in shares]


def _color_key(values: pd.Series) -> str:
    levels = _levels(values)
    if levels is not None:
        dots = zip(levels, Category10[10], strict=False)
        return " &nbsp; ".join(f'<span style="color:{color}">&#9679;</span> {level}' for level, color in dots)
    low, high = _scale(values)
    stops = ", ".join(Viridis256[index] for index in range(0, 256, 51))
    ramp = f"display:inline-block;width:8em;height:0.8em;background:linear-gradient(to right, {stops})"
    return f'{low:.3g} <span style="{ramp}"></span> {high:.3g}'


def _levels(values: pd.Series) -> Sequence[Any] | None:
    """The different values in their order, or None if they are to be coloured by a scale."""
    levels = sorted(values.unique())
    return levels if len(levels) <= 8 and values.name not in MEASURES else None


def _scale(values: pd.Series) -> tuple[float, float]:
    finite = values[np.isfinite(values.astype(float))].astype(float)
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
