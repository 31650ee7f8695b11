"""The interactive charts. They share one source of data, one filter and one choice of colour.

Text that comes from a zoo may hold anything. Where Bokeh takes HTML, it is escaped; where Bokeh looks for formulas, it
is handed over as plain text.
"""

import html
from collections.abc import Sequence

import numpy as np
import pandas as pd
from bokeh.models import (
    DataTable,
    HoverTool,
    NumberFormatter,
    PlainText,
    TableColumn,
)
from bokeh.palettes import Category10
from bokeh.plotting import figure

from jaxzoo.analysis.diversity import QUARTILES
from jaxzoo.report.colors import MEASURES, NO_COLOR, colors_of, words
from jaxzoo.report.content import Content
from jaxzoo.report.controls import Shared, color_choices, levels_of, source_of

HEIGHT = 340
BANDS = ("train_accuracy", "test_accuracy", "generalization_gap")
TWIN_BANDS = ("sparsity", "test_accuracy")
# the narrowest plot between its axis and its edge, on a phone, and what a letter and the gap between labels take of it
PLOT_WIDTH, LETTER_WIDTH, LABEL_GAP = 290, 6, 8  # pixels
MOST_LETTERS = 18  # of a turned label: a longer one would reach beyond the chart's left edge
MOST_LABELS = 16  # on an axis: more would touch each other, even turned
PAGE_WIDTH = 1216  # pixels, of the page's column of text at its widest
ROW_HEIGHT = 25  # pixels, of Bokeh's tables


def accuracy_bands(content: Content) -> figure:
    """The quartiles over models of train accuracy, test accuracy and their gap, against the epoch."""
    return _bands(content.quartiles, BANDS, "epoch", "accuracy")


def by_hyperparameter(content: Content, shared: Shared, name: str) -> figure:
    """The test accuracy at the last epoch against the values of a hyperparameter."""
    levels = levels_of(content.models[name]).texts
    chart = _figure(words(name), "test accuracy, last epoch")
    chart.x_range.start, chart.x_range.end = 0, len(levels)
    labels, turned = axis_labels(levels)
    shown = range(0, len(levels), -(-len(levels) // MOST_LABELS))  # every n-th
    chart.xaxis.ticker = [index + 0.5 for index in shown]
    chart.xaxis.major_label_overrides = {index + 0.5: PlainText(text=labels[index]) for index in shown}
    chart.xgrid.grid_line_color = None
    if turned:
        chart.xaxis.major_label_orientation = np.pi / 4
    _scatter(chart, shared, f"position_{name}", "test_accuracy", content)
    return chart


def axis_labels(levels: Sequence[str]) -> tuple[list[str], bool]:
    """The labels of an axis for the levels, and whether they must be turned to stand beside each other.

    Labels that fit a phone's width in two lines stay level. Turned ones are cut to what fits left of the first level.
    """
    broken = [level.replace("_", "\n", 1) for level in levels]
    letters = max(len(line) for label in broken for line in label.split("\n"))
    if len(levels) * (letters * LETTER_WIDTH + LABEL_GAP) <= PLOT_WIDTH:
        return broken, False
    return [level if len(level) <= MOST_LETTERS else f"{level[: MOST_LETTERS - 1]}…" for level in levels], True


def projection(content: Content, shared: Shared) -> figure:
    """The last epoch's weights in two dimensions."""
    first, second = content.explained
    chart = _figure(f"component 1 ({first:.0%} of variance)", f"component 2 ({second:.0%} of variance)")
    _scatter(chart, shared, "x", "y", content)
    return chart


def twin_against_parent(table: pd.DataFrame) -> figure:
    """The test accuracy of twins against that of their parents, coloured by sparsity."""
    chart = _figure("test accuracy of the parent", "test accuracy of the twin")
    low, high = limits_of(table[["parent_accuracy", "test_accuracy"]].to_numpy(float))
    # one range for both axes in a square chart, so that the diagonal runs from corner to corner
    for axis in (chart.x_range, chart.y_range):
        axis.start, axis.end = low, high
    chart.update(height=None, sizing_mode="scale_width", aspect_ratio=1, max_width=440)
    shown = table.assign(color=colors_of(table["sparsity"]))
    chart.line([low, high], [low, high], color=NO_COLOR)  # where a twin is as good as its parent
    dots = chart.scatter("parent_accuracy", "test_accuracy", color="color", source=source_of(shown), size=6)
    names = ["model", "parent_accuracy", "test_accuracy", "sparsity", "agreement"]
    chart.add_tools(
        HoverTool(renderers=[dots], visible=False, tooltips=_tips([name for name in names if name in table]))
    )
    return chart


def limits_of(values: np.ndarray) -> tuple[float, float]:
    """The ends of an axis that shows all finite values with a margin; 0 and 1 if there are none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = 0.06 * (high - low) or 0.01  # all values may be the same number
    return low - margin, high + margin


def sparsity_curves(trajectory: pd.DataFrame) -> figure:
    """The quartiles of sparsity and of test accuracy against the epoch of sparsification."""
    return _bands(trajectory, TWIN_BANDS, "epoch of sparsification", "share")


def members_table(content: Content, shared: Shared) -> DataTable:
    """The table of the models that pass the filters, a row per model. A click on a column's head sorts by it."""
    names = ["model", "seed", *content.varying, *MEASURES, "finite"]
    widths = [_column_width(name, content.models[name]) for name in names]
    # fewer columns share the width of the page, so that the stripes reach its edge
    spread = max(1, PAGE_WIDTH / sum(widths))
    columns = [
        # the browser takes a column's title as HTML
        TableColumn(field=name, title=html.escape(words(name)), width=int(spread * width))
        for name, width in zip(names, widths, strict=True)
    ]
    for column in columns:
        if column.field in MEASURES:
            column.formatter = NumberFormatter(format="0.000")
    return DataTable(
        source=shared.source,
        view=shared.view,
        columns=columns,
        index_position=None,
        height=min(420, ROW_HEIGHT * (len(content.models) + 1) + 10),  # 10: the head is higher than a row
        autosize_mode="force_fit",
        min_width=sum(widths),  # on a narrow screen the table scrolls in its box
        margin=0,
        reorderable=False,  # reordering columns needs jQuery UI, which the page does not have
        sizing_mode="stretch_width",
    )


def _column_width(name: str, values: pd.Series) -> int:
    """The pixels that a column needs for its title, with the arrow of sorting, and for its longest value."""
    longest = 5 if name in MEASURES else max(len(str(value)) for value in values.unique())
    return min(20 + LETTER_WIDTH * max(len(name), longest), 240)


def _figure(x: str, y: str) -> figure:
    chart = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        x_axis_label=PlainText(text=x),
        y_axis_label=PlainText(text=y),
        tools="pan,box_zoom,wheel_zoom,box_select,tap,reset,save",
        active_drag=None,  # so that a finger on a chart scrolls the page
        toolbar_location="above",  # beside a chart, the tools would take a tenth of a phone's width
        margin=0,
    )
    chart.toolbar.logo = None
    chart.axis.axis_label_text_font_style = "normal"
    chart.axis.minor_tick_line_color = None
    chart.outline_line_color = None
    chart.xaxis.ticker.desired_num_ticks = 5  # as many labels as stand side by side on a phone
    return chart


def _scatter(chart: figure, shared: Shared, x: str, y: str, content: Content) -> None:
    color = f"color_{color_choices(content)[0]}"
    dots = chart.scatter(
        x, y, source=shared.source, view=shared.view, size=6, fill_color=color, line_color=color, alpha=0.75
    )
    shared.colored.append(dots)
    names = ["model", "seed", *content.varying, "test_accuracy", "generalization_gap"]
    chart.add_tools(HoverTool(renderers=[dots], visible=False, tooltips=_tips(names)))


def _tips(names: Sequence[str]) -> list[tuple[str, str]]:
    """The lines of a tooltip, one per column. Bokeh shows a value as text, unless told that it is safe HTML."""
    return [(words(name), f"@{{{name}}}") for name in names]


def _bands(quartiles: pd.DataFrame, quantities: Sequence[str], x: str, y: str) -> figure:
    """A chart with a line for the median of each quantity, in a band from the lower to the upper quartile.

    The key to its colours is `bands_key`, beside the chart: in it, a key hides lines.
    """
    chart = _figure(x, y)
    chart.xaxis.ticker.min_interval = 1  # there is no half an epoch
    for quantity, color in zip(quantities, Category10[10], strict=False):
        source = source_of(quartiles[quartiles["quantity"] == quantity])
        chart.varea("epoch", "q25", "q75", source=source, fill_color=color, fill_alpha=0.2)
        line = chart.line("epoch", "q50", source=source, color=color, line_width=2)
        tips = [("epoch", "@epoch"), *((f"{words(quantity)}, {name}", f"@{name}{{0.000}}") for name in QUARTILES)]
        chart.add_tools(HoverTool(renderers=[line], tooltips=tips, mode="vline", visible=False))
    return chart
