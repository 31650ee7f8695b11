"""What a snapshot says of itself: whose numbers it holds, and what they were made with."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxzoo.errors import InputError, shown
from jaxzoo.spec.plan import Member, row_hash
from jaxzoo.storage.checkpoints import DamagedError, Tree
from jaxzoo.storage.imported import Record
from jaxzoo.storage.record import FORMAT
from jaxzoo.storage.store_paths import AnyPath

PART = "identity"


class Identity(NamedTuple):
    """The identity of a cohort's snapshots.

    `facts` decide the numbers: the trajectory of the spec, the images, the way that the cohort is computed, and for
    twins their settings. `rows` has a hash of each member's seed and hyperparameters, (models, 16) uint8. `made` says
    what may change the last bits alone: the device, the versions, the kernels. `parent` is the checksum of the epoch
    that twins begin from, None where it is not known. Snapshots of the first format have no identity; they pass unless
    it is `required`.
    """

    facts: Mapping[str, Any]
    rows: np.ndarray
    made: Mapping[str, Any]
    parent: int | None
    required: bool

    def tree(self, epoch: int, step: int | None = None) -> Tree:
        """The leaves that a snapshot carries of the end of an epoch, or of a step within it."""
        table = {"facts": self.facts, "made": self.made, "epoch": epoch, "parent_checksum": self.parent}
        table |= {} if step is None else {"step": step}
        return {"table": np.frombuffer(json.dumps(table, sort_keys=True).encode(), np.uint8), "rows": self.rows}

    def check(
        self, stored: Tree | None, epoch: int, path: AnyPath, step: int | None = None
    ) -> Mapping[str, Any] | None:
        """Raises InputError where the snapshot is not that of the epoch, or step, of these members in this zoo.

        Returns what it was made with, None where it does not say. Raises DamagedError where it cannot be understood.
        """
        if stored is None:
            if self.required:
                raise InputError(f"{path}: carries no identity, expected one: it is of another zoo")
            return None
        table, rows = _understood(stored)
        for name, wanted in _plain(self.facts).items():
            got = table["facts"].get(name)
            if got != wanted:
                raise InputError(f"{path}: is of another zoo: its {name} is {shown(got)}, expected {shown(wanted)}")
        got, wanted = (_moment_text(*moment) for moment in ((table["epoch"], table.get("step")), (epoch, step)))
        if got != wanted:
            raise InputError(f"{path}: is that of {got}, expected {wanted}")
        if rows.shape != self.rows.shape:
            raise InputError(f"{path}: holds {len(rows)} models, expected the {len(self.rows)} of its cohort")
        differing = np.flatnonzero((rows != self.rows).any(axis=1))
        if differing.size:
            raise InputError(f"{path}: holds another model in row {differing[0]}, expected those of members.msgpack")
        if None not in (self.parent, table["parent_checksum"]) and table["parent_checksum"] != self.parent:
            raise InputError(f"{path}: its twins were made of other parents, expected those in the zoo's last epoch")
        made: Mapping[str, Any] = table["made"]
        return made


def identity_of(
    record: Record, cohort: int, members: Sequence[Member], made: Mapping[str, Any], parent: int | None = None
) -> Identity:
    """The identity of the snapshots of a cohort."""
    rows = np.frombuffer(b"".join(map(row_hash, members)), np.uint8).reshape(len(members), -1)
    return Identity(record.facts(cohort), rows, made, parent, required=record.format >= FORMAT)


def changes_of_making(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What else something was made with, such as "kernels 2, not 1"; "" for the same, or where one does not say."""
    changed = [name for name in after if name in before and before[name] != after[name]]
    return ", ".join(f"{name} {after[name]}, not {before[name]}" for name in changed)


def _moment_text(epoch: int, step: int | None) -> str:
    return f"epoch {epoch}" if step is None else f"step {step} in epoch {epoch}"


def _understood(stored: Tree) -> tuple[dict[str, Any], np.ndarray]:
    try:
        table = json.loads(stored["table"].tobytes())
        rows = stored["rows"]
        known = isinstance(table["facts"], dict) and isinstance(table["made"], dict) and isinstance(rows, np.ndarray)
        understood = known and rows.ndim == 2 and {"epoch", "parent_checksum"} <= table.keys()
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise DamagedError(f"its identity cannot be read: {error}") from error
    if not understood:
        raise DamagedError("its identity cannot be read")
    return table, rows


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back: tuples are lists there."""
    table: dict[str, Any] = json.loads(json.dumps(facts))
    return table
