"""The table of zoos."""

from collections.abc import Sequence

import pandas as pd

from jaxzoo.models.variables import parameter_count
from jaxzoo.spec.plan import Cohort, plan_zoo
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.retention import human_bytes
from jaxzoo.training.sizes import cohort_bytes, optimizer_bytes

EMBEDDED = "digits"


def list_zoos(specs: Sequence[ZooSpec], field: Sequence[ZooSpec] = ()) -> str:
    """A row per zoo and the totals; the embedded zoo is none of the published ones and not in their total.

    The zoos of other papers, `field`, stand apart and have no totals.

    `twins` counts the states of sparse twins after each of their epochs. `bytes` counts the parameters of all states in
    float32; metrics add less than 2 %, compression takes some back. It counts what a spec asks for besides, too: steps
    within epochs, the optimizer's states, and outputs.
    """
    table = zoo_table(specs)
    published = table[table["zoo"] != EMBEDDED]
    dense, sparse = published["states"].sum(), published["twins"].sum()
    total = (
        f"{len(published)} zoos, {published['models'].sum():,} models, {dense:,} dense and {sparse:,} sparse states, "
        f"{dense + sparse:,} in all, "
    )
    without = f" (without {EMBEDDED})" if len(published) < len(table) else ""
    text = f"{_rows(table)}\n\n{total}{human_bytes(published['bytes'].sum())}{without}"
    others = f"\n\nzoos of other papers, as near as they are known (see configs/field):\n\n{_rows(zoo_table(field))}"
    return text + (others if field else "")


def _rows(table: pd.DataFrame) -> str:
    rows = table.assign(**{name: table[name].map("{:,}".format) for name in ("models", "states", "twins")})
    rows["bytes"] = table["bytes"].map(human_bytes)
    return rows.to_string(index=False, justify="right")


def zoo_table(specs: Sequence[ZooSpec]) -> pd.DataFrame:
    """The columns zoo, dataset, architecture, models, epochs, states, twins and bytes."""
    rows = []
    for spec in specs:
        models = (spec.models or spec.population_size) * (1 + len(spec.vary))
        states = models * (spec.epochs + spec.counts_untrained)
        sparse = 0 if spec.twins is None else models * spec.twins.length
        size = 4 * _parameters(spec) * (states + sparse)
        if spec.snapshots is not None or spec.outputs is not None:
            size += sum(_asked_bytes(spec, cohort) for cohort in plan_zoo(spec).cohorts)
        names = (spec.name, ", ".join(each.name for each in spec.every_dataset), spec.architecture_label)
        rows.append((*names, models, spec.epochs, states, sparse, int(size)))
    columns = ["zoo", "dataset", "architecture", "models", "epochs", "states", "twins", "bytes"]
    return pd.DataFrame(rows, columns=columns)


def _parameters(spec: ZooSpec) -> float:
    """The parameters of a model, on average over architectures that are equally frequent."""
    names = spec.architecture_names
    return sum(parameter_count(spec.layers_named(name), spec.dataset) for name in names) / len(names)


def _asked_bytes(spec: ZooSpec, cohort: Cohort) -> int:
    """Bytes of what a spec asks for besides the weights at the ends of epochs."""
    twins = 0 if spec.twins is None else cohort_bytes(spec, cohort, spec.twins).beside
    optimizers = len(cohort.members) * (spec.epochs + 1) * optimizer_bytes(spec, cohort.key)
    return cohort_bytes(spec, cohort).beside + twins + optimizers
