"""The table of zoos."""

from collections.abc import Sequence

import pandas as pd

from jaxzoo.models.variables import parameter_count
from jaxzoo.spec.plan import Cohort, plan_zoo
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.retention import human_bytes
from jaxzoo.training.sizes import cohort_bytes, optimizer_bytes

EMBEDDED = "digits"


def list_zoos(specs: Sequence[ZooSpec]) -> str:
    """A row per zoo and the totals; the embedded zoo is none of the published ones and not in their total.

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
    rows = table.assign(**{name: table[name].map("{:,}".format) for name in ("models", "states", "twins")})
    rows["bytes"] = table["bytes"].map(human_bytes)
    text = rows.to_string(index=False, justify="right")
    without = f" (without {EMBEDDED})" if len(published) < len(table) else ""
    return f"{text}\n\n{total}{human_bytes(published['bytes'].sum())}{without}"


def zoo_table(specs: Sequence[ZooSpec]) -> pd.DataFrame:
    """The columns zoo, dataset, architecture, models, epochs, states, twins and bytes."""
    rows = []
    for spec in specs:
        plan = plan_zoo(spec)
        sparse = 0 if spec.twins is None else len(plan.members) * spec.twins.length
        parameters = sum(
            parameter_count(cohort.key.layers, spec.dataset) * len(cohort.members) for cohort in plan.cohorts
        )
        size = 4 * parameters * (plan.dense_states + sparse) // len(plan.members)
        size += sum(_asked_bytes(spec, cohort) for cohort in plan.cohorts)
        names = (spec.name, spec.dataset.name, spec.architecture_label)
        rows.append((*names, len(plan.members), spec.epochs, plan.dense_states, sparse, size))
    columns = ["zoo", "dataset", "architecture", "models", "epochs", "states", "twins", "bytes"]
    return pd.DataFrame(rows, columns=columns)


def _asked_bytes(spec: ZooSpec, cohort: Cohort) -> int:
    """Bytes of what a spec asks for besides the weights at the ends of epochs."""
    if spec.snapshots is None and spec.outputs is None:
        return 0
    twins = 0 if spec.twins is None else cohort_bytes(spec, cohort, spec.twins).beside
    optimizers = len(cohort.members) * (spec.epochs + 1) * optimizer_bytes(spec, cohort.key)
    return cohort_bytes(spec, cohort).beside + twins + optimizers
