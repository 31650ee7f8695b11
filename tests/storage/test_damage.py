"""What is damaged is set aside and made again; what reads whole is never deleted; errors of reading are no damage."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from cohorts import DAMAGES, LAST, damaged_files, files_of, open_store, restore, save_epochs, state_of

from jaxzoo.errors import InputError
from jaxzoo.storage import checkpoints
from jaxzoo.storage.snapshots import read_metrics, read_snapshot, snapshot_epochs


@pytest.fixture
def cohort(tmp_path):
    """A cohort's folder with the epochs 0 to 3."""
    return save_epochs(tmp_path / "cohorts" / "000")


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
def test_with_all_resumes_lost_it_trains_again_and_compares_what_is_there(cohort, how):
    """As before a zoo is published, or after a power cut: every snapshot was deleted, without a word."""
    shutil.rmtree(cohort / "resume")
    if how == "empty":
        for epoch in (2, 3):
            (cohort / "resume" / str(epoch)).mkdir(parents=True)
    before = files_of(cohort)
    with open_store(cohort) as store:
        saved, last, notes = store.restore(4)
        assert (saved, last) == (None, 4)
        assert "holds epochs up to 3 of 4, and no resume/ that training goes on from: it trains again" in notes[0]
        assert files_of(cohort) == before
        for epoch in range(5):
            store.save(epoch, *state_of(epoch))
    assert {path: when for path, when in files_of(cohort).items() if path in before} == before
    assert snapshot_epochs(cohort) == [0, 1, 2, 3, 4]


def test_metrics_of_weights_that_were_let_go_are_compared_too(tmp_path):
    with open_store(tmp_path, kept=()) as store:
        for epoch in range(LAST + 1):
            store.save(epoch, *state_of(epoch))
    shutil.rmtree(tmp_path / "resume")
    before = files_of(tmp_path)
    with open_store(tmp_path, kept=()) as store:
        assert store.restore(4)[:2] == (None, 4)
        for epoch in range(LAST + 1):
            store.save(epoch, *state_of(epoch))
    assert {path: when for path, when in files_of(tmp_path).items() if "resume" not in path.parts} == before
    store = open_store(tmp_path, kept=())
    store.restore(4)
    store.save(1, *state_of(2))
    with pytest.raises(InputError, match=r"metrics/1\.npz: training it again gave other numbers"):
        store.__exit__(None, None, None)
    assert files_of(tmp_path).items() >= before.items()
    (tmp_path / "metrics" / "1.npz").write_bytes(b"PK junk")
    with open_store(tmp_path, kept=()) as store:
        store.save(1, *state_of(1))
    assert (tmp_path / "metrics" / "1.npz.damaged").exists()
    assert read_metrics(tmp_path, 1)["test_loss"].tolist() == state_of(1)[1]["test_loss"].tolist()


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


FEW_FILES = """
import resource, sys
from pathlib import Path
from cohorts import open_store, state_of
with open_store(Path(sys.argv[1])) as store:
    store.restore(9)
    store.save(4, *state_of(4))
    store._finish()
    used = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + {more}, used + {more}))
    store.save(5, *state_of(5))
"""


@pytest.mark.parametrize("more", [0, 3, 6, 12, 40])
def test_too_few_file_handles_are_one_line_and_no_traces_of_others(cohort, more):
    """Orbax saves in many threads, each of which left a trace on the screen."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FEW_FILES.format(more=more), cohort]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if more < 40:
        (last,) = [line for line in done.stderr.splitlines() if "InputError" in line and "cannot be" in line]
        assert "(Too many open files)" in last
        assert "RuntimeError" not in done.stderr
    else:
        assert done.stderr == ""
    assert snapshot_epochs(cohort)[:5] == [0, 1, 2, 3, 4]
    assert restore(cohort, last=9)[0].epoch == (4 if more < 40 else 5)


FULL = """
import resource, sys
from pathlib import Path
from cohorts import open_store, state_of
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
    path = os.pathsep.join(sys.path)
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


def test_reading_a_damaged_snapshot_is_one_clear_line(cohort):
    (cohort / "snapshots" / "3" / "default" / "manifest.ocdbt").write_bytes(b"junk")
    with pytest.raises(InputError, match="snapshots/3: cannot be read") as error:
        read_snapshot(cohort, 3, "params")
    assert "\n" not in str(error.value)


def test_missing_numbers_never_read_as_zeros(cohort):
    damaged_files(cohort, "snapshots")[0].unlink()
    with pytest.raises(InputError, match=r"snapshots/3: cannot be read"):
        read_snapshot(cohort, 3, "params")
