"""Snapshots: what comes back is what was saved; what is damaged is set aside; what reads whole is never deleted."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from populations import MADE, record_of, small_spec

from jaxzoo.errors import InputError
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.storage import checkpoints
from jaxzoo.storage.cohort_store import CohortStore
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.snapshots import metrics_epochs, read_metrics, read_snapshot, snapshot_epochs
from jaxzoo.storage.zoo_folder import find_record

M = 5
LAST = 3


def identity(spec=None):
    spec = small_spec(seeds=M) if spec is None else spec
    return identity_of(record_of(spec), 0, plan_zoo(spec).cohorts[0].members, MADE)


def open_store(folder, kept=None, spec=None):
    return CohortStore(folder, identity(spec), kept)


def state_of(epoch):
    draws = np.random.default_rng(epoch)
    kernel = draws.standard_normal((M, 5, 5, 1, 8)).astype(np.float32)
    params = {"conv1": {"kernel": kernel, "bias": draws.standard_normal((M, 8)).astype(np.float32)}}
    metrics = {"test_loss": draws.random(M, np.float32), "finite": np.array([True, False, True, True, True])}
    return {"params": params}, metrics, [np.int32(epoch), 2 * kernel]


@pytest.fixture
def cohort(tmp_path):
    """A cohort's folder with the epochs 0 to 3."""
    folder = tmp_path / "cohorts" / "000"
    with open_store(folder) as store:
        for epoch in range(4):
            store.save(epoch, *state_of(epoch))
    return folder


def restore(folder, last=LAST + 1, **options):
    with open_store(folder) as store:
        return store.restore(last, **options)


def test_a_snapshot_comes_back_as_it_was_saved(cohort):
    assert snapshot_epochs(cohort) == [0, 1, 2, 3]
    for epoch in range(4):
        variables, metrics, _ = state_of(epoch)
        stored = read_snapshot(cohort, epoch, "params")
        np.testing.assert_array_equal(stored["conv1"]["kernel"], variables["params"]["conv1"]["kernel"])
        np.testing.assert_array_equal(stored["conv1"]["bias"], variables["params"]["conv1"]["bias"])
        for name, values in metrics.items():
            np.testing.assert_array_equal(read_snapshot(cohort, epoch, "metrics")[name], values)
    rows = read_snapshot(cohort, 2, "params", [4, 0])["conv1"]["bias"]
    np.testing.assert_array_equal(rows, state_of(2)[0]["params"]["conv1"]["bias"][[4, 0]])


def test_restore_gives_the_last_epoch_with_its_optimizer(cohort):
    saved, last, notes = restore(cohort)
    variables, _, optimizer = state_of(3)
    assert (saved.epoch, saved.made, last, notes) == (3, MADE, 4, [])
    np.testing.assert_array_equal(saved.variables["params"]["conv1"]["kernel"], variables["params"]["conv1"]["kernel"])
    for leaf, wanted in zip(saved.leaves, optimizer, strict=True):
        np.testing.assert_array_equal(leaf, wanted)


def test_an_untouched_folder_begins_at_the_untrained_members(tmp_path):
    assert restore(tmp_path / "new") == (None, 4, [])


def test_a_finished_cohort_needs_no_resume(cohort):
    shutil.rmtree(cohort / "resume")
    before = files_of(cohort)
    assert restore(cohort, last=3) == (None, None, [])
    assert files_of(cohort) == before


def files_of(folder):
    """The files, with when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def damaged_files(cohort, part):
    files = [path for path in (cohort / part / "3" / "default").rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: -path.stat().st_size)


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "one bit turned": lambda path: path.write_bytes(turn_a_bit(path.read_bytes())),
}


def turn_a_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("part", ["snapshots", "resume"])
@pytest.mark.parametrize("which", ["data", "index"])
def test_a_damaged_last_epoch_falls_back_to_the_one_before(cohort, damage, part, which):
    files = damaged_files(cohort, part)[:1]
    if which == "index":
        files = [cohort / part / "3" / "default" / "manifest.ocdbt"]
    elif damage is DAMAGES["one bit turned"]:  # in each: of one Orbax may have bytes that nothing reads
        files = [*(cohort / part / "3" / "default").rglob("d/*")]
    for file in files:
        damage(file)
    saved, last, notes = restore(cohort)
    assert (saved.epoch, last) == (2, 4)
    np.testing.assert_array_equal(
        saved.variables["params"]["conv1"]["kernel"], state_of(2)[0]["params"]["conv1"]["kernel"]
    )
    assert len(notes) == 1
    assert "is damaged" in notes[0]
    assert "; it now lies in 3.damaged" in notes[0]
    assert (cohort / part / "3.damaged").is_dir()
    assert snapshot_epochs(cohort) == ([0, 1, 2] if part == "snapshots" else [0, 1, 2, 3])
    with open_store(cohort) as store:  # and it can be saved anew
        store.restore(4)
        store.save(3, *state_of(3))
    assert restore(cohort)[0].epoch == 3
    assert snapshot_epochs(cohort) == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_an_epoch_without_its_resume_stays_and_is_compared(cohort, how):
    shutil.rmtree(cohort / "resume" / "3")
    if how == "empty":
        (cohort / "resume" / "3").mkdir()
    before = files_of(cohort / "snapshots")
    with open_store(cohort) as store:
        saved, last, notes = store.restore(4)
        assert (saved.epoch, last, notes) == (2, 4, [])
        store.save(3, *state_of(3))
    assert files_of(cohort / "snapshots") == before
    assert restore(cohort)[0].epoch == 3


def test_a_whole_epoch_is_never_replaced_by_another_outcome(cohort):
    shutil.rmtree(cohort / "resume" / "3")
    before = files_of(cohort / "snapshots")
    store = open_store(cohort)
    store.restore(4)
    store.save(3, *state_of(77))
    with pytest.raises(InputError, match="snapshots/3: training it again gave other numbers"):
        store.__exit__(None, None, None)
    assert files_of(cohort / "snapshots") == before


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_with_all_resumes_lost_the_run_stops_and_nothing_is_lost(cohort, how):
    """As before a zoo is published, or after a power cut: every snapshot was deleted, without a word."""
    shutil.rmtree(cohort / "resume")
    if how == "empty":
        for epoch in (2, 3):
            (cohort / "resume" / str(epoch)).mkdir(parents=True)
    before = files_of(cohort)
    with pytest.raises(
        InputError, match=r"holds epochs up to 3 of 4, and no resume/ .* expected resume/ in its place, or"
    ):
        restore(cohort)
    assert files_of(cohort) == before
    with open_store(cohort) as store:  # repair trains again from the untrained members and compares
        assert store.restore(4, repair=True) == (None, 4, [])
        for epoch in range(5):
            store.save(epoch, *state_of(epoch))
    assert {path: when for path, when in files_of(cohort).items() if path in before} == before
    assert snapshot_epochs(cohort) == [0, 1, 2, 3, 4]


def test_an_epoch_in_the_middle_is_made_again_on_request(cohort):
    shutil.rmtree(cohort / "snapshots" / "1")
    DAMAGES["cut"](max((cohort / "snapshots" / "2").rglob("d/*"), key=lambda path: path.stat().st_size))
    assert restore(cohort, last=3) == (None, None, [])  # a finished cohort is not read through without being asked
    with open_store(cohort) as store:
        saved, last, notes = store.restore(3, repair=True)
        assert (saved, last) == (None, 2)  # what epoch 2 goes on from belongs to a damaged snapshot
        assert len(notes) == 1
        assert "epoch 2 is damaged and is made again" in notes[0]
        for epoch in range(3):
            store.save(epoch, *state_of(epoch))
    assert snapshot_epochs(cohort) == [0, 1, 2, 3]
    assert restore(cohort, last=3, repair=True) == (None, None, [])
    assert restore(cohort)[0].epoch == 3  # and training could still go on


LOOP = "Too many levels of symbolic links"  # an error of reading that no superuser is spared


@pytest.mark.parametrize("what", ["file", "checkpoint", "folder"])
@pytest.mark.parametrize("part", ["snapshots", "resume"])
def test_an_error_of_reading_is_not_damage(cohort, part, what):
    folder, file = cohort / part, damaged_files(cohort, part)[0]
    path = {"folder": folder, "checkpoint": folder / "3" / "default", "file": file}[what]
    before = files_of(cohort)
    path.rename(cohort / "elsewhere")
    path.symlink_to(path)
    with pytest.raises(InputError, match=f"cannot be (read|written).*{LOOP}") as error:
        restore(cohort)
    assert "\n" not in str(error.value)
    path.unlink()
    (cohort / "elsewhere").rename(path)
    assert files_of(cohort) == before
    assert restore(cohort)[0].epoch == 3


def test_what_cannot_be_read_for_a_moment_is_read_again(cohort, monkeypatch):
    failures = [ValueError("UNAVAILABLE: a mount that hiccups")]
    read = checkpoints._read

    def hiccup(*arguments):
        if failures:
            raise failures.pop()
        return read(*arguments)

    monkeypatch.setattr(checkpoints, "_read", hiccup)
    saved, _, notes = restore(cohort)
    assert (saved.epoch, notes) == (3, [])


def test_only_a_folder_with_a_checkpoint_is_an_epoch(cohort):
    for name in ("99", "007", "-1", "1.5", "²", "٣"):
        (cohort / "snapshots" / name).mkdir()
    (cohort / "snapshots" / "8").write_text("x")
    assert snapshot_epochs(cohort) == [0, 1, 2, 3]
    assert restore(cohort)[0].epoch == 3


def test_what_is_let_go_leaves_its_metrics(tmp_path):
    with open_store(tmp_path, kept=(1,)) as store:
        for epoch in range(6):
            store.save(epoch, *state_of(epoch))
    assert snapshot_epochs(tmp_path) == [1, 4, 5]
    assert metrics_epochs(tmp_path) == [0, 1, 2, 3, 4, 5]
    for epoch in range(6):
        stored = read_metrics(tmp_path, epoch, identity())
        jax.tree.map(np.testing.assert_array_equal, stored, state_of(epoch)[1])
    with pytest.raises(InputError, match="holds another model in row 0"):
        read_metrics(tmp_path, 2, identity(small_spec(seeds=M, learning_rate=(0.01,))))
    (tmp_path / "metrics" / "2.npz").write_bytes(b"PK junk")
    with pytest.raises(InputError, match=r"2\.npz: is damaged"):
        read_metrics(tmp_path, 2, identity())


def test_a_removal_that_was_cut_short_is_finished_and_never_seen(cohort, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(shutil, "rmtree", lambda *arguments, **options: None)
        with open_store(cohort, kept=()) as store:
            store.save(4, *state_of(4))
    assert snapshot_epochs(cohort) == [3, 4]
    assert list((cohort / "snapshots").glob("*.deleting"))
    assert restore(cohort, last=9)[0].epoch == 4
    assert not list(cohort.glob("*/*.deleting"))


FULL = """
import resource, sys
from pathlib import Path
from test_store import open_store, state_of
with open_store(Path(sys.argv[1])) as store:
    store.restore(9)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))
    {hide}
    store.save(4, *state_of(4))
"""


@pytest.mark.parametrize("hide", ["", "import os; del os.posix_fallocate"], ids=["reserved", "found out while writing"])
def test_a_full_disk_is_one_line_and_whole_epochs_stay(cohort, hide):
    """Files may not grow here: to a program that is the same as a full disk or an exhausted quota."""
    before = files_of(cohort)
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    command = [sys.executable, "-c", FULL.format(hide=hide), cohort]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert "InputError" in last, done.stderr
    assert "resume/4: cannot be written (File too large), expected a disk that takes" in last
    assert "every epoch before it is whole, and the same call goes on from there" in last
    assert files_of(cohort) == before
    assert not list(cohort.glob("*/*.orbax-checkpoint-tmp"))
    with open_store(cohort) as store:
        assert store.restore(4)[0].epoch == 3
        store.save(4, *state_of(4))
    assert snapshot_epochs(cohort) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(cohort, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    saved, _, notes = restore(cohort)
    assert saved.epoch == 3
    assert len(notes) <= 1  # filelock has locks of its own where flock does not exist
    assert all("its file system has no locks, expected that no other process writes there" in note for note in notes)


def test_a_save_that_was_cut_short_is_not_a_snapshot(cohort):
    for part in ("snapshots", "resume"):
        shutil.copytree(cohort / part / "3", cohort / part / "4.orbax-checkpoint-tmp")
    assert snapshot_epochs(cohort) == [0, 1, 2, 3]
    assert restore(cohort)[0].epoch == 3


def test_a_cohort_is_written_by_one_at_a_time(cohort):
    with open_store(cohort), pytest.raises(InputError, match="is being written by another process"):
        open_store(cohort)


def test_reading_a_damaged_snapshot_is_one_clear_line(cohort):
    (cohort / "snapshots" / "3" / "default" / "manifest.ocdbt").write_bytes(b"junk")
    with pytest.raises(InputError, match="snapshots/3: cannot be read") as error:
        read_snapshot(cohort, 3, "params")
    assert "\n" not in str(error.value)


def test_missing_numbers_never_read_as_zeros(cohort):
    damaged_files(cohort, "snapshots")[0].unlink()
    with pytest.raises(InputError, match=r"snapshots/3: cannot be read"):
        read_snapshot(cohort, 3, "params")


def test_parameters_of_any_name_and_depth_come_back(tmp_path):
    """Orbax joins the names of a leaf with dots: a.b under c must not become b under a under c."""
    draws = np.random.default_rng(0)
    leaves = [draws.standard_normal((M, 3), np.float32) for _ in range(5)]
    params = {
        "block.0": {"conv": {"kernel": leaves[0], "bi/as": leaves[1]}},
        "block": {"0": {"conv": leaves[2]}, "100 %": leaves[3]},
        "scale": leaves[4],
    }
    with open_store(tmp_path) as store:
        store.save(0, {"params": params}, {"train_loss": np.zeros(2, np.float32)}, [np.int32(0)])
    saved, _, notes = restore(tmp_path)
    assert notes == []
    for stored in (read_snapshot(tmp_path, 0, "params"), saved.variables["params"]):
        assert jax.tree.structure(stored) == jax.tree.structure(params)
        jax.tree.map(np.testing.assert_array_equal, stored, params)


@pytest.mark.parametrize("name", ["a#b", "a%20b", "a?b", "a|b", "a b", "a;b&c", "a'b\"c", "ü", "a*b", "a]b"])
def test_a_folder_may_have_any_name_that_is_written_and_read(name, tmp_path):
    """A path in a file:// URL was written and could not be read, and the next run took that for damage."""
    folder = tmp_path / name / "cohorts" / "000"
    with open_store(folder) as store:
        store.save(0, *state_of(0))
    assert read_snapshot(folder, 0, "params").keys() == state_of(0)[0]["params"].keys()
    saved, _, notes = restore(folder)
    assert (saved.epoch, notes) == (0, [])
    assert find_record(tmp_path / "new" / name) is None


@pytest.mark.parametrize("name", ["a[b]", "a\\b"])
def test_a_folder_that_orbax_cannot_use_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(InputError, match=r"its path holds '(\[|\\\\)', expected a folder without"):
        find_record(tmp_path / name)
