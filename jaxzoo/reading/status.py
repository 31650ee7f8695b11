"""How far a zoo is, cohort by cohort, also while several workers make it."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from jaxzoo.errors import shown
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.storage.files import entries_of
from jaxzoo.storage.leases import BEATS, LEASES, Holding, Leases, worker_name
from jaxzoo.storage.locks import is_locked
from jaxzoo.storage.snapshots import metrics_epochs
from jaxzoo.storage.store_paths import AnyPath
from jaxzoo.storage.zoo_folder import cohort_folder

DONE, UNDER_WAY, SILENT, FREE = "done", "under way", "silent", "free"
COLUMNS = ("cohort", "models", "state", "epoch", "twins_epoch", "worker", "seconds", "rate", "left")


def zoo_status(path: str | Path, *, watch: bool = True) -> pd.DataFrame:
    """A row per cohort: how far it is, and who makes it.

    `state` is "done", "under way", "silent" where a worker holds a cohort and says nothing, or "free". `epoch` and
    `twins_epoch` are the last ones on disk, of twins those that are furthest behind, missing for none. `worker`,
    `seconds` at work, `rate` in training samples/s and seconds `left` are what a worker says that shares the zoo. With
    `watch`, those that hold a cohort are watched for some seconds, to see whether they are silent.

    Raises InputError where there is no zoo.
    """
    zoo = open_zoo(path, partial=True)
    parts = [zoo, *zoo.twins.values()]
    ends = {number: [_last_epoch(part, number) for part in parts] for number in zoo.cohorts}
    wanted = [part.record.epochs for part in parts]
    unfinished = [number for number, last in ends.items() if last != wanted]
    held, silent = _holders(zoo.path, unfinished, watch)
    rows = []
    for number, members in zoo.cohorts.items():
        state = DONE
        if number in unfinished:
            state = SILENT if number in silent else UNDER_WAY if number in held else FREE
            folders = [cohort_folder(part.path, number) for part in parts]
            if state == FREE and any(is_locked(folder) for folder in folders if isinstance(folder, Path)):
                state = UNDER_WAY  # by a call that does not share it
        own, *twins = ends[number]
        said = _said(held.get(number)) if state in (UNDER_WAY, SILENT) else {}
        far = min((-1 if epoch is None else epoch for epoch in twins), default=-1)
        row = {"cohort": number, "models": len(members), "state": state, "epoch": own}
        rows.append(row | {"twins_epoch": None if far < 0 else far} | said)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _last_epoch(part: Zoo, cohort: int) -> int | None:
    """The last epoch that a cohort of a zoo, or of twins, has on disk; None for none."""
    return max(metrics_epochs(cohort_folder(part.path, cohort)), default=None)


def _holders(folder: AnyPath, cohorts: Iterable[int], watch: bool) -> tuple[Mapping[int, Holding], set[int]]:
    """By cohort who holds it, and those of them whose holders say nothing while they are watched."""
    if not isinstance(folder, Path) or not entries_of(folder / LEASES):
        return {}, set()
    leases = Leases(folder, worker_name(), write=False)
    first = {number: held for number, held in leases.look().items() if number in {*cohorts}}
    latest, waiting = dict(first), {*first}
    patience = 2 * max((held.seconds for held in first.values()), default=0.0) / BEATS
    until = time.monotonic() + patience
    while watch and waiting and time.monotonic() < until:
        time.sleep(min(0.2, patience))
        now = leases.look()
        waiting = {number for number in waiting if number in now and now[number].counter == first[number].counter}
        latest |= {number: now[number] for number in first if number in now}
    return latest, waiting if watch else set()


def _said(held: Holding | None) -> dict[str, Any]:
    """What a worker says; a lease is a file that anybody may have written."""
    if held is None:
        return {}
    numbers = {name: held.doing.get(name) for name in ("seconds", "rate", "left")}
    usable = {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}
    return {"worker": held.worker if held.worker.isprintable() else shown(held.worker), **usable}
