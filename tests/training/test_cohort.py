"""A cohort that goes on: with another device, over another zoo's files, after a loss in the middle."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from fake_program import SPEC, run_fake
from populations import MADE, record_of

from jaxzoo.errors import InputError
from jaxzoo.models import engines
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.spec.seeds import SeedRange
from jaxzoo.storage.snapshots import read_snapshot, snapshot_epochs
from jaxzoo.storage.zoo_folder import begin_zoo, cohort_folder
from jaxzoo.training.events import EpochSaved, Interrupted, Notice


def stop_after(epoch):
    """`on_event` and `should_stop` that end a run once the epoch was trained, and the events."""
    events = []
    done = lambda: any(isinstance(event, EpochSaved) and event.epoch == epoch for event in events)  # noqa: E731
    return {"on_event": events.append, "should_stop": done}, events


def half_made(folder, **options):
    call, _ = stop_after(1)
    with pytest.raises(Interrupted):
        run_fake(folder, **call, **options)
    return cohort_folder(folder, 0)


def assert_same(cohort, other):
    assert snapshot_epochs(cohort) == snapshot_epochs(other) == [0, 1, 2]
    for epoch in range(3):
        for part in ("params", "metrics"):
            here, there = (read_snapshot(folder, epoch, part) for folder in (cohort, other))
            jax.tree.map(np.testing.assert_array_equal, here, there)


def test_going_on_with_another_device_or_version_is_said(tmp_path):
    cohort, events = half_made(tmp_path / "z"), []
    run_fake(tmp_path / "z", made={**MADE, "device": "another CPU", "jaxlib": "2"}, on_event=events.append)
    (notice,) = [event.text for event in events if isinstance(event, Notice)]
    assert "goes on with device another CPU, not a CPU, jaxlib 2, not 1: last bits may differ" in notice
    run_fake(tmp_path / "whole", on_event=events.append)
    assert_same(cohort, cohort_folder(tmp_path / "whole", 0))
    assert sum(isinstance(event, Notice) for event in events) == 1


def test_going_on_with_other_kernels_is_said_once_and_noted(tmp_path, monkeypatch):
    half_made(tmp_path / "z")
    monkeypatch.setattr(engines, "KERNELS", {("lanes", "cpu", False): 7, ("lanes", "cpu", True): 8})
    events, notes = [], []
    for _ in range(2):
        run_fake(tmp_path / "z", on_event=events.append)
    (notice,) = [event.text for event in events if isinstance(event, Notice)]
    assert "goes on with kernels 7, not 1: last bits may differ" in notice
    record = record_of(SPEC)
    begin_zoo(tmp_path / "z", record, record.plan, "card")
    assert list(verify_zoo(tmp_path / "z", on_note=notes.append)) == []
    assert [note.partition("000: ")[2] for note in notes] == [
        "from epoch 2 on made with kernels 7, not 1: last bits may differ from those of one run"
    ]


OTHERS = {
    "its trajectory is": dataclasses.replace(SPEC, batch_size=11),
    "holds another model in row 0": dataclasses.replace(SPEC, seeds=SeedRange(first=5, last=6)),
}


@pytest.mark.parametrize(("message", "other"), OTHERS.items(), ids=["trajectory", "seeds"])
@pytest.mark.parametrize("finished", [False, True])
def test_training_never_goes_on_from_another_zoos_snapshots(tmp_path, message, other, finished):
    """They were taken for its own, and a finished cohort was returned in a second."""
    if finished:
        run_fake(tmp_path / "z")
    else:
        half_made(tmp_path / "z")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(InputError, match=message):
        run_fake(tmp_path / "z", other)
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize("lost", ["snapshots/1", "snapshots/2", "snapshots", "resume"])
def test_what_is_lost_is_made_again_on_request(tmp_path, lost):
    run_fake(tmp_path / "whole")
    run_fake(tmp_path / "z")
    cohort, whole = (cohort_folder(tmp_path / name, 0) for name in ("z", "whole"))
    shutil.rmtree(cohort / lost)
    run_fake(tmp_path / "z", repair=True)
    assert_same(cohort, whole)


def test_of_epochs_that_are_not_kept_nothing_is_made_again(tmp_path):
    events = []
    run_fake(tmp_path / "z", kept=())
    run_fake(tmp_path / "z", kept=(), repair=True, on_event=events.append)
    assert snapshot_epochs(cohort_folder(tmp_path / "z", 0)) == [1, 2]
    assert not any(isinstance(event, EpochSaved) for event in events)
