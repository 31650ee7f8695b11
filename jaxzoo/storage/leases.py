"""Leases: which worker of several that share a zoo's folder is at work on which cohort.

leases/<cohort>     JSON: the worker, a counter that it raises while it is at work, and what it is doing

A lease is written through TensorStore only where the file is still what its writer has read. No clock of another
machine is trusted: whoever sees a counter stand still for the lease's seconds, by its own clock, may take the lease.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from jaxzoo.errors import InputError, first_line
from jaxzoo.storage.checkpoints import check_not_forked

if TYPE_CHECKING:
    import tensorstore as ts

LEASE_SECONDS = 60.0
BEATS = 12  # in the seconds of a lease
LEASES = "leases"
LOCK_SUFFIX = ".__lock"  # the end of the name of a file that TensorStore writes, until it is whole


class LeaseLost(Exception):
    """Another worker has taken the lease, as this one had said nothing for its seconds."""


class Holding(NamedTuple):
    """What a lease says: its holder, how often it has said so, after how many seconds of silence others may take it.

    `doing` is what the holder tells those who ask, such as the epoch that it trains.
    """

    worker: str
    counter: int
    seconds: float
    doing: Mapping[str, Any]

    def to_json(self) -> bytes:
        """The file of the lease."""
        return json.dumps(self._asdict()).encode()


def worker_name() -> str:
    """A name that no other worker has: the machine, the process, and a random number."""
    return f"{socket.gethostname().split('.')[0][:40]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


class Leases:
    """The leases of a zoo's cohorts, as one worker sees and takes them."""

    def __init__(
        self,
        folder: Path,
        worker: str,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        *,
        write: bool = True,
    ) -> None:
        """`clock` gives seconds that never go back. Without `write`, leases can be looked at.

        Raises InputError where the folder cannot be used.
        """
        check_not_forked(folder)
        self.worker, self.seconds = worker, seconds
        self.folder = folder / LEASES
        self._clock = clock
        self._store = _store(self.folder) if write else _opened(self.folder, "none")
        self._seen: dict[int, tuple[bytes, float]] = {}  # the last file of each lease, and when it was first seen

    def take(self, cohort: int) -> "Lease | None":
        """Takes the lease of a cohort where nobody has it, or its holder is silent; None where another has it."""
        state, data, generation = self._read(cohort)
        if state and not self._silent(cohort, data):
            return None
        holding = Holding(self.worker, 0, self.seconds, {})
        generation = self._write(cohort, holding.to_json(), generation)
        return Lease(self, cohort, holding, generation, _understood(data)) if generation else None

    def look(self) -> dict[int, Holding]:
        """By cohort what the leases say that are held at this moment, by whoever. What is no lease is left out."""
        try:
            keys = [key.decode() for key in self._store.list().result()]
        except (ValueError, OSError) as error:
            raise self._unusable(error) from error
        held = {int(key): self._read(int(key)) for key in keys if key.isdecimal()}
        holdings = {cohort: _understood(data) for cohort, (state, data, _) in held.items() if state}
        return {cohort: holding for cohort, holding in sorted(holdings.items()) if holding is not None}

    def _silent(self, cohort: int, data: bytes) -> bool:
        """Whether a lease may be taken: its file has stood still for its seconds, or it is this worker's own."""
        now, holding = self._clock(), _understood(data)
        if holding is not None and holding.worker == self.worker:
            return True  # which it could not give back
        last, since = self._seen.get(cohort, (None, now))
        if last != data:
            self._seen[cohort] = data, now
            return False
        return now - since > (self.seconds if holding is None else holding.seconds)

    def _read(self, cohort: int) -> tuple[bool, bytes, bytes]:
        """Whether there is a lease, its file, and the generation of that."""
        try:
            read = self._store.read(_key(cohort)).result()
        except (ValueError, OSError) as error:
            raise self._unusable(error) from error
        return read.state == "value", bytes(read.value), read.stamp.generation

    def _write(self, cohort: int, data: bytes | None, generation: bytes) -> bytes:
        """Writes a lease, or removes it, where it is still of that generation. Returns the new one, empty if not.

        TensorStore locks a file that it writes. Whoever stands still while it does, or was killed where locks are
        files, would keep all others out for ever: after the lease's seconds such a lock is broken. One that goes on
        then writes nothing, for there is no file of its own to rename.
        """
        for _ in range(2):
            writing = self._store.write(_key(cohort), data, if_equal=generation)
            try:
                written: bytes = writing.result(timeout=self.seconds).generation
                return written
            except TimeoutError:
                writing.cancel()
                with contextlib.suppress(OSError):  # what stands is told below
                    (self.folder / f"{_key(cohort)}{LOCK_SUFFIX}").unlink(missing_ok=True)
            except (ValueError, OSError) as error:
                raise self._unusable(error) from error
        raise self._unusable(TimeoutError(f"nothing was written within {self.seconds:g} s"))

    def _unusable(self, error: Exception) -> InputError:
        return InputError(f"{self.folder}: cannot be used ({first_line(error)}), expected a folder that can be written")


class Lease:
    """The lease of a cohort, held by this worker until the block is done.

    with lease:
        lease.tell(epoch=3)
        lease.check()
    """

    def __init__(
        self, leases: Leases, cohort: int, holding: Holding, generation: bytes, before: Holding | None
    ) -> None:
        """`before` is the holder that was silent, None where nobody held it."""
        self.cohort, self.worker, self.before = cohort, leases.worker, before
        self.lost = False
        self._leases, self._holding, self._generation = leases, holding, generation
        self._one = threading.Lock()  # the thread that beats, and the one that checks
        self._done = threading.Event()
        self._beating = threading.Thread(target=self._beat_on, name="jaxzoo-lease", daemon=True)

    def __enter__(self) -> Self:
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the lease back, unless it is another's."""
        self._done.set()
        self._beating.join()
        if not self.lost:
            with contextlib.suppress(InputError):  # else it goes to whoever finds it silent
                self._leases._write(self.cohort, None, self._generation)

    def tell(self, **doing: Any) -> None:
        """What the lease says from its next beat on."""
        self._holding = self._holding._replace(doing={**self._holding.doing, **doing})

    def check(self) -> None:
        """Raises LeaseLost unless this worker holds the lease. Others then wait for its seconds from now."""
        with self._one:
            if not self.lost:
                self._holding = self._holding._replace(counter=self._holding.counter + 1)
                generation = self._leases._write(self.cohort, self._holding.to_json(), self._generation)
                self.lost, self._generation = not generation, generation
        if self.lost:
            raise LeaseLost

    def _beat_on(self) -> None:
        while not self._done.wait(self._leases.seconds / BEATS):
            try:
                self.check()
            except LeaseLost:
                return
            except InputError:  # what fails for a moment may do the next time; what cannot be written, saving tells
                continue


def _store(folder: Path) -> "ts.KvStore":
    """The files of leases. Where the file system has no locks, TensorStore makes files of its own for that."""
    by_system = _opened(folder, "os")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key = f"trial.{uuid.uuid4().hex[:8]}"
        by_system.write(key, b"").result()
        by_system.write(key, None).result()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}), expected a folder that can") from error
    except ValueError:
        return _opened(folder, "lockfile")
    return by_system


def _opened(folder: Path, locking: str) -> "ts.KvStore":
    import tensorstore as ts  # imported late: readers of specs do without

    context = ts.Context({"file_io_locking": {"mode": locking}})
    return ts.KvStore.open({"driver": "file", "path": f"{folder.absolute()}/"}, context=context).result()


def _key(cohort: int) -> str:
    return f"{cohort:03d}"


def _understood(data: bytes) -> Holding | None:
    """What the file of a lease says, None where it is none."""
    try:
        table = json.loads(data)
        holding = Holding(**table)
        known = isinstance(holding.doing, dict) and isinstance(holding.counter, int)
        return holding if known and float(holding.seconds) > 0 else None
    except (ValueError, TypeError, RecursionError):
        return None
