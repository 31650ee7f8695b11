"""Zoos in other processes: pickled, spawned, and forked, where reading is possible or is one line."""

import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest
from populations import small_spec, store_zoo

from jaxzoo.reading.zoo import open_zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", small_spec(seeds=3, epochs=1))


def test_zoos_selections_and_layouts_pickle(zoo):
    zoo.weights(1)
    states = zoo.select(epochs=1)
    for again in (pickle.loads(pickle.dumps(zoo)), pickle.loads(pickle.dumps(open_zoo(zoo.path)))):
        np.testing.assert_array_equal(again.weights(1), zoo.weights(1))
        assert again.members.equals(zoo.members)
        assert again.record == zoo.record
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(states)).weights(), states.weights())
    assert pickle.loads(pickle.dumps(zoo.layout)) == zoo.layout
    assert pickle.loads(pickle.dumps(zoo.twins)) == zoo.twins


def test_a_spawned_process_reads(zoo):
    wanted = zoo.weights(1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(zoo.weights, (1,)), wanted)


FORK = """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore")  # JAX warns of every fork
import jaxzoo

def read():
    try:
        print(zoo.weights(1).shape, flush=True)
    except jaxzoo.InputError as error:
        print(error, flush=True)

zoo = jaxzoo.open_zoo(sys.argv[1])
if sys.argv[2] == "read":
    zoo.weights(1)
child = multiprocessing.get_context("fork").Process(target=read)
child.start()
child.join(60)
print(child.exitcode)
"""


def fork(zoo, before):
    command = [sys.executable, "-c", FORK, str(zoo.path), before]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_process_that_was_forked_before_any_reading_reads(zoo):
    assert fork(zoo, "") == ["(3, 2464)", "0"]


def test_a_process_that_was_forked_after_reading_says_one_line(zoo):
    """TensorStore aborted it, or hung."""
    line, status = fork(zoo, "read")
    assert status == "0"
    assert "cannot be opened in a process that was forked after a zoo had been read or written" in line
    assert "multiprocessing_context='spawn'" in line
