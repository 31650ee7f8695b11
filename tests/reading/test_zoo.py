"""Reading a zoo: what is asked for comes back, from the right model and epoch, and nothing else is read."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import record_of, small_spec, store_zoo

from jaxzoo.errors import InputError
from jaxzoo.reading.selection import split_models
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.storage.snapshots import read_snapshot
from jaxzoo.storage.zoo_folder import cohort_folder


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Four cohorts of 4 models, 4 epochs; model 3 diverges in epoch 2."""
    spec = small_spec(seeds=4, epochs=3, activation=("tanh", "relu"), optimizer=("adam", "sgd"))
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", spec, finite=lambda model, epoch: model != 3 or epoch < 2)


def one_by_one(zoo, epoch, model):
    """The obvious way to the weights of one model: its cohort's whole snapshot, its row, leaf after leaf."""
    member = zoo.members.iloc[model]
    params = read_snapshot(cohort_folder(zoo.path, member.cohort), epoch, "params")
    layers = ("conv1", "conv2", "conv3", "dense1", "dense2")
    leaves = [params[layer][kind] for layer in layers for kind in ("kernel", "bias")]
    return np.concatenate([leaf[member.row].ravel() for leaf in leaves])


def test_weights_are_of_the_models_and_epochs_asked_for(zoo):
    np.testing.assert_array_equal(zoo.weights(2, [13, 0, 7])[0], one_by_one(zoo, 2, 13))
    both = zoo.weights([3, 1], [5, 12])
    for place, epoch in enumerate((3, 1)):
        for row, model in enumerate((5, 12)):
            np.testing.assert_array_equal(both[place, row], one_by_one(zoo, epoch, model))
    assert zoo.weights(0).shape == (16, 2464)
    assert zoo.params([0, 1], [2])["conv2"]["kernel"].shape == (2, 1, 5, 5, 8, 6)


def test_weights_to_params_and_back_is_exact(zoo):
    weights = zoo.weights([1, 2])
    params = zoo.unflatten(weights)
    np.testing.assert_array_equal(zoo.flatten(params), weights)
    again = zoo.unflatten(zoo.flatten(zoo.params(1, [4])))
    jax.tree.map(np.testing.assert_array_equal, again, zoo.params(1, [4]))
    one = zoo.unflatten(weights[0, 3])
    assert one["dense2"]["bias"].shape == (10,)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(one))
    on_device = jax.jit(lambda rows: zoo.flatten(zoo.unflatten(rows)))(jnp.asarray(weights))
    np.testing.assert_array_equal(on_device, weights)


def test_the_layout_says_which_column_is_what(zoo):
    weights, params = zoo.weights(1), zoo.params(1)
    for entry in zoo.layout:
        np.testing.assert_array_equal(
            weights[:, entry.columns].reshape(16, *entry.shape), params[entry.layer][entry.kind]
        )
    assert [zoo.layout[0].columns.start, zoo.layout[-1].columns.stop] == [0, 2464]


def test_flattening_what_does_not_fit_is_one_line(zoo):
    with pytest.raises(InputError, match=r"weights are of shape \(5,\), expected \(\.\.\., 2464\)"):
        zoo.unflatten(np.zeros(5))
    with pytest.raises(InputError, match="conv1 kernel is missing, expected"):
        zoo.flatten({})
    with pytest.raises(InputError, match=r"conv1 kernel is of shape \(3, 3\), expected \(\.\.\., 5, 5, 1, 8\)"):
        zoo.flatten({"conv1": {"kernel": np.zeros((3, 3))}})


def test_select_picks_states_that_meet_every_condition(zoo):
    everything = zoo.select()
    assert len(everything) == 64
    some = zoo.select(epochs=[1, 3], where="activation == 'tanh' and test_accuracy > 0.5", models=[0, 1, 2, 9, 4])
    table = zoo.metrics.merge(zoo.members, on="model")
    wanted = table[
        table["epoch"].isin([1, 3]) & (table["activation"] == "tanh") & (table["test_accuracy"] > 0.5)
        & table["model"].isin([0, 1, 2, 9, 4])
    ]  # fmt: skip
    assert 0 < len(wanted) < 10
    assert set(zip(some.table["model"], some.table["epoch"], strict=True)) == set(
        zip(wanted["model"], wanted["epoch"], strict=True)
    )
    weights = some.weights()
    for row, (model, epoch) in enumerate(zip(some.table["model"], some.table["epoch"], strict=True)):
        np.testing.assert_array_equal(weights[row], one_by_one(zoo, epoch, model))
    np.testing.assert_array_equal(some.params()["conv1"]["bias"], weights[:, 200:208])


def test_the_generalization_gap_is_a_column_of_states(zoo):
    table = zoo.select(where="generalization_gap > 0.1").table
    np.testing.assert_array_equal(table["generalization_gap"], table["train_accuracy"] - table["test_accuracy"])
    gaps = zoo.metrics["train_accuracy"] - zoo.metrics["test_accuracy"]
    assert len(table) == (gaps > 0.1).sum() > 0


def test_select_leaves_out_what_diverged_or_is_huge(zoo):
    finite = zoo.select(finite=True)
    assert len(finite) == 15 * 4 + 2
    largest = np.abs(zoo.weights(zoo.epochs)).max(axis=-1)
    limit = float(np.median(largest))
    kept = zoo.select(max_abs_weight=limit)
    assert len(kept) == (largest <= limit).sum() == 32
    assert (np.abs(kept.weights()).max(axis=1) <= limit).all()


def test_a_split_is_by_model_and_the_same_for_every_selection(zoo):
    parts = zoo.split(0.5, 0.25, 0.25, seed=7)
    assert [len(part) for part in parts] == [8, 4, 4]
    assert sorted(np.concatenate(parts)) == list(range(16))
    assert not np.array_equal(parts.train, zoo.split(0.5, 0.25, 0.25, seed=8).train)
    for states in zoo.select(), zoo.select(where="activation == 'relu'"):
        shared = states.split(0.5, 0.25, 0.25, seed=7)
        assert sum(map(len, shared)) == len(states)
        for part, models in zip(shared, parts, strict=True):
            assert set(part.table["model"]) <= set(models)


def test_a_split_by_seed_shares_no_seed(zoo):
    parts = zoo.split(0.5, 0.25, 0.25, seed=7, by="seed")
    assert sorted(np.concatenate(parts)) == list(range(16))
    seeds = [set(zoo.members["seed"][part]) for part in parts]
    assert [len(each) for each in seeds] == [2, 1, 1]
    assert set.union(*seeds) == {1, 2, 3, 4}
    shared = zoo.select(where="activation == 'relu'").split(0.5, 0.25, 0.25, seed=7, by="seed")
    for part, models in zip(shared, parts, strict=True):
        assert set(part.table["model"]) <= set(models)
    with pytest.raises(InputError, match="by is 'sed', expected one of"):
        zoo.split(by="sed")
    with pytest.raises(InputError, match=r"split is \(0.7, 0.15, 0.15\) of 4 seeds: none is left for validation"):
        zoo.split(by="seed", seed=1)


def test_batches_are_every_state_once_a_pass(zoo):
    states = zoo.select()
    weights = states.weights()
    places = {row.tobytes(): place for place, row in enumerate(weights)}
    for held in (1_000, 20):  # at once, and in shares of two batches
        seen = []
        for batch in states.batches(10, seed=0, labels=["epoch", "activation"], passes=2, held=held):
            found = [places[row.tobytes()] for row in batch.weights]
            np.testing.assert_array_equal(states.table["epoch"].to_numpy()[found], batch.labels["epoch"])
            assert list(states.table["activation"].to_numpy()[found]) == list(batch.labels["activation"])
            seen.append(found)
        assert [len(found) for found in seen] == [*[10] * 6, 4, *[10] * 6, 4]
        first, second = np.concatenate(seen[:7]), np.concatenate(seen[7:])
        assert sorted(first) == sorted(second) == list(range(64))
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, range(64))
    (one,) = [next(states.batches(4, seed=3, labels=["test_loss"], passes=None, as_jax=True))]
    assert isinstance(one.weights, jax.Array)
    assert one.labels["test_loss"].shape == (4,)


def test_what_is_not_there_is_one_clear_line(zoo, tmp_path):
    refused = {
        r"epoch is 9, expected one of 0\.\.3": lambda: zoo.weights([1, 9]),
        r"model is 16, expected 0\.\.15": lambda: zoo.weights(1, [16]),
        r"model is -1, expected 0\.\.15": lambda: zoo.select(models=[-1]),
        r"epoch is none, expected one of 0\.\.3": lambda: zoo.select(epochs=[]),
        r"epoch is -1, expected one of 0\.\.3": lambda: zoo.select(epochs=-1),
        "no state is left, of 4 epochs and 16 models": lambda: zoo.select(where="test_accuracy > 2"),
        "no column 'accuracy'": lambda: zoo.select(where="accuracy > 0"),
        "has no twins by 'magnitude', expected one of: none yet": lambda: zoo.twins["magnitude"],
        r"expected three fractions that sum to 1": lambda: zoo.split(0.5, 0.5, 0.5),
        "size is 0": lambda: zoo.select().batches(0, seed=0),
        "no column 'loss'": lambda: zoo.select().batches(1, seed=0, labels=["loss"]),
        "a label is of type": lambda: next(zoo.select().batches(1, seed=0, labels=["activation"], as_jax=True)),
        "n is too small": lambda: split_models([1, 2, 3], 0.7, 0.15, 0.15, seed=0),
    }
    for message, call in refused.items():
        with pytest.raises(InputError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def test_a_zoo_half_made_reads_as_far_as_it_is(tmp_path):
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=2, epochs=2))
    unfinished = record_of(dataclasses.replace(zoo.spec, epochs=9))
    (tmp_path / "z" / "zoo.json").write_text(unfinished.to_json())
    half = open_zoo(tmp_path / "z")
    assert half.epochs == (0, 1, 2)
    assert len(half.select()) == 6


def test_an_epoch_that_cannot_be_read_leaves_the_others_readable(tmp_path):
    """One damaged epoch made the metrics of all unreadable; an empty folder was an epoch."""
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=2, epochs=3))
    snapshots = cohort_folder(zoo.path, 0) / "snapshots"
    (snapshots / "99").mkdir()
    for file in (snapshots / "1").rglob("d/*"):
        file.unlink()
    damaged = open_zoo(zoo.path)
    assert damaged.epochs == (0, 1, 2, 3)
    with pytest.warns(UserWarning, match="the metrics of an epoch are left out: .*snapshots/1: cannot be read"):
        metrics = damaged.metrics
    assert metrics["epoch"].unique().tolist() == [0, 2, 3]
    np.testing.assert_array_equal(damaged.weights(2), zoo.weights(2))
    for read in (damaged.metrics_at, damaged.weights):
        with pytest.raises(InputError, match="snapshots/1: cannot be read"):
            read(1)


def test_reading_starts_no_device(zoo):
    code = (
        "import sys, jaxzoo; from jax._src import xla_bridge; zoo = jaxzoo.open_zoo(sys.argv[1]);"
        "zoo.flatten(zoo.params(1)); states = zoo.select(where='test_accuracy > 0.1', max_abs_weight=100);"
        "next(states.split()[0].batches(3, seed=0)); print(len(xla_bridge._backends), 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, zoo.path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]
