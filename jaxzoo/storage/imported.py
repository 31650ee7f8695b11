"""The record of an imported zoo, and its members: what lies in its folder, and nothing about how it was made.

Its snapshots are those of any zoo. They cannot be resumed, and nothing here claims a digest.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxzoo.errors import InputError, nearest, require, shown
from jaxzoo.spec.grid import ACTIVATIONS, HYPERPARAMETERS, NONE
from jaxzoo.spec.imported_spec import ImportedSpec
from jaxzoo.spec.layers import Layers
from jaxzoo.spec.needs import takes_activation
from jaxzoo.spec.plan import Member
from jaxzoo.spec.tables import read_table
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.record import (
    FORMAT,
    NO_LICENCE,
    Maker,
    Parent,
    ZooRecord,
    damage_named,
    fields_of,
    json_of,
    read_json,
    record_of_table,
)
from jaxzoo.storage.store_paths import AnyPath

NUMBERS = ("model", "cohort", "row", "seed")  # columns of a member that are whole numbers, 0 or more


@dataclass(frozen=True, kw_only=True)
class ImportedRecord:
    """The contents of the zoo.json of an imported zoo.

    `imported` says the format it came in. `cohorts` counts the folders. `weights` and `metrics` have the epochs that
    the zoo holds. `members` is the SHA-256 of members.msgpack. `twin` is given for sparse twins: by which method, as
    far as that is known.
    """

    spec: ImportedSpec
    imported: str
    cohorts: int
    weights: tuple[int, ...]
    metrics: tuple[int, ...]
    made: Maker
    members: str
    twin: TwinSpec | None = None
    licence: str = NO_LICENCE
    format: int = FORMAT

    def __post_init__(self) -> None:
        require(self.cohorts >= 1, "cohorts", self.cohorts, "1 or more")
        require(len(self.weights) > 0 and min(self.weights) >= 0, "weights", self.weights, "epochs, one or more")
        require({*self.weights} <= {*self.metrics}, "metrics", self.metrics, "those of every epoch with weights")
        require(max(self.metrics) == self.spec.epochs, "epochs", self.spec.epochs, f"{max(self.metrics)} of metrics")

    @property
    def epochs(self) -> int:
        """The last epoch of the zoo."""
        return self.spec.epochs

    @property
    def parent(self) -> Parent | None:
        """None: imported twins do not say which zoo they were made of."""
        return None

    @property
    def fingerprints(self) -> dict[str, str]:
        """None: an imported zoo does not say which images exactly it was made of."""
        return {}

    def weights_expected(self, newest: int) -> set[int]:
        """The epochs whose weights are on disk, up to the epoch `newest`."""
        return {epoch for epoch in self.weights if epoch <= newest}

    def metrics_expected(self, newest: int) -> set[int]:
        """The epochs whose metrics are on disk, up to the epoch `newest`."""
        return {epoch for epoch in self.metrics if epoch <= newest}

    def facts(self, cohort: int) -> dict[str, Any]:
        """What the snapshots of a cohort know their zoo by."""
        return {"format": FORMAT, "imported": self.imported, "members": self.members, "cohort": cohort}

    def to_json(self) -> str:
        """The text of zoo.json."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        table = {"format": own.pop("format"), "name": self.spec.name, "imported": own.pop("imported"), **own}
        return json.dumps(table, indent=2, default=json_of) + "\n"


Record = ZooRecord | ImportedRecord


def cohort_count(record: Record) -> int:
    """How many cohorts a zoo has."""
    return record.cohorts if isinstance(record.cohorts, int) else len(record.cohorts)


def read_any_record(folder: AnyPath) -> Record:
    """The record of the zoo in a folder, whoever made it. Raises InputError where there is none that can be used."""
    path, table = folder / "zoo.json", read_json(folder)
    if "imported" not in table:
        return record_of_table(path, table)
    with damage_named(path):
        return ImportedRecord(spec=read_table(table["spec"], ImportedSpec), **fields_of(ImportedRecord, table))


def members_of_rows(path: AnyPath, rows: Any, record: ImportedRecord) -> tuple[Member, ...]:
    """The members of an imported zoo from the rows of its members.msgpack, in `path`. Raises InputError."""
    cohorts = record.cohorts
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: holds {shown(rows)}, expected a row for each model")
    if cohorts > len(rows):
        raise InputError(f"{path}: holds {len(rows)} rows, expected one or more for each of {cohorts} cohorts")
    members = tuple(_member(path, number, row, record.spec) for number, row in enumerate(rows))
    held = sorted((member.cohort, member.row) for member in members)
    counts = Counter(cohort for cohort, _ in held)
    if held != [(cohort, row) for cohort in range(cohorts) for row in range(counts[cohort])] or len(counts) != cohorts:
        raise InputError(f"{path}: its rows are not those of {cohorts} cohorts, expected one model in each row of each")
    kinds = {(member.cohort, member.hyperparameters.get("architecture")) for member in members}
    if record.spec.architecture is None and len(kinds) != cohorts:
        raise InputError(f"{path}: a cohort has models of several architectures, expected cohorts of one each")
    return members


def _member(path: AnyPath, number: int, row: Any, spec: ImportedSpec) -> Member:
    if not isinstance(row, Mapping) or not all(isinstance(name, str) for name in row):
        raise InputError(f"{path}: model {number} is {shown(row)}, expected a row of names and values")
    for name in NUMBERS:
        value = row.get(name)
        if type(value) is not int or value < 0 or (name == "model" and value != number):
            raise InputError(f"{path}: model {number}: {name} is {shown(value)}, expected a whole number of that model")
    missing = [name for name in HYPERPARAMETERS if name not in row]
    if missing:
        raise InputError(f"{path}: model {number}: {missing[0]} is missing, expected one of its network")
    strange = [name for name, value in row.items() if not isinstance(value, int | float | str | None)]
    if strange:
        raise InputError(f"{path}: model {number}: {strange[0]} is {shown(row[strange[0]])}, expected a plain value")
    _check_network(f"{path}: model {number}", row, spec)
    return Member.from_row(row)


def _check_network(where: str, row: Mapping[str, Any], spec: ImportedSpec) -> None:
    """Raises InputError for an architecture that the zoo does not have, or an activation that layers cannot take."""
    name, activation = row.get("architecture"), row["activation"]
    if spec.architecture is None and name not in spec.architecture_names:
        known = nearest(str(name), spec.architecture_names)
        raise InputError(f"{where}: architecture is {shown(name)}, expected one of: {known}")
    if activation not in ACTIVATIONS and (activation != NONE or takes_activation(spec.layers_of(row))):
        raise InputError(f"{where}: activation is {shown(activation)}, expected one of its network")


def imported_members(
    rows: Sequence[Mapping[str, Any]], spec: ImportedSpec, most: Callable[[Layers], int]
) -> tuple[Member, ...]:
    """The members of a zoo that is being imported, in the order of the rows.

    A row has a seed, the activation, and whatever else is known; hyperparameters that are not known are None. A cohort
    is of one architecture, and has as many members as `most` says of its layers, or fewer. Raises InputError.
    """
    groups: dict[str, list[int]] = {}
    for model, row in enumerate(rows):
        _check_network(f"model {model}", row, spec)
        groups.setdefault(row["architecture"] if spec.architecture is None else spec.architecture, []).append(model)
    sizes = {name: most(spec.layers_named(name)) for name in groups}
    cohorts = [
        models[first : first + sizes[name]]
        for name, models in groups.items()
        for first in range(0, len(models), sizes[name])
    ]
    unknown: dict[str, Any] = dict.fromkeys(HYPERPARAMETERS)
    members = [
        Member.from_row({**unknown, **rows[model], "model": model, "cohort": cohort, "row": row})
        for cohort, models in enumerate(cohorts)
        for row, model in enumerate(models)
    ]
    return tuple(sorted(members, key=lambda member: member.model))
