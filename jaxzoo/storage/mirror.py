"""A zoo that is made in a local folder, the stage, and moved elsewhere while it is made.

The stage holds little: what describes the zoo, and of a cohort the last two epochs with what training goes on from.
Whatever is whole there and not yet elsewhere is moved in the background. Where the stage is lost, the same call fetches
what it needs.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from jaxzoo.errors import InputError
from jaxzoo.storage.checkpoints import ALL_ROWS, CHECKSUM, DamagedError, read_checkpoint, saved_epochs
from jaxzoo.storage.files import entries_of, reason, remove_folder
from jaxzoo.storage.retention import KEPT_CHECKPOINTS
from jaxzoo.storage.snapshots import METRICS_FILE, metrics_path
from jaxzoo.storage.staging import key_of, read_if_there
from jaxzoo.storage.store_paths import AnyPath, below
from jaxzoo.storage.targets import Target, fetch_checkpoint
from jaxzoo.storage.twins_folders import twins_folders
from jaxzoo.storage.zoo_folder import DESCRIPTION

Moved = TypeVar("Moved")
PARTS = ("outputs", "steps", "resume", "snapshots")  # snapshots last: an epoch that is there has the others
MOST_WAITING = 2  # moves of a cohort's finished parts; then training waits
PAUSES = (1.0, 4.0, 15.0)  # seconds before another attempt


class Elsewhere(Protocol):
    """What training tells of the folders that it writes."""

    def describe(self) -> None:
        """What describes the zoo has been written."""

    def fetch(self, cohort: Path) -> None:
        """A cohort is about to be opened for writing."""

    def saved(self, cohort: Path) -> None:
        """Something more of a cohort is whole. Called by the thread that writes there."""

    def finished(self, cohort: Path, last: int) -> bool:
        """Whether the last epoch of a cohort is elsewhere already, and need not be here."""

    def source(self, cohort: Path, epoch: int) -> AnyPath:
        """The folder of a cohort to read a whole epoch from."""


class Nowhere:
    """A zoo that stays where it is made."""

    def describe(self) -> None:
        """Nothing is to be done."""

    def fetch(self, cohort: Path) -> None:
        """Nothing is to be done."""

    def saved(self, cohort: Path) -> None:
        """Nothing is to be done."""

    def finished(self, cohort: Path, last: int) -> bool:
        """The cohort's folder says it."""
        return False

    def source(self, cohort: Path, epoch: int) -> AnyPath:
        """The cohort's folder."""
        return cohort


class Mirror:
    """Moves what becomes whole in a stage to a target, in the background and in order.

    with Mirror(stage, target) as mirror: ...

    Leaving the block waits for all moves. Raises InputError, at the next call or at the end, where one has failed.
    """

    def __init__(self, stage: Path, target: Target, note: Callable[[str], None] = lambda text: None) -> None:
        self.stage, self.target, self._note = stage, target, note
        self._mover = ThreadPoolExecutor(1, thread_name_prefix="jaxzoo-move")
        self._moving: deque[Future[None]] = deque()
        self._touched: dict[Path, None] = {}
        self._same: set[str] = set()  # checkpoints that are known to be the same here and there
        self._doomed: set[str] = set()  # what could not be removed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Moves what is left. Where all is moved and nothing was raised, the stage is emptied."""
        try:
            if error is None or not isinstance(error, InputError):
                self._wait(0)
                for cohort in self._touched:
                    self._move(cohort)
            if error is None:
                for cohort in self._touched:
                    self._remove_moved(cohort, keep=0)
            if self._doomed:
                self._note(f"{self.target}: {', '.join(sorted(self._doomed))} could not be removed, and may be")
        finally:
            self._mover.shutdown(cancel_futures=True)

    def describe(self) -> None:
        """Moves the files that describe the zoo and its twins, if they have changed."""
        for folder in (self.stage, *twins_folders(self.stage).values()):
            key = self._key(folder)
            for name in DESCRIPTION:
                if (folder / name).exists():
                    path, contents = f"{key}/{name}".lstrip("/"), (folder / name).read_bytes()
                    if contents != read_if_there(self.target, key, name):
                        self._try(path, self.target.put_file, contents)

    def fetch(self, cohort: Path) -> None:
        """Fetches the last epochs of a cohort, and what training goes on from, where the target has later ones."""
        self._touched[cohort] = None
        key = self._key(cohort)
        there = self.target.epochs(f"{key}/snapshots")[-KEPT_CHECKPOINTS:]
        if not there or max(saved_epochs(cohort / "snapshots"), default=-1) >= there[-1]:
            self._start(cohort)  # what an earlier run has left
            return
        for epoch in there:
            for part in ("resume", "snapshots"):
                path = cohort / part / str(epoch)
                if epoch in self.target.epochs(f"{key}/{part}") and epoch not in saved_epochs(path.parent):
                    fetch_checkpoint(below(self.target.root, *key.split("/"), part, str(epoch)), path)
                    self._same.add(f"{key}/{part}/{epoch}")

    def saved(self, cohort: Path) -> None:
        """Moves what has become whole, and waits while too much waits. Removes here what is there, if it is old."""
        self._start(cohort)
        self._wait(MOST_WAITING)
        self._remove_moved(cohort, keep=KEPT_CHECKPOINTS)

    def finished(self, cohort: Path, last: int) -> bool:
        """Whether the target has the last epoch of a cohort, and the stage has nothing of it that is not there."""
        key = self._key(cohort)
        here = {epoch for part in PARTS for epoch in saved_epochs(cohort / part)}
        return last in self.target.epochs(f"{key}/snapshots") and not here

    def source(self, cohort: Path, epoch: int) -> AnyPath:
        """The folder of a cohort to read a whole epoch from, here or there."""
        if epoch in saved_epochs(cohort / "snapshots"):
            return cohort
        return below(self.target.root, *self._key(cohort).split("/"))

    def _key(self, folder: Path) -> str:
        return key_of(self.stage, folder)

    def _start(self, cohort: Path) -> None:
        self._moving.append(self._mover.submit(self._move, cohort))

    def _wait(self, most: int) -> None:
        while self._moving and (len(self._moving) > most or self._moving[0].done()):
            self._moving.popleft().result()

    def _move(self, cohort: Path) -> None:
        """Makes the target's cohort what the stage's is, but for what the stage never had."""
        key = self._key(cohort)
        for part in PARTS:
            for epoch in saved_epochs(cohort / part):
                path = f"{key}/{part}/{epoch}"
                if epoch not in self.target.epochs(f"{key}/{part}"):
                    self._try(path, self.target.put_checkpoint, self.stage / path)
                elif path not in self._same and part != "resume":
                    self._compare(path)
                self._same.add(path)
        kept = {*self.target.files(f"{key}/metrics")}
        for name in filter(METRICS_FILE.fullmatch, entries_of(cohort / "metrics")):
            if name not in kept:
                path = f"{key}/metrics/{name}"
                self._try(path, self.target.put_file, (self.stage / path).read_bytes())
        self._let_go(cohort, key)

    def _let_go(self, cohort: Path, key: str) -> None:
        """Removes at the target what the stage has let go: weights whose metrics were kept, and what is too old."""
        for part in PARTS:
            self.target.tidy(f"{key}/{part}")
        resumes = self.target.epochs(f"{key}/resume")[:-KEPT_CHECKPOINTS]
        here = {*saved_epochs(cohort / "snapshots")}
        snapshots = [epoch for epoch in self.target.epochs(f"{key}/snapshots") if epoch not in here]
        gone = [epoch for epoch in snapshots if metrics_path(cohort, epoch).exists()]
        self._doomed |= {f"{key}/resume/{epoch}" for epoch in resumes} | {f"{key}/snapshots/{epoch}" for epoch in gone}
        for path in sorted(self._doomed):
            try:
                self.target.remove(path)
                self._doomed.discard(path)
            except (OSError, InputError):
                continue  # it is tried again with the next epoch, and at the end

    def _remove_moved(self, cohort: Path, keep: int) -> None:
        """Removes in the stage what the target has, but for the last epochs."""
        key = self._key(cohort)
        for part in PARTS:
            there = {*self.target.epochs(f"{key}/{part}")}
            here = saved_epochs(cohort / part)
            for epoch in here[: len(here) - (keep if part in ("resume", "snapshots") else 0)]:
                if epoch in there and f"{key}/{part}/{epoch}" in self._same:
                    remove_folder(cohort / part / str(epoch))

    def _compare(self, path: str) -> None:
        """Raises InputError where the target holds another checkpoint than the stage does: none is replaced."""
        sums = []
        for root in (self.stage, self.target.root):
            try:
                sums.append(int(read_checkpoint(below(root, *path.split("/")), {CHECKSUM: ALL_ROWS})[CHECKSUM]))
            except (DamagedError, KeyError) as error:
                raise InputError(f"{root}/{path}: is damaged: its checksum cannot be read ({error})") from error
        if sums[0] != sums[1]:
            raise InputError(
                f"{self.target}/{path}: training it again gave other numbers than this whole snapshot holds, expected "
                "the same; it was made on another kind of device, or by another version"
            )

    def _try(self, path: str, put: Callable[[str, Moved], None], moved: Moved) -> None:
        """Puts something under a path, and tries again where that fails. Raises InputError."""
        for pause in (*PAUSES, None):
            try:
                return put(path, moved)
            except (OSError, InputError) as error:
                if not (self.stage / path).exists():
                    return None  # it was let go meanwhile
                if pause is None:
                    why = reason(error) if isinstance(error, OSError) else error
                    raise InputError(
                        f"{self.target}/{path}: cannot be written ({why}), expected that it can; every finished epoch "
                        f"is whole in {self.stage}, and the same call goes on from there"
                    ) from error
                time.sleep(pause)
