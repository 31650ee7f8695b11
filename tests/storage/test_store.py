"""Snapshots: what comes back is what was saved, and only what is whole is an epoch."""

import errno
import fcntl
import os
import shutil

import jax
import numpy as np
import pytest
from cohorts import M, files_of, identity, open_store, restore, save_epochs, state_of
from populations import MADE, small_spec

from jaxzoo.errors import InputError
from jaxzoo.storage.snapshots import metrics_epochs, read_metrics, read_snapshot, snapshot_epochs
from jaxzoo.storage.zoo_folder import find_record


@pytest.fixture
def cohort(tmp_path):
    """A cohort's folder with the epochs 0 to 3."""
    return save_epochs(tmp_path / "cohorts" / "000")


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
