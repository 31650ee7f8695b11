"""Builds one HTML page that needs no other file and no network: the charts, the code that shows them, the tables."""

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from bokeh.embed import components
from bokeh.resources import Resources

from jaxzoo.report import charts
from jaxzoo.report.colors import bands_key, color_key, words
from jaxzoo.report.content import Content
from jaxzoo.report.controls import controls, share

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 76rem; color: #222;
  background: #fff; }
h1 { margin: 0.5rem 0; } h2 { margin: 2.2rem 0 0.6rem; }
section.grid { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
section.grid > * { min-width: 0; }
.controls { border: 1px solid #ddd; border-radius: 6px; padding: 0.8rem; margin-bottom: 1.6rem; }
.key { margin: 0 0 0.4rem; font-size: 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: 0.25rem 0.6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #e4e4e4; }
th { white-space: nowrap; }
td.fact { overflow-wrap: anywhere; width: 100%; }
.data td { white-space: nowrap; }
.data .number { text-align: right; }
.data tbody tr { background: #fff; }
.data tbody tr:nth-child(odd) { background: #f5f5f5; }
/* the first column says what a row is: it stays while the others scroll */
.data tr > :first-child { position: sticky; left: 0; background: inherit; white-space: normal; }
.data thead tr { background: #fff; }
.note, .spread { color: #666; }
.spread { font-size: 0.85em; }
@media (max-width: 40rem) {
  .facts th, .facts td { display: block; padding-left: 0; }
  .facts th { border: 0; padding-bottom: 0; }
  .facts td { padding-top: 0; }
  .data { font-size: 0.85rem; }
  .spread { display: block; }  /* below its score: so the table fits a phone */
  .data td, .data th { padding: 0.3rem 0.4rem; }
}
"""


# without MathJax, which is nearly half of Bokeh's code, and would read a zoo's text as formulas
CODE = Resources(mode="inline", components=["bokeh", "bokeh-widgets", "bokeh-tables"])


class Score(NamedTuple):
    """What a cell of the table of probes says: a mean over splits, and its standard deviation."""

    mean: float
    spread: float


def build_page(content: Content) -> str:
    """The report as the text of an HTML page."""
    shared = share(content)
    panels: dict[str, Any] = {"bands": charts.accuracy_bands(content)}
    grid = {f"by_{name}": charts.by_hyperparameter(content, shared, name) for name in content.varying}
    panels |= grid | {"projection": charts.projection(content, shared)}
    panels["members"] = charts.members_table(content, shared)
    for index, (method, table) in enumerate(content.twins.items()):
        panels[f"curves_{index}"] = charts.sparsity_curves(content.trajectories[method])
        panels[f"twins_{index}"] = charts.twin_against_parent(table)
    # after the charts: the choice of colour acts on the renderers that they have added to `shared`
    widgets = controls(content, shared)
    # in one call: to Bokeh, charts and widgets that share a source must belong to one document
    script, divs = components({**panels, **{f"control_{name}": widget for name, widget in widgets.items()}})
    body = "\n".join(
        [
            _head(content),
            _section("Accuracy over epochs", _bands_key(charts.BANDS) + divs["bands"]),
            "<h2>Models</h2>",
            _controls(divs, list(widgets)),
            f'<section class="grid">{"".join(f"<div>{divs[name]}</div>" for name in grid)}</section>',
            _section("Weights in two dimensions", divs["projection"]),
            _section("Members", _scroll("Members", divs["members"])),
            *_twins(content, divs),
            _diversity(content.diversity),
            _probe(content.probe),
            _layers(content.layers),
            _notes(content.notes),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(content.name)}</title>\n<style>{STYLE}</style>\n{CODE.render()}\n</head>\n"
        f"<body>\n{body}\n{script}\n</body>\n</html>\n"
    )


def _head(content: Content) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(words(name))}</th><td class="fact">{html.escape(value)}</td></tr>'
        for name, value in content.facts.items()
    )
    return f'<h1>{html.escape(content.name)}</h1>\n<table class="facts">{rows}</table>'


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{body}"


def _controls(divs: dict[str, str], names: list[str]) -> str:
    cells = "".join(f"<div>{divs[f'control_{name}']}</div>" for name in names)
    return (
        '<p class="note">Colours and filters hold for the charts and the table below; a box or a click selects in all '
        f'of them.</p>\n<section class="grid controls">{cells}</section>'
    )


def _twins(content: Content, divs: dict[str, str]) -> list[str]:
    sections = []
    for index, (method, table) in enumerate(content.twins.items()):
        medians = table.median(numeric_only=True)
        loss = (table["parent_accuracy"] - table["test_accuracy"]).median()
        text = f"Medians: {medians['sparsity']:.1%} zero weights, test accuracy lower by {loss:.3f}"
        if "agreement" in table:
            text += f", {medians['agreement']:.1%} of test images classed as by the parent"
        key = f'<p class="key">coloured by sparsity: {color_key(table["sparsity"])}</p>'
        curves = _bands_key(charts.TWIN_BANDS) + divs[f"curves_{index}"]
        panels = f"<div>{curves}</div><div>{key}{divs[f'twins_{index}']}</div>"
        body = f'<p>{text}.</p><section class="grid">{panels}</section>'
        sections.append(_section(f"Sparse twins: {method}", body))
    return sections


def _bands_key(quantities: Sequence[str]) -> str:
    key = bands_key(quantities)
    return f'<p class="key">{key} &nbsp; <span class="note">median and quartiles over models</span></p>'


def _diversity(diversity: pd.DataFrame) -> str:
    if diversity.empty:
        return ""
    title = "Diversity at the last epoch"
    return _section(title, _table(title, diversity))


def _layers(layers: pd.DataFrame) -> str:
    """A table per epoch. The layer and the kind of its parameter are one column, which names the row."""
    if layers.empty:
        return ""
    tables = []
    for epoch, rows in layers.groupby("epoch"):
        names = rows["layer"].astype(str) + " " + rows["kind"].astype(str)
        shown = rows.drop(columns=["epoch", "layer", "kind"])
        shown.insert(0, "layer", names)
        tables.append(f"<h3>Epoch {epoch}</h3>{_table(f'Weights per layer, epoch {epoch}', shown)}")
    return _section("Weights per layer", f'<p class="note">Medians over models.</p>{"".join(tables)}')


def _probe(probe: pd.DataFrame | None) -> str:
    """A row per target and a column per kind of features, so that the features' scores stand side by side."""
    if probe is None or probe.empty:
        return ""
    states = ", ".join(f"{count:,}" for count in probe["states"].unique())
    text = (
        f"R² or accuracy on models that the probe never saw; mean ± spread over splits of the models, {states} states. "
        "Chance is the score of always naming the mean or the commonest class."
    )
    scores: list[Any] = [Score(*row) for row in zip(probe["score"], probe["spread"], strict=True)]
    table = probe.assign(score=scores)
    # one column for both, so that the table fits a phone
    table["target"] = table["target"].map(words) + ", " + table["measure"].replace("R^2", "R²")
    rows = ["target", "chance"]
    # by hand, since pandas' own pivots take numbers alone, or sort the rows
    groups = {features: group.set_index(rows)["score"] for features, group in table.groupby("features", sort=False)}
    wide = pd.concat(groups, axis=1).reset_index()
    return _section("Linear probes", f'<p class="note">{text}</p>{_table("Linear probes", wide)}')


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return _section("Notes", f'<ul class="note">{items}</ul>')


def _table(title: str, table: pd.DataFrame) -> str:
    """The table in a box that scrolls, with numbers to the right."""
    sides = {name: "" if any(isinstance(value, str) for value in table[name]) else ' class="number"' for name in table}
    heads = "".join(f'<th scope="col"{side}>{html.escape(words(str(name)))}</th>' for name, side in sides.items())
    rows = "".join(
        "<tr>"
        + "".join(f"<td{side}>{_cell(value)}</td>" for value, side in zip(row, sides.values(), strict=True))
        + "</tr>"
        for row in table.itertuples(index=False, name=None)
    )
    return _scroll(title, f'<table class="data"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>')


def _cell(value: object) -> str:
    if isinstance(value, Score):
        spread = "" if math.isnan(value.spread) else f' <span class="spread">± {value.spread:.3f}</span>'
        return _number(value.mean) + spread
    if isinstance(value, float):
        return "" if math.isnan(value) else _number(value)
    return html.escape(str(value))


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")  # as wide as a plus, which a hyphen is not


def _scroll(title: str, body: str) -> str:
    """A box that scrolls sideways on a narrow screen, by keys, too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(title)}">{body}</div>'
