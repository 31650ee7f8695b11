"""Zoos whose members are drawn, vary in factors and have partners: made, stopped, made in parts, extended, read."""

import dataclasses

import numpy as np
import pytest
from populations import write_digits_config

import jaxzoo
from jaxzoo import Draws, LogUniform, TwinSpec, Uniform, Vary, generate, open_zoo
from jaxzoo.analysis.probe import probe_states
from jaxzoo.errors import InputError
from jaxzoo.report.content import collect
from jaxzoo.spec.grid import NUMBERS
from jaxzoo.training.events import EpochSaved, Interrupted

DRAWS = Draws(
    models=3,
    activation="tanh",
    initialization="kaiming_uniform",
    optimizer="adam",
    learning_rate=LogUniform(1e-3, 1e-2),
    beta1=Uniform(0.5, 0.95),
    initialization_scale=LogUniform(0.3, 3),
    initialization_bias=Uniform(-0.1, 0.1),
    label_smoothing=Uniform(0, 0.2),
    gradient_clip=Uniform(0, 2),
    train_fraction=Uniform(0.5, 1),
    excluded=Uniform(0, 0.2),
    trigger=Uniform(0, 0.1),
)
VARY = (
    Vary(factor="label_noise", value=0.2, from_epoch=2),
    Vary(factor="learning_rate", value=0.02, from_epoch=3),
    Vary(factor="excluded_class", value=3),
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = write_digits_config(tmp_path_factory.mktemp("config") / "tiny.toml", batch_size="100")
    (spec,) = jaxzoo.read_config(path)
    twins = TwinSpec(method="magnitude", epochs=1)
    return dataclasses.replace(spec, grid=None, seeds=None, draws=DRAWS, vary=VARY, twins=twins)


@pytest.fixture(scope="module")
def finished(spec, tmp_path_factory):
    return generate(spec, tmp_path_factory.mktemp("zoos") / "tiny")


def test_it_is_opened_as_it_was_made(spec, finished):
    zoo = open_zoo(finished.path)
    assert zoo.spec == spec
    assert len(zoo.members) == 3 * 4
    assert {*spec.declared} <= {*zoo.members.columns}
    assert [*jaxzoo.verify_zoo(finished.path, deep=True)] == []


def test_a_pair_is_the_same_until_its_change_acts(finished):
    begins = {"label_noise": 2, "learning_rate": 3, "excluded_class": 1}
    for change, first in begins.items():
        table = finished.pairs(change)
        assert table["change_epoch"].tolist() == [first] * 3
        for epoch in finished.epochs:
            base, partner = (finished.weights(epoch, table[name]) for name in ("base", "partner"))
            same = (base == partner).all(axis=1)
            assert same.all() if epoch < first else not same.any()
    assert len(finished.pairs()) == 9
    with pytest.raises(InputError, match="no pair differs in dropout, expected one of: excluded_class, label_noise"):
        finished.pairs("dropout")


def test_what_models_saw_is_said_again(finished):
    images = finished.images().train
    count = len(images.labels)
    table = finished.pairs("label_noise")
    early, late = (finished.training_set(epoch=epoch) for epoch in (1, 2))
    kept = np.unpackbits(late.seen, axis=1, count=count).astype(bool)
    np.testing.assert_array_equal(late.seen[table["base"]], late.seen[table["partner"]])
    members = finished.members
    share = members["train_fraction"] * (1 - members["excluded"])
    of_class = finished.pairs("excluded_class")["partner"]
    assert np.abs(kept.mean(axis=1) - share)[~members["model"].isin(of_class)].max() < 0.05  # of two shares together
    assert not kept[of_class][:, images.labels == 3].any()
    np.testing.assert_array_equal(early.labels[table["base"]], early.labels[table["partner"]])
    changed = (late.labels[table["base"]] != late.labels[table["partner"]]).mean(axis=1)
    np.testing.assert_allclose(changed, 0.2, atol=0.03)  # but those with the patch, whose label is 0 in both
    np.testing.assert_array_equal(finished.twins["magnitude"].training_set(epoch=3).seen, late.seen)


def test_made_in_parts_stopped_and_extended_it_is_the_same(spec, finished, tmp_path):
    saved = []

    def note(event):
        if isinstance(event, EpochSaved):
            saved.append(event)

    few = dataclasses.replace(spec, draws=dataclasses.replace(DRAWS, models=2))
    with pytest.raises(Interrupted):
        generate(few, tmp_path / "z", twins="none", on_event=note, should_stop=lambda: len(saved) >= 2)
    generate(few, tmp_path / "z", on_event=note)
    grown = generate(spec, tmp_path / "z", on_event=note)
    assert len(grown.record.stages) == 2
    np.testing.assert_array_equal(grown.weights(3), finished.weights(3))
    np.testing.assert_array_equal(grown.twins["magnitude"].weights(1), finished.twins["magnitude"].weights(1))
    assert grown.members["seed"].tolist() == finished.members["seed"].tolist()


def test_cohorts_that_are_made_apart_are_the_same(spec, finished, tmp_path):
    parts = dataclasses.replace(spec, cohort_size=7)
    generate(parts, tmp_path / "z", cohorts=range(1, 2), twins="none")
    zoo = generate(parts, tmp_path / "z", twins="none")
    assert zoo.members["cohort"].nunique() == 2
    for epoch in zoo.epochs:
        np.testing.assert_array_equal(zoo.weights(epoch), finished.weights(epoch))


def test_a_base_alone_is_the_same(spec, finished, tmp_path):
    alone = dataclasses.replace(spec, vary=(VARY[2],), models=1)
    zoo = generate(alone, tmp_path / "z", twins="none")
    # the second partner's changes are in no program of this zoo, and the numbers are those of the other up to rounding
    np.testing.assert_allclose(zoo.weights(3), finished.weights(3, models=[0, 3]), rtol=1e-3, atol=1e-4)


def test_probes_and_reports_take_factors(finished):
    states = finished.select(epochs=[1, 2, 3])
    content = collect(finished, None, with_probe=False, on_step=lambda text: None)
    assert {"beta1", "label_noise", "initialization_scale"} <= {*content.varying}
    assert not {"base", "change"} & {*content.varying}
    with pytest.raises(InputError, match="there are 12 models, expected 20 or more"):
        probe_states(states)
    assert {*NUMBERS} <= {*states.table.columns}
