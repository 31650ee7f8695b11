"""Steps, optimizers' states and outputs are read as epochs are: by number, by model, across cohorts, in part."""

import pickle
import shutil

import jax
import numpy as np
import pytest
from populations import small_spec, store_zoo
from stepped import STEPS, drawn, drawn_outputs, stepped_spec, store_stepped

from jaxzoo.errors import InputError
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.snapshots import Moment, Snapshots
from jaxzoo.storage.zoo_folder import cohort_folder

SPEC = stepped_spec()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return store_stepped(tmp_path_factory.mktemp("steps") / "z", SPEC)


def drawn_at(moment, part="params"):
    """What was saved of all models, in the order of their numbers."""
    plan = plan_zoo(SPEC)
    trees = [drawn(SPEC, cohort, moment, ())[0][part] for cohort in plan.cohorts]
    order = np.argsort([member.model for cohort in plan.cohorts for member in cohort.members])
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *trees)


def assert_same(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_the_weights_after_a_step_are_those_that_were_saved(zoo):
    assert zoo.steps == STEPS
    for step, moment in zip(STEPS, (Moment(1, 1), Moment(1, 3), Moment(1), Moment(2, 7), Moment(2, 9)), strict=True):
        wanted = drawn_at(moment)
        assert_same(zoo.params(step=step), wanted)
        assert_same(zoo.variables(step=step), {"params": wanted})
        np.testing.assert_array_equal(zoo.weights(step=step, models=[9, 2]), zoo.flatten(wanted)[[9, 2]])
    several = zoo.weights(step=[7, 1], models=4)
    np.testing.assert_array_equal(several, np.stack([zoo.weights(step=7, models=4), zoo.weights(step=1, models=4)]))
    assert zoo.weights(step=np.array(STEPS) > 5).shape[0] == 2
    assert zoo.models_at(step=3).tolist() == [*range(10)]


def test_the_optimizers_state_is_read_at_epochs_and_steps(zoo):
    for times, moment in (({"step": 3}, Moment(1, 3)), ({"step": 5}, Moment(1)), ({"epoch": 2}, Moment(2))):
        assert_same(zoo.optimizer(**times), drawn_at(moment, "optimizer"))
    some = zoo.optimizer(2, models=[8, 1])
    assert_same(some, jax.tree.map(lambda leaf: leaf[[8, 1]], zoo.optimizer(2)))
    assert some["count"].shape == (2,)


def test_outputs_are_those_that_were_saved(zoo):
    plan = plan_zoo(SPEC)
    for split in ("test", "train"):
        got = zoo.outputs(2, split)
        assert got.dtype == np.float16
        for cohort in plan.cohorts:
            numbers = [member.model for member in cohort.members]
            np.testing.assert_array_equal(got[numbers], drawn_outputs(SPEC, cohort, 2)["logits"][split])
        np.testing.assert_array_equal(zoo.outputs(2, split, models=[7, 0]), got[[7, 0]])
    assert zoo.outputs(2).shape == (10, 25, 10)


def test_states_after_steps_are_selected(zoo):
    selection = zoo.select(steps=[3, 7], models=[0, 6], where="step > 1 and heldout_loss >= 0", finite=True)
    assert len(selection) == 4
    table = selection.table
    assert {"model", "step", "epoch", "heldout_loss", "heldout_accuracy", "finite", "activation"} <= {*table.columns}
    for row, weights in zip(table.itertuples(), selection.weights(), strict=True):
        np.testing.assert_array_equal(weights, zoo.weights(step=row.step, models=row.model)[0])
    final = zoo.select(steps=STEPS).final()
    assert final.table["step"].tolist() == [9] * 10
    assert selection.states.columns.tolist() == ["model", "step", "epoch"]
    pickle.loads(pickle.dumps(selection._read))  # as workers that are spawned need it
    assert len(zoo.select(steps=STEPS)) == len(zoo.select(steps=STEPS, max_abs_weight=100)) == 50
    assert zoo.select(epochs=[1]).states.columns.tolist() == ["model", "epoch"]
    np.testing.assert_array_equal(next(selection.batches(4, seed=0)).weights.shape, (4, 2464))


def test_a_zoo_that_asked_for_nothing_has_none(tmp_path):
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=2, epochs=1))
    assert zoo.steps == ()
    assert zoo.step_metrics.empty
    for read, message in (
        (lambda: zoo.weights(step=1), "step is 1, expected an epoch: no steps are there that all cohorts hold"),
        (lambda: zoo.optimizer(1), "keeps no optimizer's state, expected a zoo of keep_optimizer = true"),
        (lambda: zoo.outputs(1), "keeps no outputs, expected a zoo whose spec asks for outputs"),
    ):
        with pytest.raises(InputError, match=message):
            read()


BAD = {
    r"step is 4, expected one of zoo\.steps: 1, 3, 5, 7, 9": lambda zoo: zoo.weights(step=4),
    r"step is 0, expected one of zoo\.steps": lambda zoo: zoo.params(step=[1, 0]),
    r"step is none, expected": lambda zoo: zoo.variables(step=[]),
    "step is 'x', expected a whole number, several, or a mask of 5": lambda zoo: zoo.weights(step="x"),
    "both an epoch and a step are given, expected one of the two": lambda zoo: zoo.weights(1, step=1),
    "both an epoch and a step are given": lambda zoo: zoo.select(epochs=1, steps=1),
    "epoch is None, expected a whole number": lambda zoo: zoo.weights(),
    "epoch is None, expected": lambda zoo: zoo.optimizer(),
    "model is 10, expected": lambda zoo: zoo.optimizer(1, models=10),
    "split is 'validation', expected one with outputs: test, train": lambda zoo: zoo.outputs(2, "validation"),
    r"epoch is 1, expected one of 2\.\.2": lambda zoo: zoo.outputs(1),
}


@pytest.mark.parametrize(("message", "read"), BAD.items(), ids=[*map(str, range(len(BAD)))])
def test_what_is_not_held_is_one_line(zoo, message, read):
    with pytest.raises(InputError, match=message) as error:
        read(zoo)
    assert len(str(error.value).splitlines()) == 1


def test_models_of_several_optimizers_are_one_line(tmp_path):
    spec = stepped_spec(grid=small_spec(optimizer=("adam", "sgd")).grid, outputs=None)
    zoo = store_stepped(tmp_path / "z", spec)
    with pytest.raises(InputError, match=r"the models differ in optimizer \(\['adam', 'sgd'\]\), expected models of"):
        zoo.optimizer(1)
    adam = zoo.members["optimizer"] == "adam"
    assert zoo.optimizer(1, models=adam)["count"].shape == (5,)


def test_a_zoo_whose_cohorts_are_apart_is_read_in_part(zoo, tmp_path):
    shutil.copytree(zoo.path, tmp_path / "z")
    shutil.rmtree(cohort_folder(tmp_path / "z", 1) / "steps" / "7")
    shutil.rmtree(cohort_folder(tmp_path / "z", 1) / "outputs")
    whole, part = open_zoo(tmp_path / "z"), open_zoo(tmp_path / "z", partial=True)
    assert (whole.steps, part.steps) == ((1, 3, 5, 9), STEPS)
    first = part.members.query("cohort == 0")["model"].tolist()
    assert part.models_at(step=7).tolist() == first
    np.testing.assert_array_equal(part.weights(step=7), zoo.weights(step=7, models=first))
    np.testing.assert_array_equal(part.outputs(2), zoo.outputs(2, models=first))
    assert len(part.step_metrics) == 45
    assert len(part.select(steps=STEPS)) == 45
    with pytest.raises(InputError, match=r"has no weights at step 7, expected models of zoo\.models_at\(step=7\)"):
        part.weights(step=7, models=part.members["model"])
    with pytest.raises(InputError, match="has no outputs at epoch 2"):
        part.outputs(2, models=part.members["model"])
    with pytest.raises(InputError, match=r"epoch is 2, expected one that all cohorts hold"):
        whole.outputs(2)


def test_steps_that_were_swapped_are_refused(zoo, tmp_path):
    shutil.copytree(zoo.path, tmp_path / "z")
    steps = cohort_folder(tmp_path / "z", 0) / "steps"
    (steps / "3").rename(steps / "x")
    (steps / "1").rename(steps / "3")
    with pytest.raises(InputError, match="steps/3: is that of step 1 in epoch 1, expected step 3 in epoch 1"):
        open_zoo(tmp_path / "z").weights(step=3)
    assert any("is that of step 1 in epoch 1" in line for line in verify_zoo(tmp_path / "z"))
    snapshots = cohort_folder(tmp_path / "z", 1)
    shutil.rmtree(snapshots / "snapshots" / "1")
    shutil.copytree(snapshots / "steps" / "3", snapshots / "snapshots" / "1")
    with pytest.raises(InputError, match="is that of step 3 in epoch 1, expected epoch 1"):
        open_zoo(tmp_path / "z").weights(1)


def test_deep_verification_reads_the_optimizer_and_the_outputs(zoo, tmp_path):
    """Under the description of the zoo lie the snapshots of another one of the same trajectory."""
    assert list(verify_zoo(zoo.path, deep=True)) == []
    other = store_stepped(tmp_path / "z", stepped_spec(snapshots=Snapshots(steps=STEPS, examples=8), outputs="test"))
    shutil.copy(zoo.path / "zoo.json", tmp_path / "z")
    assert list(verify_zoo(other.path)) == []
    found = [*verify_zoo(other.path, deep=True)]
    assert len(found) == 2 * (3 + 4 + 1)
    assert sum("its optimizer's state is not that of 5 models" in line for line in found) == 14
    assert sum("outputs/2: its arrays are not the logits of 5 models on test, train" in line for line in found) == 2
