"""Leases: one holder at a time, taken over by whoever sees it silent by its own clock, and saving under one."""

import fcntl
import itertools
import json
import threading

import numpy as np
import pytest
from cohorts import M, identity, state_of

from jaxzoo.errors import InputError
from jaxzoo.storage import leases as leases_module
from jaxzoo.storage.cohort_store import CohortStore
from jaxzoo.storage.fenced import save_fenced
from jaxzoo.storage.leases import BEATS, LeaseLost, Leases, worker_name
from jaxzoo.storage.locks import is_locked, take_lock
from jaxzoo.storage.snapshots import read_whole_snapshot, snapshot_epochs

SECONDS = 60.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture(params=["os", "lockfile"])
def locking(request, monkeypatch):
    """File systems with locks, and without."""
    opened = leases_module._opened
    monkeypatch.setattr(leases_module, "_store", lambda folder: opened(folder, request.param))


def workers(folder, *starts):
    """Workers whose clocks begin at other times, and the clocks."""
    clocks = [Clock(start) for start in starts]
    return [Leases(folder, f"worker-{index}", SECONDS, clock) for index, clock in enumerate(clocks)], clocks


def test_a_cohort_has_one_holder(tmp_path, locking):
    (one, other), _ = workers(tmp_path, 0.0, 3600.0)
    lease = one.take(3)
    assert lease.before is None
    assert other.take(3) is None
    assert other.take(4) is not None
    with lease:
        assert other.take(3) is None
    assert other.take(3) is not None  # given back


def test_of_many_that_ask_at_once_one_gets_it(tmp_path, locking):
    everybody, _ = workers(tmp_path, *[0.0] * 6)
    for cohort in range(20):
        start, won = threading.Barrier(len(everybody)), []

        def ask(leases, cohort=cohort, start=start, won=won):
            start.wait()
            won.append(leases.take(cohort))

        threads = [threading.Thread(target=ask, args=(leases,)) for leases in everybody]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(lease is not None for lease in won) == 1


def test_one_that_stands_still_while_it_writes_keeps_nobody_out(tmp_path, locking):
    """It stopped a whole zoo: a process that was stopped, or killed, in the moment of a write had the file's lock."""
    with Leases(tmp_path, "before", SECONDS).take(3):
        pass
    with (tmp_path / "leases" / "003.__lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        lease = Leases(tmp_path, "worker", 0.5).take(3)
        assert lease is not None
    lease.check()
    with lease:
        assert Leases(tmp_path, "other").take(3) is None
    assert [*(tmp_path / "leases").iterdir()] == []


@pytest.mark.parametrize("offset", [0.0, 3600.0, -3600.0])
def test_a_silent_holder_loses_it_by_the_clock_of_who_watches(tmp_path, offset):
    (one, other), (_, clock) = workers(tmp_path, 0.0, offset)
    lease = one.take(0)
    for _ in range(3):  # it stands still for less than its seconds, and then is raised
        assert other.take(0) is None
        clock.now += SECONDS - 1
        assert other.take(0) is None
        lease.check()
    assert other.take(0) is None
    clock.now += SECONDS + 1
    taken = other.take(0)
    assert taken.before.worker == "worker-0"
    with pytest.raises(LeaseLost):
        lease.check()
    assert lease.lost
    taken.check()
    with lease:  # what it gives back is not the other's
        pass
    taken.check()


def test_the_holder_says_how_long_its_silence_is_to_be_borne(tmp_path):
    (one, _), (_, clock) = workers(tmp_path, 0.0, 0.0)
    patient = Leases(tmp_path, "patient", 10 * SECONDS, clock)
    hasty = Leases(tmp_path, "hasty", 1.0, clock)
    assert patient.take(0)
    assert hasty.take(0) is None
    clock.now += 2 * SECONDS
    assert hasty.take(0) is None
    clock.now += 9 * SECONDS
    assert hasty.take(0) is not None
    assert one.seconds == SECONDS


def test_a_lease_beats_by_itself_and_says_what_is_done(tmp_path):
    holder, watcher = (Leases(tmp_path, name, BEATS / 50) for name in ("holder", "watcher"))
    with holder.take(7) as lease:
        lease.tell(epoch=3, rate=5.0)
        lease.tell(epoch=4)
        counters = set()
        while len(counters) < 4 or watcher.look()[7].doing != {"epoch": 4, "rate": 5.0}:
            counters.add(watcher.look()[7].counter)
    assert watcher.look() == {}


def test_one_that_could_not_be_given_back_is_its_own(tmp_path):
    (one,), _ = workers(tmp_path, 0.0)
    assert one.take(0)
    assert one.take(0) is not None


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"{}", json.dumps({"worker": 1, "counter": "", "seconds": [], "doing": 3}).encode()]
)
def test_what_is_no_lease_is_none_and_is_replaced_in_time(tmp_path, data):
    (one,), (clock,) = workers(tmp_path, 0.0)
    (tmp_path / "leases" / "002").write_bytes(data)
    (tmp_path / "leases" / "notes.txt").write_bytes(data)
    assert one.look() == {}
    assert one.take(2) is None
    clock.now += SECONDS + 1
    assert one.take(2).before is None


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(InputError, match=r"leases: cannot be written \(File exists\)"):
        Leases(tmp_path, "worker")


def test_names_of_workers_are_their_own():
    names = {worker_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.replace("-", "").isalnum() for name in names)


def test_whoever_lost_its_lease_saves_nothing(tmp_path):
    (one, other), (_, clock) = workers(tmp_path / "zoo", 0.0, 0.0)
    lease = one.take(0)
    folder = tmp_path / "zoo" / "cohorts" / "000"
    with CohortStore(folder, identity(), lease=lease) as store:
        store.save(0, *state_of(0))
        assert other.take(0) is None
        store.save_outputs(0, {})  # which waits until epoch 0 is on disk
    clock.now += 2 * SECONDS
    other.take(0)  # sees what that save has raised
    clock.now += 2 * SECONDS
    assert other.take(0)
    store = CohortStore(folder, identity(), lease=lease)
    store.save(1, *state_of(1))
    with pytest.raises(LeaseLost):
        store.__exit__(None, None, None)
    assert snapshot_epochs(folder) == [0]
    assert not [path for path in folder.rglob("*") if ".partial" in path.name]


def test_one_that_stood_still_while_saving_saves_nothing(tmp_path):
    """It had written its checkpoint beside, and not yet renamed it."""
    (one, other), (_, clock) = workers(tmp_path, 0.0, 0.0)
    lease = one.take(0)
    assert other.take(0) is None
    check, calls = lease.check, itertools.count()

    def stand_still_first():
        if next(calls) == 0:
            clock.now += SECONDS + 1
            assert other.take(0)
        check()

    lease.check = stand_still_first
    with pytest.raises(LeaseLost):
        save_fenced(lease, tmp_path / "snapshots" / "0", {"a": np.arange(3)})
    assert [*(tmp_path / "snapshots").iterdir()] == []


def test_what_another_has_saved_stays_and_is_compared(tmp_path):
    (one,), _ = workers(tmp_path, 0.0)
    lease = one.take(0)
    folder = tmp_path / "cohort"
    variables, metrics, leaves = state_of(0)
    with CohortStore(folder, identity(), lease=lease) as store:
        store.save(0, variables, metrics, leaves)
    before = {path: path.stat().st_mtime_ns for path in (folder / "snapshots").rglob("*") if path.is_file()}
    whole = read_whole_snapshot(folder, 0, identity())
    tree = {**whole.variables, "metrics": whole.metrics}
    save_fenced(lease, folder / "snapshots" / "0", tree)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = {**tree, "metrics": {**whole.metrics, "test_loss": np.zeros(M, np.float32)}}
    with pytest.raises(InputError, match="gave other numbers than this whole snapshot holds"):
        save_fenced(lease, folder / "snapshots" / "0", other)


def test_a_store_under_a_lease_takes_no_lock_and_clears_what_others_left(tmp_path):
    (one,), _ = workers(tmp_path, 0.0)
    folder = tmp_path / "cohort"
    left = folder / "snapshots" / "3.worker-9.partial.orbax-checkpoint-tmp"
    left.mkdir(parents=True)
    reserved = folder / "snapshots" / "reserve.0a1b2c3d.partial"  # of one that was killed at that moment
    reserved.touch()
    with CohortStore(folder, identity(), lease=one.take(0)) as store:
        assert not is_locked(folder)
        store.restore(2)
        assert not left.exists()
        assert not reserved.exists()
    lock = take_lock(folder, [])
    assert is_locked(folder)
    lock.release()
    assert not is_locked(folder)
