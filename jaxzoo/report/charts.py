"""The interactive charts: Bokeh models that share one source of models, one filter and one choice of colour."""

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
MOST_LETTERS = 32  # of an axis: more would run into each other


class Shared(NamedTuple):
    """The models as every chart sees them; `colored` collects the renderers that follow the choice of colour."""

    source: ColumnDataSource
    view: CDSView
    colored: list[Any]


def share(content: Content) -> Shared:
    """The source with a column of colours for every way to colour."""
    table = content.models.copy()
    for name in content.varying:
        levels = sorted(table[name].unique())
        jitter = np.random.default_rng(0).uniform(-0.35, 0.35, len(table))
        table[f"place_{name}"] = table[name].map(levels.index) + 0.5 + jitter
    for name in color_choices(content):
        table[f"color_{name}"] = _colors(table[name])
    source = _source(table.assign(**{name: table[name].map(str) for name in content.varying}))
    return Shared(source, CDSView(filter=BooleanFilter([True] * len(table))), [])


def color_choices(content: Content) -> list[str]:
    """What models can be coloured by, the first one first."""
    return [*content.varying, *MEASURES, "finite"]


def controls(content: Content, shared: Shared) -> dict[str, Any]:
    """The choice of colour and its key, a filter per hyperparameter that varies and one for accuracy, and a count."""
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


FILTER = """
const data = source.data
const kept = Array.from(data["test_accuracy"], (accuracy, row) =>
  !(accuracy < limits.value[0] || accuracy > limits.value[1]) &&
  names.every((name, place) => filters[place].value.length == 0 || filters[place].value.includes(data[name][row])))
filter.booleans = kept
count.text = `${kept.filter((each) => each).length} of ${kept.length} models`
"""

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
    """Quartiles over models of train and test accuracy and of the gap, over epochs."""
    quantities = ("train_accuracy", "test_accuracy", "generalization_gap")
    return _bands(content.quartiles, quantities, "epoch", "accuracy", "center_right")


def by_hyperparameter(content: Content, shared: Shared, name: str) -> figure:
    """Test accuracy at the last epoch against the values of a hyperparameter."""
    levels = list(map(str, sorted(content.models[name].unique())))
    chart = _figure(name.replace("_", " "), "test accuracy, last epoch", "")
    chart.x_range.start, chart.x_range.end = 0, len(levels)
    chart.xaxis.ticker = [place + 0.5 for place in range(len(levels))]
    chart.xaxis.major_label_overrides = {place + 0.5: level for place, level in enumerate(levels)}
    if sum(map(len, levels)) > MOST_LETTERS:
        chart.xaxis.major_label_orientation = 0.4
    _scatter(chart, shared, f"place_{name}", "test_accuracy", content)
    return chart


def projection(content: Content, shared: Shared) -> figure:
    """The last epoch's weights in two dimensions."""
    first, second = content.explained
    x, y = (f"component {place} ({share:.0%} of variance)" for place, share in ((1, first), (2, second)))
    chart = _figure(x, y, "")
    _scatter(chart, shared, "x", "y", content)
    return chart


def twin_against_parent(table: pd.DataFrame) -> figure:
    """Test accuracy of twins against that of their parents, coloured by sparsity."""
    chart = _figure("test accuracy of the parent", "of its twin", "")
    shown = table.assign(color=_colors(table["sparsity"]))
    chart.line([0, 1], [0, 1], color=NO_COLOR)
    dots = chart.scatter("parent_accuracy", "test_accuracy", color="color", source=_source(shown), size=6)
    names = ["model", "parent_accuracy", "test_accuracy", "sparsity", "agreement"]
    tips = [(name.replace("_", " "), f"@{name}") for name in names if name in table]
    chart.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    return chart


def sparsity_curves(trajectory: pd.DataFrame) -> figure:
    """Quartiles of sparsity and of test accuracy over the epochs of sparsification."""
    return _bands(trajectory, ("sparsity", "test_accuracy"), "epoch of sparsification", "share", "bottom_right")


def members_table(content: Content, shared: Shared) -> DataTable:
    """A row per model that passes the filters; a click on a column sorts."""
    numbers = NumberFormatter(format="0.000")
    names = ["model", "seed", *content.varying, *MEASURES, "finite"]
    columns = [
        TableColumn(
            field=name, title=name.replace("_", " "), **({"formatter": numbers} if name in MEASURES else {}), width=110
        )
        for name in names
    ]
    return DataTable(
        source=shared.source,
        view=shared.view,
        columns=columns,
        index_position=None,
        height=420,
        autosize_mode="none",
        reorderable=False,  # would want jQuery UI
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
        active_drag=None,  # a finger scrolls the page
    )
    chart.toolbar.logo = None
    return chart


def _source(table: pd.DataFrame) -> ColumnDataSource:
    # column by column: given a table, Bokeh calls what pandas has deprecated
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
    """A line for the median of each quantity, in a band from the lower to the upper quartile."""
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
    """A colour per value: of few different ones categories, of many numbers a scale from the lowest to the highest."""
    levels = _levels(values)
    if levels is not None:
        return [Category10[10][levels.index(value)] for value in values]
    low, high = _scale(values)
    shares = ((values - low) / max(high - low, 1e-12)).to_numpy(float)
    return [Viridis256[int(255 * min(max(share, 0), 1))] if np.isfinite(share) else NO_COLOR for share in shares]


def _color_key(values: pd.Series) -> str:
    levels = _levels(values)
    if levels is not None:
        dots = zip(levels, Category10[10], strict=False)
        return " &nbsp; ".join(f'<span style="color:{color}">&#9679;</span> {level}' for level, color in dots)
    low, high = _scale(values)
    stops = ", ".join(Viridis256[place] for place in range(0, 256, 51))
    ramp = f"display:inline-block;width:8em;height:0.8em;background:linear-gradient(to right, {stops})"
    return f'{low:.3g} <span style="{ramp}"></span> {high:.3g}'


def _levels(values: pd.Series) -> Sequence[Any] | None:
    levels = sorted(values.unique())
    return levels if len(levels) <= 8 and values.name not in MEASURES else None


def _scale(values: pd.Series) -> tuple[float, float]:
    finite = values[np.isfinite(values.astype(float))].astype(float)
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
