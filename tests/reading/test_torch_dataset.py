"""Selections as data sets of PyTorch: in this process, in spawned workers, in forked ones, and without PyTorch."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from populations import small_spec, store_zoo

from jaxzoo.errors import InputError

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Dataset, Subset  # noqa: E402


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    spec = small_spec(seeds=3, epochs=2, activation=("tanh", "relu"))
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", spec)


@pytest.fixture
def selection(zoo):
    """States in an order that is neither that of models nor that of epochs, and not all of them."""
    every = zoo.select()
    return every.take(np.random.default_rng(0).permutation(len(every))[:13])


def rows_seen(loader):
    """The batches of a loader as (model, epoch) to weights."""
    seen = {}
    for weights, labels in loader:
        assert weights.dtype == labels["test_loss"].dtype == torch.float32
        assert labels["model"].dtype == torch.int64
        keys = zip(labels["model"].tolist(), labels["epoch"].tolist(), strict=True)
        for key, row, loss in zip(keys, weights, labels["test_loss"], strict=True):
            assert key not in seen
            seen[key] = row.numpy().copy(), float(loss)
    return seen


def assert_all_states(seen, selection):
    table = selection.table
    wanted = zip(selection.weights(), table["test_loss"], strict=True)
    wanted = dict(zip(zip(table["model"], table["epoch"], strict=True), wanted, strict=True))
    assert seen.keys() == wanted.keys()
    for key, (row, loss) in seen.items():
        np.testing.assert_array_equal(row, wanted[key][0])
        assert loss == wanted[key][1]


LABELS = "model", "epoch", "test_loss"


def test_items_are_the_states_in_the_order_of_the_table(selection):
    dataset = selection.torch(labels=LABELS)
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 13
    for item, row, epoch in zip(dataset, selection.weights(), selection.table["epoch"], strict=True):
        np.testing.assert_array_equal(item[0], row)
        assert item[1]["epoch"] == epoch
    np.testing.assert_array_equal(dataset[-1][0], selection.weights()[-1])
    assert Subset(dataset, [4])[0][1]["model"] == selection.table["model"][4]
    assert selection.torch()[2][1] == {}
    assert selection.torch(["finite"])[0][1]["finite"].dtype == torch.bool
    assert selection.torch(["learning_rate"])[0][1]["learning_rate"].dtype == torch.float32


@pytest.mark.parametrize("held", [None, 5, 0])
def test_a_loader_gives_every_state_once(selection, held):
    loader = DataLoader(selection.torch(LABELS, held=held), batch_size=4, shuffle=True)
    assert_all_states(rows_seen(loader), selection)


@pytest.mark.parametrize("held", [None, 5])
def test_spawned_workers_read(selection, held):
    dataset = selection.torch(LABELS, held=held)
    workers = {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True}
    loader = DataLoader(dataset, batch_size=4, shuffle=True, **workers)
    for _ in range(2):
        assert_all_states(rows_seen(loader), selection)


def test_a_pickled_data_set_is_small_and_reads_again(selection):
    dataset = selection.torch(LABELS)
    pickled = pickle.dumps(dataset)
    assert dataset[0][0].numpy().tobytes() not in pickled
    assert len(pickled) < selection.weights().nbytes
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again[3][0], dataset[3][0])
    np.testing.assert_array_equal(again[3][1]["test_loss"], dataset[3][1]["test_loss"])


def test_weights_are_read_once_where_they_fit_and_else_once_a_batch_and_epoch(selection):
    calls = []
    read = selection._read
    selection._read = lambda epoch, models: calls.append(epoch) or read(epoch, models)
    dataset = selection.torch()
    assert sorted(calls) == [0, 1, 2]
    [*DataLoader(dataset, batch_size=4)]
    assert len(calls) == 3
    calls.clear()
    dataset = selection.torch(held=12)
    assert not calls
    dataset.__getitems__([*range(13)])
    assert sorted(calls) == [0, 1, 2]


FORK = """
import sys, warnings
warnings.simplefilter("ignore")  # JAX warns of every fork
import numpy as np
from torch.utils.data import DataLoader
import jaxzoo

states = jaxzoo.open_zoo(sys.argv[1]).select()
wanted = states.weights()
dataset = states.torch(["model", "epoch"], held=int(sys.argv[2]))
loader = DataLoader(dataset, batch_size=4, shuffle=True, num_workers=2, multiprocessing_context="fork")
row_of = {key: row for row, key in enumerate(zip(states.table["model"], states.table["epoch"]))}
seen = []
try:
    for weights, labels in loader:
        for row, *key in zip(weights.numpy(), labels["model"].tolist(), labels["epoch"].tolist()):
            seen.append(row_of[tuple(key)])
            assert (row == wanted[seen[-1]]).all()
    print(sorted(seen) == [*range(18)])
except jaxzoo.InputError as error:
    print(error)
"""


def fork(zoo, held):
    command = [sys.executable, "-c", FORK, str(zoo.path), str(held)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_forked_workers_find_weights_in_memory(zoo):
    assert fork(zoo, 18) == "True\n"


def test_forked_workers_that_would_have_to_read_say_one_line(zoo):
    (line,) = fork(zoo, 17).splitlines()
    assert "multiprocessing_context='spawn'" in line


def test_what_is_no_label_is_one_line(selection):
    with pytest.raises(InputError, match=r"no column 'tets_loss', expected one of: model, epoch"):
        selection.torch(["tets_loss"])
    with pytest.raises(InputError, match=r"the label 'activation' is of type \w+, expected a column of numbers"):
        selection.torch(["activation"])
    with pytest.raises(InputError, match=r"held is -1, expected 0 or more states"):
        selection.torch(held=-1)
    with pytest.raises(IndexError, match=r"item is 13, expected 0\.\.12"):
        selection.torch()[13]


def test_without_pytorch_it_is_one_line(selection, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "jaxzoo.reading.torch_dataset", raising=False)
    with pytest.raises(InputError, match=r"^PyTorch cannot be imported, .*: pip install 'jaxzoo\[torch\]'$"):
        selection.torch()
