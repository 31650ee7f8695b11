"""Steps and outputs are kept under the laws of snapshots: not replaced, compared, set aside, made again on request."""

import shutil

import numpy as np
import pytest
from cohorts import DAMAGES, files_of, identity, state_of

from jaxzoo.errors import InputError
from jaxzoo.spec.asked import Asked
from jaxzoo.spec.snapshots import Moment
from jaxzoo.storage.cohort_store import CohortStore
from jaxzoo.storage.outputs import outputs_epochs, read_outputs
from jaxzoo.storage.snapshots import read_snapshot, snapshot_epochs, snapshot_steps

# epochs of 5 steps, of which step 5 is the end of the first
ASKED = Asked(per_epoch=5, steps=(3, 5, 8), outputs=(0, 2))
STEPS = (Moment(1, 3), Moment(2, 8))


def open_store(folder):
    return CohortStore(folder, identity(), None, ASKED)


def outputs_of(epoch):
    return {"margins": {"test": np.random.default_rng(epoch).random((5, 4)).astype(np.float16)}}


def train(store, epoch, *, other=0):
    """Saves what belongs to an epoch, and then the epoch; `other` makes other numbers of the former."""
    for moment in STEPS:
        if moment.epoch == epoch:
            store.save_step(moment, *state_of(10 * moment.step + other)[:2])
    if epoch in ASKED.outputs:
        store.save_outputs(epoch, outputs_of(epoch + other))
    store.save(epoch, *state_of(epoch))


@pytest.fixture
def cohort(tmp_path):
    with open_store(tmp_path / "cohorts" / "000") as store:
        for epoch in range(3):
            train(store, epoch)
    return tmp_path / "cohorts" / "000"


def restore(cohort, last=2, **options):
    with open_store(cohort) as store:
        return store.restore(last, **options)


def test_what_is_saved_comes_back(cohort):
    assert (snapshot_epochs(cohort), snapshot_steps(cohort), outputs_epochs(cohort)) == ([0, 1, 2], [3, 8], [0, 2])
    for epoch, step in STEPS:
        stored = read_snapshot(cohort, epoch, "params", identity=identity(), step=step)
        np.testing.assert_array_equal(stored["conv1"]["kernel"], state_of(10 * step)[0]["params"]["conv1"]["kernel"])
    got = read_outputs(cohort, 2, "margins", "test", [4, 0], identity())
    np.testing.assert_array_equal(got, outputs_of(2)["margins"]["test"][[4, 0]])
    with pytest.raises(InputError, match=r"outputs/2: cannot be read: 'logits', expected a whole snapshot"):
        read_outputs(cohort, 2, "logits", "test", identity=identity())


def test_what_comes_out_the_same_again_is_left_as_it_is(cohort):
    before = files_of(cohort)
    with open_store(cohort) as store:
        assert store.restore(2) == (None, None, [])
        for epoch in range(3):
            train(store, epoch)
    assert files_of(cohort) == before


@pytest.mark.parametrize(("epoch", "path"), [(1, "steps/3"), (0, "outputs/0")])
def test_what_comes_out_otherwise_ends_the_run_and_is_left_as_it_is(cohort, epoch, path):
    before = files_of(cohort)
    store = open_store(cohort)
    with pytest.raises(InputError, match=f"{path}: training it again gave other numbers than this whole snapshot"):
        train(store, epoch, other=1)
    store.__exit__(None, None, None)
    assert files_of(cohort) == before


@pytest.mark.parametrize("path", ["steps/8", "outputs/2"])
@pytest.mark.parametrize("damage", [DAMAGES["cut"], DAMAGES["one bit turned"]], ids=["cut", "turned"])
def test_what_is_damaged_is_set_aside_and_saved_anew(cohort, path, damage):
    for file in (cohort / path).rglob("d/*"):
        damage(file)
    assert restore(cohort) == (None, None, [])  # a finished cohort is not read through without being asked
    with open_store(cohort) as store:
        saved, last, notes = store.restore(2, repair=True)
        assert (saved.epoch, last) == (1, 2)
        assert len(notes) == 1
        assert "is damaged and is made again (its checksum does not fit)" in notes[0] or "; it now lies in" in notes[0]
        train(store, 2)
    assert (cohort / f"{path}.damaged").is_dir()
    assert restore(cohort, repair=True) == (None, None, [])


@pytest.mark.parametrize(("path", "epoch"), [("steps/3", 1), ("steps", 1), ("outputs/0", 0), ("outputs/2", 2)])
def test_an_epoch_that_lacks_something_is_made_again_on_request(cohort, path, epoch):
    shutil.rmtree(cohort / path)
    assert restore(cohort) == (None, None, [])
    with open_store(cohort) as store:
        saved, last, _ = store.restore(2, repair=True)
        assert last == (2 if path == "steps" else epoch)
        assert saved is None or saved.epoch < epoch
        for each in range(0 if saved is None else saved.epoch + 1, last + 1):
            train(store, each)
    assert restore(cohort, repair=True) == (None, None, [])
    assert (snapshot_steps(cohort), outputs_epochs(cohort)) == ([3, 8], [0, 2])


def test_steps_of_epochs_that_are_still_to_come_are_not_missed(tmp_path):
    with open_store(tmp_path) as store:
        train(store, 0)
        train(store, 1)
    saved, last, _ = restore(tmp_path, repair=True)
    assert (saved.epoch, last) == (1, 2)


def test_steps_of_another_cohort_are_refused(cohort, tmp_path):
    other = identity()._replace(facts={"another": "zoo"})
    with (
        pytest.raises(InputError, match="steps/3: is of another zoo: its another is None, expected 'zoo'"),
        CohortStore(cohort, other, None, ASKED) as store,
    ):
        store.save_step(STEPS[0], *state_of(30)[:2])
