"""Saves the report's charts as PNG files, for papers."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from jaxzoo.errors import InputError
from jaxzoo.report.content import Content

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Plot = Callable[["Axes"], None]

DPI = 200
SIZE = (6.4, 4.0)  # inches
MOST_LETTERS = 60  # of the labels of an axis: more would run into each other, and are turned
OF_ZOO = ("train_accuracy", "test_accuracy", "generalization_gap")
OF_TWINS = ("sparsity", "test_accuracy")


def save_pictures(content: Content, folder: Path) -> list[Path]:
    """Writes a PNG per chart into the folder and returns the paths. Raises InputError if they cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not above: only pictures need matplotlib
    from matplotlib.figure import Figure

    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, plot in _pictures(content):
            # without pyplot, which would look for a display and keep every figure
            figure = Figure(SIZE, layout="constrained")
            FigureCanvasAgg(figure)
            plot(figure.subplots())
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=DPI)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}), expected a folder for pictures") from error
    return paths


def _pictures(content: Content) -> Iterator[tuple[str, Plot]]:
    yield (
        "accuracy",
        functools.partial(_plot_bands, quartiles=content.quartiles, quantities=OF_ZOO, x="epoch", y="accuracy"),
    )
    for name in content.varying:
        yield f"by-{name}", functools.partial(_plot_by, models=content.models, name=name)
    if content.models["x"].notna().any():
        yield "weights", functools.partial(_plot_projection, content=content)
    for method, trajectory in content.trajectories.items():
        yield (
            f"twins-{method}",
            functools.partial(
                _plot_bands, quartiles=trajectory, quantities=OF_TWINS, x="epoch of sparsification", y="share"
            ),
        )


def _plot_bands(axes: "Axes", quartiles: pd.DataFrame, quantities: Sequence[str], x: str, y: str) -> None:
    for quantity in quantities:
        rows = quartiles[quartiles["quantity"] == quantity]
        (line,) = axes.plot(rows["epoch"], rows["q50"], label=quantity.replace("_", " "))
        axes.fill_between(rows["epoch"], rows["q25"], rows["q75"], color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel=x, ylabel=f"{y}: median and quartiles")
    axes.legend()


def _plot_by(axes: "Axes", models: pd.DataFrame, name: str) -> None:
    groups = {str(value): group["test_accuracy"].dropna() for value, group in models.groupby(name)}
    axes.boxplot([*groups.values()], tick_labels=[_plain(level) for level in groups], showfliers=False)
    for position, values in enumerate(groups.values(), start=1):  # where the box plot has its boxes
        spread = pd.Series(range(len(values))) % 21 / 70 - 0.15  # so that dots of one height do not hide each other
        axes.scatter(position + spread, values, s=4, alpha=0.4)
    axes.set(xlabel=_plain(name.replace("_", " ")), ylabel="test accuracy, last epoch")
    if sum(map(len, groups)) > MOST_LETTERS:
        axes.tick_params("x", labelrotation=20)


def _plain(text: str) -> str:
    """The text with dollars escaped: what stands between two, matplotlib would try to read as a formula."""
    return text.replace("$", r"\$")


def _plot_projection(axes: "Axes", content: Content) -> None:
    dots = axes.scatter(content.models["x"], content.models["y"], c=content.models["test_accuracy"], s=10)
    first, second = content.explained
    axes.set(xlabel=f"component 1 ({first:.0%} of variance)", ylabel=f"component 2 ({second:.0%} of variance)")
    axes.figure.colorbar(dots, label="test accuracy, last epoch")
