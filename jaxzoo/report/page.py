"""Builds one HTML page that needs no other file and no network: the charts, the code that shows them, the tables."""

import html
from typing import Any

import pandas as pd
from bokeh.embed import components
from bokeh.resources import INLINE

from jaxzoo.report import charts
from jaxzoo.report.content import Content

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 76rem; color: #222;
  background: #fff; }
h1 { margin: 0.5rem 0; } h2 { margin: 2.2rem 0 0.6rem; }
section.grid { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
section.grid > * { min-width: 0; }
.controls { border: 1px solid #ddd; border-radius: 6px; padding: 0.8rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eee; }
th { white-space: nowrap; }
td.fact { overflow-wrap: anywhere; }
.note { color: #666; }
"""


def build_page(content: Content) -> str:
    """The report as the text of an HTML page."""
    shared = charts.share(content)
    panels: dict[str, Any] = {"bands": charts.accuracy_bands(content)}
    grid = {f"by_{name}": charts.by_hyperparameter(content, shared, name) for name in content.varying}
    panels |= grid | {"projection": charts.projection(content, shared)}
    panels["members"] = charts.members_table(content, shared)
    for index, (method, table) in enumerate(content.twins.items()):
        panels[f"curves_{index}"] = charts.sparsity_curves(content.trajectories[method])
        panels[f"twins_{index}"] = charts.twin_against_parent(table)
    # after the charts: the choice of colour acts on the renderers that they have added to `shared`
    controls = charts.controls(content, shared)
    # in one call: to Bokeh, charts and widgets that share a source must belong to one document
    script, divs = components({**panels, **{f"control_{name}": widget for name, widget in controls.items()}})
    body = "\n".join(
        [
            _head(content),
            _section("Accuracy over epochs", divs["bands"]),
            "<h2>Models</h2>",
            _controls(divs, list(controls)),
            f'<section class="grid">{"".join(f"<div>{divs[name]}</div>" for name in grid)}</section>',
            _section("Weights in two dimensions", divs["projection"]),
            _section("Members", divs["members"]),
            *_twins(content, divs),
            _section("Diversity at the last epoch", _table(content.diversity)) if len(content.diversity) else "",
            _probe(content.probe),
            _section("Weights per layer", f"<p>Medians over models.</p>{_table(content.layers)}"),
            _notes(content.notes),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(content.name)}</title>\n<style>{STYLE}</style>\n{INLINE.render()}\n</head>\n"
        f"<body>\n{body}\n{script}\n</body>\n</html>\n"
    )


def _head(content: Content) -> str:
    rows = "".join(
        f'<tr><th>{html.escape(name)}</th><td class="fact">{html.escape(value)}</td></tr>'
        for name, value in content.facts.items()
    )
    return f"<h1>{html.escape(content.name)}</h1>\n<table>{rows}</table>"


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
        panels = f"<div>{divs[f'curves_{index}']}</div><div>{divs[f'twins_{index}']}</div>"
        body = f'<p>{text}.</p><section class="grid">{panels}</section>'
        sections.append(_section(f"Sparse twins: {method}", body))
    return sections


def _probe(probe: pd.DataFrame | None) -> str:
    if probe is None or probe.empty:
        return ""
    text = "R² or accuracy on models that the probe never saw; mean and spread over splits of the models."
    return _section("Linear probes", f'<p class="note">{text}</p>{_table(probe)}')


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return _section("Notes", f'<ul class="note">{items}</ul>')


def _table(table: pd.DataFrame) -> str:
    text = table.to_html(index=False, border=0, float_format="{:.3f}".format, na_rep="", escape=True)
    return f'<div class="scroll">{text}</div>'
