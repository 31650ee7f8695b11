"""Snapshots within epochs: no bit of an epoch depends on them, they are made again as epochs are, and cost nothing."""

import dataclasses
import itertools
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from populations import cohort_of, population_of, small_images, small_spec
from stepped import STEPS, plain, stepped_spec, write_images

import jaxzoo
from jaxzoo.datasets.subsets import NOTHING_SPECIAL
from jaxzoo.devices import model_mesh
from jaxzoo.errors import InputError
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.spec.snapshots import Snapshots
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.snapshots import snapshot_epochs, snapshot_steps
from jaxzoo.storage.zoo_folder import cohort_folder
from jaxzoo.training.events import EpochSaved, Interrupted, Notice
from jaxzoo.training.optimizer_state import named_state
from jaxzoo.training.population import get_state, put_images, train_epoch
from jaxzoo.training.zoo import generate

TWINS = TwinSpec(method="magnitude", epochs=2)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "few")


@pytest.fixture(scope="module")
def make(images):
    """Makes the zoo, or another one of its images: a cohort for each activation, of two slabs with two lanes."""

    def make(folder, spec=None, **options):
        return generate(spec or stepped_spec(images), folder, lanes=2, form="none", **options)

    return make


@pytest.fixture(scope="module")
def finished(make, tmp_path_factory):
    return make(tmp_path_factory.mktemp("finished") / "z", twins=TWINS)


def assert_same_steps(zoo, other):
    assert zoo.steps == other.steps
    assert zoo.step_metrics.equals(other.step_metrics)
    for step in zoo.steps:
        np.testing.assert_array_equal(zoo.weights(step=step), other.weights(step=step))
        jax.tree.map(np.testing.assert_array_equal, zoo.optimizer(step=step), other.optimizer(step=step))
    for split in zoo.spec.outputs.splits:
        np.testing.assert_array_equal(zoo.outputs(2, split), other.outputs(2, split))


def test_the_bits_of_every_epoch_are_those_of_a_zoo_without_steps(finished, make, images, tmp_path):
    without = make(tmp_path / "z", plain(stepped_spec(images)), twins=TWINS)
    assert finished.epochs == without.epochs == (0, 1, 2)
    for epoch in finished.epochs:
        np.testing.assert_array_equal(finished.weights(epoch), without.weights(epoch))
        assert finished.metrics_at(epoch).equals(without.metrics_at(epoch))
    twins, others = (zoo.twins["magnitude"] for zoo in (finished, without))
    np.testing.assert_array_equal(twins.weights(2), others.weights(2))
    assert twins.steps == ()
    assert twins.outputs(2).shape == finished.outputs(2).shape
    assert list(verify_zoo(finished.path, deep=True)) == []


def test_a_pause_sees_the_whole_population_at_its_step():
    """Against one call for each stretch on slabs of their own, which is what a step by itself is."""
    spec = small_spec(seeds=7)
    mesh = model_mesh()
    images = put_images(small_images(spec.dataset), mesh)
    seen, pauses = [], [1, 2, 4]
    population = population_of(cohort_of(spec), mesh, lanes=2)  # two slabs
    counted = []
    metrics = train_epoch(
        population, images, 1, counted.append, pauses=pauses, on_pause=lambda step: seen.append(get_state(population))
    )
    assert sum(counted) == 47 * 7
    undisturbed = population_of(cohort_of(spec), mesh, lanes=2)
    wanted = train_epoch(undisturbed, images, 1)
    jax.tree.map(np.testing.assert_array_equal, (get_state(population), metrics), (get_state(undisturbed), wanted))
    for pause, state in zip(pauses, seen, strict=True):
        single = population_of(cohort_of(spec), mesh, lanes=2)
        program = single.program
        for (slab, (hyper,)), rows in zip(single.slabs, ([*range(4)], [*range(4, 7)]), strict=True):
            order = program.shuffle(hyper.seed, NOTHING_SPECIAL, 1)
            tally = jax.tree.map(np.zeros_like, (hyper.numbers["learning_rate"],) * 2)
            evaluated = program.evaluate(slab.params, slab.batch_stats, {}, images, 0, 1)
            tally = type(evaluated)(*map(jax.numpy.asarray, tally))
            for first, last in itertools.pairwise(range(pause + 1)):
                when = map(np.int32, (1, first, last))
                slab, tally = program.train(slab, tally, hyper, images, order, *when)
            got = np.moveaxis(np.asarray(slab.params["conv1"]["kernel"]), -1, 0)[: len(rows)]
            np.testing.assert_array_equal(state.params["conv1"]["kernel"][rows], got)


def test_a_member_alone_has_the_steps_that_it_has_in_its_zoo(finished, make, images, tmp_path):
    alone = make(tmp_path / "z", stepped_spec(images, models=1), twins="none")
    (seed,), (activation,) = alone.members["seed"], alone.members["activation"]
    (model,) = finished.members.query(f"seed == {seed} and activation == '{activation}'")["model"]
    for step in STEPS:
        np.testing.assert_array_equal(alone.weights(step=step), finished.weights(step=step, models=[model]))
    np.testing.assert_array_equal(alone.outputs(2), finished.outputs(2, models=[model]))


def test_a_step_at_the_end_of_an_epoch_is_that_epoch(finished):
    assert finished.steps == STEPS
    for number in finished.cohorts:
        assert snapshot_steps(cohort_folder(finished.path, number)) == [1, 3, 7, 9]
    np.testing.assert_array_equal(finished.weights(step=5), finished.weights(1))
    table = finished.step_metrics
    assert table["step"].unique().tolist() == [*STEPS]
    assert table["epoch"].unique().tolist() == [0.2, 0.6, 1.0, 1.4, 1.8]


def test_the_held_out_loss_is_that_of_the_first_images_of_validation(finished, images):
    shown = finished.images(images.parent)
    pixels, labels = shown.normalised("validation", slice(8)), shown.validation.labels[:8]
    for step in (3, 5):
        table = finished.step_metrics.query(f"step == {step}")
        for model in (0, 7):
            variables = jax.tree.map(lambda leaf: leaf[0], finished.variables(step=step, models=[model]))
            logits = np.asarray(finished.network_of(model).apply(variables, pixels))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            row = table[table["model"] == model]
            np.testing.assert_allclose(row["heldout_loss"], [losses.mean()], rtol=1e-5)  # float32
            assert row["heldout_accuracy"].tolist() == [(logits.argmax(-1) == labels).mean()]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_optimizers_state_is_the_one_that_training_goes_on_with(images, make, tmp_path, optimizer):
    """Its moments and the weights at a step give the weights after the next, by Optax alone."""
    spec = small_spec(seeds=2, epochs=1, optimizer=(optimizer,))
    spec = dataclasses.replace(
        spec, dataset=stepped_spec(images).dataset, snapshots=Snapshots(every=1, keep_optimizer=True), twins=None
    )
    zoo = make(tmp_path / "z", spec)
    before, after = (zoo.optimizer(step=step) for step in (2, 3))
    rate = np.float32(1e-3)
    for layer, kind in (("conv1", "kernel"), ("dense2", "bias")):
        weights = [zoo.params(step=step)[layer][kind] for step in (2, 3)]
        if optimizer == "sgd":
            assert after.keys() == {"trace"}
            moved = weights[0] - rate * after["trace"][layer][kind]
        else:
            assert after.keys() == {"count", "mu", "nu"}
            assert (before["count"].tolist(), after["count"].tolist()) == ([2, 2], [3, 3])
            mu, nu = (after[name][layer][kind] / (1 - decay**3) for name, decay in (("mu", 0.9), ("nu", 0.999)))
            moved = weights[0] - rate * mu / (np.sqrt(nu) + 1e-8)
        # float32: an update of 1e-3 of weights of about 0.1
        np.testing.assert_allclose(weights[1], moved, atol=1e-7)
    assert {*zoo.optimizer(0)} <= {*after}
    jax.tree.map(np.testing.assert_array_equal, zoo.optimizer(1), zoo.optimizer(step=5))


def test_a_chain_has_the_names_of_its_parts():
    params = {"dense": {"bias": np.ones((3, 2), np.float32)}}
    chain = optax.chain(optax.add_decayed_weights(0.1), optax.adam(optax.constant_schedule(0.1)), optax.trace(0.9))
    named = named_state(jax.device_get(chain.init(params)), models=3)
    shapes = {"dense": {"bias": (3, 2)}}
    assert jax.tree.map(np.shape, named) == {
        **{"count": (3,), "mu": shapes, "nu": shapes, "count_2": (3,), "trace": shapes}
    }
    per_model = optax.ScaleByAdamState(count=np.arange(3), mu=params, nu=params)
    assert named_state((per_model,), models=3)["count"].tolist() == [0, 1, 2]


def test_stopped_between_steps_it_goes_on_from_the_epoch_and_compares(finished, make, tmp_path):
    """In the middle of epoch 2 of the first cohort: step 7 is there, and its epoch is not."""
    folder = cohort_folder(tmp_path / "z", 0)
    stop = {"should_stop": lambda: snapshot_steps(folder)[-1:] == [7]}
    with pytest.raises(Interrupted, match="stopped in epoch 2 of cohort 0"):
        make(tmp_path / "z", twins="none", **stop)
    assert snapshot_epochs(folder) == [0, 1]
    assert snapshot_steps(folder)[:3] == [1, 3, 7]  # and perhaps 9: saving goes on while training does
    files = {path: path.stat().st_mtime_ns for path in (folder / "steps").rglob("*") if path.is_file()}
    zoo = make(tmp_path / "z", twins="none")
    assert_same_steps(zoo, finished)
    assert files.items() <= {path: path.stat().st_mtime_ns for path in files}.items()


def test_a_step_that_stands_and_comes_out_otherwise_ends_the_run(finished, make, tmp_path):
    shutil.copytree(finished.path, tmp_path / "z")
    folder = cohort_folder(tmp_path / "z", 0)
    shutil.rmtree(folder / "snapshots" / "2")
    shutil.rmtree(folder / "outputs" / "2")
    shutil.rmtree(folder / "steps" / "9")
    shutil.copytree(folder / "steps" / "7", folder / "steps" / "9")
    with pytest.raises(InputError, match="steps/9: is that of step 7 in epoch 2, expected step 9 in epoch 2"):
        make(tmp_path / "z", twins="none")


LOST = {
    "steps/3": "step 3 is missing; repair makes it again",
    "steps": "step 7 is missing; repair makes it again",
    "outputs/2": "the outputs of epoch 2 is missing; repair makes it again",
}


@pytest.mark.parametrize(("lost", "finding"), LOST.items(), ids=LOST)
def test_what_is_lost_is_made_again_on_request(finished, make, tmp_path, lost, finding):
    shutil.copytree(finished.path, tmp_path / "z")
    folder = cohort_folder(tmp_path / "z", 1)
    shutil.rmtree(folder / lost)
    assert any(finding in line for line in verify_zoo(tmp_path / "z"))
    events = []
    make(tmp_path / "z", twins="none", on_event=events.append)
    assert not any(isinstance(event, EpochSaved) for event in events)  # a finished zoo is not read through unasked
    assert_same_steps(make(tmp_path / "z", twins="none", repair=True), finished)
    assert list(verify_zoo(tmp_path / "z", deep=True)) == []


@pytest.mark.parametrize("part", ["steps/7", "outputs/2"])
def test_what_is_damaged_is_set_aside_and_made_again(finished, make, tmp_path, part):
    shutil.copytree(finished.path, tmp_path / "z")
    path = cohort_folder(tmp_path / "z", 0) / part
    for file in path.rglob("d/*"):
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
    assert any(f"{part}: is damaged" in line for line in verify_zoo(tmp_path / "z", deep=True))
    events = []
    zoo = make(tmp_path / "z", twins="none", repair=True, on_event=events.append)
    (notice,) = [event.text for event in events if isinstance(event, Notice)]
    assert "is damaged and is made again" in notice
    assert path.with_name(f"{path.name}.damaged").is_dir()
    assert_same_steps(zoo, finished)


def test_what_the_spec_does_not_ask_for_is_found(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "z")
    folder = cohort_folder(tmp_path / "z", 0)
    shutil.copytree(folder / "steps" / "3", folder / "steps" / "4")
    shutil.copytree(folder / "outputs" / "2", folder / "outputs" / "1")
    found = [*verify_zoo(tmp_path / "z")]
    assert found == [
        f"{folder}: holds steps 4, expected none",
        f"{folder}: holds outputs of epochs 1, expected none",
    ]


def test_steps_at_the_ends_of_epochs_stay_where_epochs_are_let_go(make, images, tmp_path):
    spec = stepped_spec(images, epochs=4, outputs=None)
    zoo = make(tmp_path / "z", spec, models=2, twins="none", keep_epochs="last")
    assert (zoo.epochs, zoo.steps) == ((1, 3, 4), STEPS)
    assert list(verify_zoo(zoo.path, deep=True)) == []


def test_cohorts_made_apart_have_their_steps(finished, make, tmp_path):
    part = make(tmp_path / "z", twins="none", cohorts=range(1, 2))
    assert part.steps == ()
    assert jaxzoo.open_zoo(part.path, partial=True).steps == STEPS
    assert_same_steps(make(tmp_path / "z", twins="none", cohorts=range(1)), finished)


KILLED = """
import os, sys
import jaxzoo
from stepped import stepped_spec
from jaxzoo.storage import beside

save = beside.save_snapshot
def killed(folder, epoch, variables, metrics, identity, step, **how):
    save(folder, epoch, variables, metrics, identity, step, **how)
    if step == 7:
        os.kill(os.getpid(), 9)

beside.save_snapshot = killed
jaxzoo.use_all_cores()
jaxzoo.generate(stepped_spec(sys.argv[1]), sys.argv[2], lanes=2, form="none", twins="none")
"""


def test_killed_in_the_middle_of_an_epoch_it_goes_on_and_ends_in_the_same_numbers(finished, make, images, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(images), str(tmp_path / "z")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == -9, done.stderr
    assert snapshot_steps(cohort_folder(tmp_path / "z", 0)) == [1, 3, 7]
    assert_same_steps(make(tmp_path / "z", twins="none"), finished)


BAD = {
    r"snapshots.steps is 11, expected steps of 1\.\.10": Snapshots(steps=[3, 11]),
    r"snapshots.every is 11, expected steps of 1\.\.10": Snapshots(every=11),
}


@pytest.mark.parametrize(("message", "snapshots"), BAD.items(), ids=["steps", "every"])
def test_steps_that_do_not_exist_are_one_line_before_anything_is_written(make, images, tmp_path, message, snapshots):
    with pytest.raises(InputError, match=message):
        make(tmp_path / "z", stepped_spec(images, snapshots=snapshots))
    assert not (tmp_path / "z").exists()


def test_another_choice_of_steps_is_another_zoo(finished, make, images):
    other = stepped_spec(images, snapshots=Snapshots(every=2))
    with pytest.raises(InputError, match=r"holds another zoo: snapshots\.every is None, got 2"):
        make(finished.path, other, twins="none")
