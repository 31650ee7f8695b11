"""What a zoo is read and made from: several threads of a process, and an event loop that runs, as in a notebook."""

import asyncio
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from populations import replace_dataset, small_spec, store_zoo, write_folder

import jaxzoo

THREADS = 8


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Four cohorts of 4 models and 4 epochs."""
    spec = small_spec(epochs=3, activation=("tanh", "relu"), optimizer=("adam", "sgd"))
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", spec)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The spec of a zoo of 2 models, on images in a folder."""
    folder = tmp_path_factory.mktemp("images") / "few"
    spec = replace_dataset(small_spec(seeds=2, train=20, epochs=1), folder=str(folder))
    write_folder(folder, spec.dataset)
    return dataclasses.replace(spec, twins=jaxzoo.TwinSpec(method="magnitude", epochs=1))


@pytest.fixture(scope="module")
def usual(tiny, tmp_path_factory):
    return make(tiny, tmp_path_factory.mktemp("usual") / "zoo")


def make(spec, folder):
    return jaxzoo.generate(spec, folder, engine="lanes", lanes=4)


def assert_same(zoo, other):
    for epoch in other.epochs:
        np.testing.assert_array_equal(zoo.weights(epoch), other.weights(epoch))
    np.testing.assert_array_equal(zoo.twins["magnitude"].weights(1), other.twins["magnitude"].weights(1))


def test_threads_that_share_a_zoo_read_what_one_thread_reads(zoo):
    wanted = [zoo.weights(epoch) for epoch in zoo.epochs]
    shared = jaxzoo.open_zoo(zoo.path)  # nothing of it is read yet: the threads race for what it keeps

    def read(number):
        epoch = number % len(zoo.epochs)
        np.testing.assert_array_equal(shared.weights(epoch), wanted[epoch])
        assert len(shared.select(epochs=[epoch])) == 16
        return len(shared.metrics)

    with ThreadPoolExecutor(THREADS) as pool:
        assert set(pool.map(read, range(4 * THREADS))) == {64}


def test_threads_that_open_a_zoo_each_read_the_same(zoo):
    with ThreadPoolExecutor(THREADS) as pool:
        found = [*pool.map(lambda _: jaxzoo.open_zoo(zoo.path).weights(2), range(THREADS))]
    for weights in found:
        np.testing.assert_array_equal(weights, zoo.weights(2))


def test_a_zoo_that_a_thread_makes_is_that_of_the_main_thread(tiny, usual, tmp_path):
    # a setting of the main thread's own is not a thread's, and neither is what a call pins
    with jax.enable_x64(True), ThreadPoolExecutor(1) as pool:
        made = pool.submit(make, tiny, tmp_path / "zoo").result()
        assert jax.config.jax_enable_x64
    assert_same(made, usual)


def test_two_threads_make_a_zoo_each_at_the_same_time(tiny, usual, tmp_path):
    """Orbax's saves ended each other's event loops: "Event loop is closed", or "File exists"."""
    with ThreadPoolExecutor(2) as pool:
        for made in pool.map(lambda name: make(tiny, tmp_path / name), ("a", "b", "c", "d")):
            assert_same(made, usual)


def test_a_zoo_is_made_and_read_inside_a_running_event_loop(tiny, usual, tmp_path):
    # Orbax and TensorStore wait for event loops of their own, which Python forbids inside a running one
    async def main():
        made = make(tiny, tmp_path / "zoo")
        assert asyncio.get_running_loop().is_running()
        return jaxzoo.open_zoo(tmp_path / "zoo"), made.weights(1)

    zoo, weights = asyncio.run(main())
    np.testing.assert_array_equal(weights, usual.weights(1))
    assert_same(zoo, usual)


def test_zoos_are_read_by_the_threads_of_a_running_event_loop(zoo):
    async def main():
        return await asyncio.gather(*(asyncio.to_thread(zoo.weights, epoch) for epoch in zoo.epochs)), zoo.weights(1)

    in_threads, in_loop = asyncio.run(main())
    for epoch, weights in zip(zoo.epochs, in_threads, strict=True):
        np.testing.assert_array_equal(weights, zoo.weights(epoch))
    np.testing.assert_array_equal(in_loop, in_threads[1])
