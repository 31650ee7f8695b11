"""What a bench found, as text for the screen."""

import argparse
from typing import Any

import pandas as pd
from jax.sharding import Mesh

from jaxzoo.bench.here import COMPARED, MEMBERS, STEPS
from jaxzoo.commands.tables import MISSING, spread_text, table_text, three_digits
from jaxzoo.devices import cores_here
from jaxzoo.training.maker import maker_of

# a column of the table of hours, with the way and the hours that it shows
HOURS = {
    "PyTorch_h": ("PyTorch", "dense"),
    "torch.func_h": ("torch.func", "dense"),
    "jaxzoo_h": ("jaxzoo", "dense"),
    "jaxzoo_with_twins_h": ("jaxzoo", "with_twins"),
}
MODELS_PER_HOUR = {
    "PyTorch_models_per_h": ("PyTorch", "dense"),
    "jaxzoo_models_per_h": ("jaxzoo", "dense"),
    "with_twins_models_per_h": ("jaxzoo", "with_twins"),
}


def rates_text(rates: pd.DataFrame, options: argparse.Namespace) -> str:
    """The table of rates, under a line that says how it was measured."""
    cores = cores_here()
    batches = "batch 10, Adam, tanh" if not options.zoos else f"batch {options.batch_size or 'of the zoo'}"
    return f"{cores} cores; {batches}; populations of {options.models} models; {_turns(options)}\n{table_text(rates)}"


def _turns(options: argparse.Namespace) -> str:
    return f"medians of {options.rounds} turns of {options.seconds} s"


def hours_text(hours: pd.DataFrame, left_out: dict[str, str]) -> str:
    """The table of hours, a row per zoo and one of all, and what they do not count."""
    lines = []
    if len(hours):
        zoos = dict.fromkeys(hours["zoo"])
        rows = [_hours_row(zoo, hours[hours["zoo"] == zoo]) for zoo in zoos]
        if len(zoos) > 1:
            rows.append(_hours_row(f"all {len(zoos)}", _total(hours)))
        table = pd.DataFrame(rows)
        lines += [
            "hours for whole zoos at these rates (at the highest to at the lowest); without twins unless it says so",
            table_text(table.loc[:, (table != MISSING).any()]),
            *_unmixed(hours),
            "not counted: start, compiling, evaluation, saving, and lanes that the last models of a cohort leave empty",
        ]
    reasons: dict[str, list[str]] = {}
    for zoo, reason in left_out.items():
        reasons.setdefault(reason, []).append(zoo)
    return "\n".join([*lines, *(f"no hours for {', '.join(zoos)}: {reason}" for reason, zoos in reasons.items())])


def _unmixed(hours: pd.DataFrame) -> list[str]:
    """A line where zoos of several kinds of cohorts have the rate of one kind."""
    of_one = hours["rate_of"].str.endswith("seed zoo") & (hours["kinds"] > 1)
    text = "grids are counted at the rate of one kind of their cohorts, since lanes were not measured on a mixed zoo"
    return [text] if of_one.any() else []


def _total(hours: pd.DataFrame) -> pd.DataFrame:
    """A row per way with the sums over all zoos; what one of them lacks has no sum."""
    summed = [name for name in map(str, hours.columns) if "_hours" in name or name == "models"]
    ways = hours[summed].astype(float).groupby(hours["way"], sort=False)
    total = ways.sum(min_count=hours["zoo"].nunique()).reset_index()
    for kind in ("dense", "with_twins"):
        total[f"{kind}_models_per_hour"] = total["models"] / total[f"{kind}_hours"]
    return total


def _hours_row(name: str, ways: pd.DataFrame) -> dict[str, object]:
    rows: dict[str, Any] = {row["way"]: row for row in ways.to_dict("records")}
    shown: dict[str, object] = {"zoo": name, "models": int(ways["models"].max())}
    for column, (way, kind) in HOURS.items():
        if way in rows:
            each = (rows[way][f"{kind}_hours{which}"] for which in ("", "_lowest", "_highest"))
            shown[column] = spread_text(*each)
    for column, (way, kind) in MODELS_PER_HOUR.items():
        if way in rows:
            shown[column] = three_digits(rows[way][f"{kind}_models_per_hour"])
    return shown


def checks_text(checks: pd.DataFrame, mesh: Mesh) -> str:
    """The checks of a device, a line each, and what each of them is."""
    made = maker_of(mesh)
    failures = checks.loc[checks["failure"].notna(), ["architecture", "way", "failure"]]
    return "\n".join(
        [
            f"{made.device}, {mesh.size} devices ({made.platform}); JAX {made.versions['jax']}",
            f"as on the CPU by vmap: logits of {COMPARED} models, and their weights after {STEPS} steps of Adam;",
            "  the largest distance, as a share of the logits' norm, and of the way that a model's weights have moved",
            f"same bits as among {MEMBERS} models of a grid with dropout, after {STEPS} steps;",
            "  the largest difference of a weight",
            table_text(checks.drop(columns="failure")),
            *(f"{row.architecture}, {row.way}: {row.failure}" for row in failures.itertuples()),
        ]
    )


def candidates_text(rates: pd.DataFrame, options: argparse.Namespace) -> str:
    """The rates of the candidates, and why others have none."""
    failed = rates[rates["failure"].notna()]
    return "\n".join(
        [
            f"what --engine auto would try; full lanes; batch 10, Adam, tanh; {_turns(options)}; memory of each device",
            table_text(rates.drop(columns="failure")),
            *(f"{row.architecture}, {row.contender}: {row.failure}" for row in failed.itertuples()),
        ]
    )
