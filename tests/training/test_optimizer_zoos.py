"""A zoo of optimizers with parameters on a cosine, and its twins: made, stopped, made in parts, opened again."""

import dataclasses

import numpy as np
import pytest
from populations import assert_same_weights, write_digits_config

import jaxzoo
from jaxzoo import Optimizer, Schedule, TwinSpec, generate, open_zoo
from jaxzoo.errors import InputError
from jaxzoo.training.checks import check_generate
from jaxzoo.training.events import EpochSaved, Interrupted

LABELS = ["adamw", "sgd(momentum=0.5, nesterov=True)"]
OPTIMIZERS = ("adamw", Optimizer(name="sgd", momentum=0.5, nesterov=True))


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = write_digits_config(tmp_path_factory.mktemp("config") / "tiny.toml", batch_size="100")
    (spec,) = jaxzoo.read_config(path)
    grid = dataclasses.replace(spec.grid, optimizer=OPTIMIZERS)
    cosine = Schedule(kind="cosine", warmup=0.5)
    return dataclasses.replace(spec, grid=grid, schedule=cosine, twins=TwinSpec(method="magnitude", epochs=2))


@pytest.fixture(scope="module")
def finished(spec, tmp_path_factory):
    return generate(spec, tmp_path_factory.mktemp("zoos") / "tiny")


def test_it_is_opened_as_it_was_made(spec, finished):
    zoo = open_zoo(finished.path)
    assert zoo.spec == spec
    assert zoo.members["optimizer"].tolist() == [label for label in LABELS for _ in range(2)]
    assert [twins.epochs for twins in zoo.twins.values()] == [(0, 1, 2)]
    chosen = zoo.select(epochs=[3], where="optimizer == 'sgd(momentum=0.5, nesterov=True)'")
    np.testing.assert_array_equal(chosen.weights(), zoo.weights(3, models=[2, 3]))
    assert [*jaxzoo.verify_zoo(finished.path, deep=True)] == []


def test_it_learns(finished):
    before, after = finished.metrics_at(0), finished.metrics_at(3)
    assert (after["train_loss"] < before["train_loss"]).all()


def test_made_in_parts_and_stopped_and_gone_on_with_it_is_the_same(spec, finished, tmp_path):
    saved = []

    def note(event):
        if isinstance(event, EpochSaved):
            saved.append(event)

    generate(spec, tmp_path / "z", cohorts=range(1, 2), on_event=note)
    for stop_after in (9, 13):  # in the middle of the other cohort, and of its twins
        with pytest.raises(Interrupted):
            generate(spec, tmp_path / "z", on_event=note, should_stop=lambda n=stop_after: len(saved) >= n)
    assert_same_weights(generate(spec, tmp_path / "z", on_event=note), finished)
    assert len(saved) == 2 * (4 + 3)


def test_a_member_alone_is_the_same(spec, finished, tmp_path):
    grid = dataclasses.replace(spec.grid, optimizer=OPTIMIZERS[1])
    zoo = generate(dataclasses.replace(spec, grid=grid), tmp_path / "z", models=1, twins="none")
    np.testing.assert_array_equal(zoo.weights(3), finished.weights(3, models=[2]))


def test_twins_that_would_only_warm_up_are_refused(spec, finished, tmp_path):
    long = dataclasses.replace(spec, schedule=Schedule(kind="cosine", warmup=2))
    message = "zoo 'tiny': schedule.warmup is 2.0, expected less than the 2 epochs of its twins"
    with pytest.raises(InputError, match=f"^{message}"):
        check_generate(long, tmp_path / "z")
    assert check_generate(long, tmp_path / "z", twins="none").twin is None
    with pytest.raises(InputError, match=r"schedule.warmup is 2.0, expected less than the 1 epochs of the zoo"):
        check_generate(long, tmp_path / "z", epochs=1, twins="none")
    with pytest.raises(InputError, match=r"holds another zoo: schedule.warmup is 0.5, got 2.0"):
        check_generate(long, finished.path, twins="none")
