"""From rates to hours: what whole zoos take at the rates that were measured on this machine."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from jaxzoo.bench.rates import MIXED, REFERENCE, STACKED, Subject, seed_name, twins_name
from jaxzoo.models.engines import engines_for
from jaxzoo.spec.plan import Plan, plan_zoo
from jaxzoo.spec.zoo_spec import ZooSpec

SECONDS = 3600  # of an hour
JAXZOO = "jaxzoo"
OTHER_WAYS = {"PyTorch": REFERENCE, "torch.func": STACKED}  # they make no twins


class Hours(NamedTuple):
    """Hours at the median rate, at the highest and at the lowest one."""

    median: float
    lowest: float
    highest: float

    def plus(self, other: "Hours") -> "Hours":
        """The hours of one after the other. Lowest and highest are bounds: both at their best, both at their worst."""
        return Hours(*(one + two for one, two in zip(self, other, strict=True)))


def hours_at(samples: float, row: Mapping[str, Any]) -> Hours:
    """The hours of so many training samples, at the rates of a row of the table of rates.

    >>> hours_at(7.2e9, {"samples_per_s": 100_000, "lowest": 80_000, "highest": 125_000})
    Hours(median=20.0, lowest=16.0, highest=25.0)
    """
    return Hours(*(samples / row[name] / SECONDS for name in ("samples_per_s", "highest", "lowest")))


def zoo_hours(
    specs: Sequence[ZooSpec], subjects: Sequence[Subject], rates: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str]]:
    """A row for each zoo and each way to train it that was measured, and why other zoos have none, by their names.

    A zoo is taken to train as the subject of its name does, else as one of the same network, images and batch size. By
    jaxzoo a zoo of several kinds of cohorts has the rate of the mixed zoo, and that of the seed zoo where no mixed one
    was measured. `with_twins_hours` count the epochs of the zoo's own twins, at their rate.
    """
    measured: dict[tuple[str, str], Any] = {
        (row["architecture"], row["contender"]): row for row in rates.to_dict("records")
    }
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for spec in specs:
        subject = _subject_of(spec, subjects)
        if subject is None:
            left_out[spec.name] = _why(spec)
            continue
        own = {contender: row for (name, contender), row in measured.items() if name == subject.name}
        found = _rows(spec, subject, own)
        rows += found
        if not found:
            left_out[spec.name] = f"none of its ways was measured for {subject.name}"
    return pd.DataFrame(rows), left_out


def _subject_of(spec: ZooSpec, subjects: Sequence[Subject]) -> Subject | None:
    if _varies(spec):
        return None
    named = (subject for subject in subjects if subject.name == spec.name)
    return next(named, next((subject for subject in subjects if _trains_alike(spec, subject)), None))


def _trains_alike(spec: ZooSpec, subject: Subject) -> bool:
    key = subject.cohort.key
    asked = (spec.layers, spec.image_shape, spec.classes, spec.batch_size, spec.augmentation, spec.precision)
    shape, classes = key.dataset.image_shape, key.dataset.classes
    return asked == (key.layers, shape, classes, key.batch_size, key.augmentation, key.precision)


def _varies(spec: ZooSpec) -> bool:
    return len(spec.architecture_names) > 1 or "batch_size" in spec.declared


def _why(spec: ZooSpec) -> str:
    if _varies(spec):
        return "its models differ in architecture or batch size"
    shape = "x".join(map(str, spec.image_shape))
    return f"{spec.architecture} on images {shape} in batches of {spec.batch_size} was not measured"


def _rows(spec: ZooSpec, subject: Subject, measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one zoo, from the rows of its subject in the table of rates, by contender."""
    plan = plan_zoo(spec)
    samples = sum(cohort.samples for cohort in plan.cohorts)  # of an epoch of all models
    ways = {JAXZOO: _own_contender(plan, measured), **OTHER_WAYS}
    rows = []
    for way, contender in ways.items():
        if contender not in measured:
            continue
        dense = hours_at(samples * spec.epochs, measured[contender])
        twins = _twins_hours(spec, samples, measured) if way == JAXZOO else None
        rows.append(
            {
                "zoo": spec.name,
                "way": way,
                "rate_of": f"{subject.name}: {contender}",
                "kinds": len({cohort.key for cohort in plan.cohorts}),
                "models": len(plan.members),
                **_columns("dense", dense),
                "dense_models_per_hour": len(plan.members) / dense.median,
                **_columns("with_twins", None if twins is None else dense.plus(twins)),
                "with_twins_models_per_hour": None if twins is None else len(plan.members) / dense.plus(twins).median,
            }
        )
    return rows


def _own_contender(plan: Plan, measured: Mapping[str, Any]) -> str:
    """The contender whose rate jaxzoo has for a zoo."""
    if len({cohort.key for cohort in plan.cohorts}) > 1 and MIXED in measured:
        return MIXED
    return seed_name(engines_for(plan.spec.layers, plan.spec.precision)[0])


def _twins_hours(spec: ZooSpec, samples: int, measured: Mapping[str, Mapping[str, Any]]) -> Hours | None:
    """The hours of the twins; None where the zoo has none, or their rate was not measured."""
    if spec.twins is None or twins_name(spec.twins.method) not in measured:
        return None
    return hours_at(samples * spec.twins.length, measured[twins_name(spec.twins.method)])


def _columns(name: str, hours: Hours | None) -> dict[str, float | None]:
    median, lowest, highest = (None, None, None) if hours is None else hours
    return {f"{name}_hours": median, f"{name}_hours_lowest": lowest, f"{name}_hours_highest": highest}
