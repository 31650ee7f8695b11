"""A zoo whose cohorts are at different epochs: what is there can be read, and of which models it is."""

import shutil

import numpy as np
import pytest
from populations import small_spec, store_zoo

from jaxzoo.errors import InputError
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.storage.zoo_folder import cohort_folder


@pytest.fixture
def path(tmp_path):
    """Two cohorts of 4 models: models 0 to 3 (relu or tanh) hold the epochs 4 and 5, the others 2 and 3."""
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=4, epochs=5, activation=("tanh", "relu")))
    for cohort, epochs in ((0, {4, 5}), (1, {2, 3})):
        for epoch in {*range(6)} - epochs:
            shutil.rmtree(cohort_folder(zoo.path, cohort) / "snapshots" / str(epoch))
    return zoo.path


def test_it_opens_with_no_epoch_and_says_how_to_read_what_is_there(path):
    zoo = open_zoo(path)
    assert zoo.epochs == ()
    with pytest.raises(InputError, match=r"there is none yet, and open_zoo\(path, partial=True\) opens what is there"):
        zoo.weights(5)


def test_partial_reads_what_is_there_and_says_of_which_models(path):
    zoo = open_zoo(path, partial=True)
    first, second = (zoo.members.query(f"cohort == {cohort}")["model"].tolist() for cohort in (0, 1))
    assert zoo.epochs == (2, 3, 4, 5)
    assert zoo.models_at(5).tolist() == first
    assert zoo.models_at(2).tolist() == second
    assert zoo.weights(5).shape == zoo.weights(3).shape == (4, 2464)
    assert zoo.weights([2, 3]).shape == (2, 4, 2464)
    np.testing.assert_array_equal(zoo.weights(5, first[::-1]), zoo.weights(5)[::-1])
    table = zoo.metrics
    assert len(table) == 16
    for epoch in zoo.epochs:
        assert table.query(f"epoch == {epoch}")["model"].tolist() == zoo.models_at(epoch).tolist()
    states = zoo.select()
    assert len(states) == 16
    np.testing.assert_array_equal(states.weights()[states.table["epoch"] == 3], zoo.weights(3))
    final = states.final()
    assert dict(zip(final.table["model"], final.table["epoch"], strict=True)) == {
        **dict.fromkeys(first, 5),
        **dict.fromkeys(second, 3),
    }


def test_models_that_are_not_there_are_one_line(path):
    zoo = open_zoo(path, partial=True)
    absent = zoo.models_at(2)[0]
    for read in (lambda: zoo.weights(5, [absent]), lambda: zoo.weights([2, 5]), lambda: zoo.params(5, [0, 1, 6, 7])):
        with pytest.raises(InputError, match=r"has no weights at epoch (\d), expected models of zoo\.models_at\(\1\)"):
            read()
    with pytest.raises(InputError, match=r"epoch is 0, expected one of 2\.\.5"):
        zoo.models_at(0)


def test_a_whole_zoo_is_the_same_opened_as_partial(tmp_path):
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=2, epochs=2, activation=("tanh", "relu")))
    partial = open_zoo(zoo.path, partial=True)
    assert partial.epochs == zoo.epochs
    assert partial.metrics.equals(zoo.metrics)
    assert partial.select().table.equals(zoo.select().table)
    np.testing.assert_array_equal(partial.weights([0, 2]), zoo.weights([0, 2]))
    assert zoo.models_at(1).tolist() == partial.models_at(1).tolist() == [0, 1, 2, 3]
