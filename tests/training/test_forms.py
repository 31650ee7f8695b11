"""Programs whose models have activations and optimizers side by side: their numbers, their zoos, and when they are."""

import dataclasses
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import (
    assert_same_weights,
    in_float64,
    population_of,
    replace_dataset,
    small_images,
    small_spec,
    write_folder,
)

import jaxzoo
from jaxzoo.devices import model_mesh
from jaxzoo.errors import InputError
from jaxzoo.spec.form import FORMS, SIDE_BY_SIDE, form_of_word, form_word
from jaxzoo.spec.optimizer import OPTIMIZERS, Optimizer
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training import checks
from jaxzoo.training.ahead import Ahead
from jaxzoo.training.checks import check_generate
from jaxzoo.training.forms import with_form
from jaxzoo.training.memory import Kind
from jaxzoo.training.optimizers import build_optimizer, build_optimizers
from jaxzoo.training.population import get_state, initial_variables, put_images, train_epoch

ACTIVATIONS = ("tanh", "relu", "gelu", "sigmoid")


def mixed_spec(**changes):
    grid = {"activation": ACTIVATIONS, "optimizer": ("sgd", "adam"), "dropout": (0.0, 0.3)} | changes
    return small_spec(seeds=1, learning_rate=(3e-3,), weight_decay=(1e-2,), **grid)


@pytest.mark.usefixtures("promotions_of_programs")
def test_each_model_has_its_own_optimizer():
    """Against each optimizer by itself, for some steps; the state of the others stays zero."""
    optimizers = tuple(Optimizer(name=name) for name in OPTIMIZERS)
    draws = np.random.default_rng(0)
    M = len(optimizers)
    rate, decay = np.float32(0.01) * np.arange(1, M + 1), np.full(M, 0.02, np.float32)
    settings = [{"momentum": 0.9}] * M
    params = {"a": jnp.asarray(draws.standard_normal((3, 4, M)), jnp.float32)}
    together = build_optimizers(optimizers, rate, decay, settings, np.arange(M))
    alone = [build_optimizer(each, rate, decay, own) for each, own in zip(optimizers, settings, strict=True)]
    state, states = together.init(params), [each.init(params) for each in alone]
    for _ in range(4):
        gradients = {"a": jnp.asarray(draws.standard_normal((3, 4, M)), jnp.float32)}
        updates, state = together.update(gradients, state, params)
        for model, each in enumerate(alone):
            wanted, states[model] = each.update(gradients, states[model], params)
            np.testing.assert_array_equal(updates["a"][..., model], wanted["a"][..., model])
        params = optax.apply_updates(params, updates)
    for model, own in enumerate(state):
        for leaf in jax.tree.leaves(own):
            if leaf.ndim:
                assert not np.delete(leaf, model, axis=-1).any()
                assert leaf[..., model].any()


@pytest.mark.parametrize("form", [("activation",), ("optimizer",), SIDE_BY_SIDE], ids=form_word)
def test_a_form_trains_as_programs_for_one_kind_and_as_vmap(form):
    """In float64, where rounding does not hide what is computed."""
    spec = mixed_spec()
    mesh = model_mesh()
    ends = {}
    with jax.enable_x64(True):
        images = put_images(small_images(spec.dataset), mesh)
        for way, own, engine in (("form", form, "lanes"), ("kinds", (), "lanes"), ("vmap", (), "vmap")):
            for cohort in plan_zoo(spec, form=own).cohorts:
                population = population_of(cohort, mesh, engine=engine, lanes=4)
                population = population._replace(slabs=in_float64(population.slabs))
                for epoch in (1, 2, 3, 4):
                    losses = train_epoch(population, images, epoch)["train_loss"]
                leaves = jax.tree.leaves(get_state(population).params)
                flat = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
                for member, weights, loss in zip(cohort.members, flat, losses, strict=True):
                    ends[way, member.model] = weights, loss
    begin = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(initial_variables(plan_zoo(spec).cohorts[0]))])
    assert len(ends) == 3 * 16
    for model in range(16):
        for other in ("kinds", "vmap"):
            for got, wanted in zip(ends["form", model], ends[other, model], strict=True):
                # 20 steps amplify float64's rounding of 1e-16
                np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-9 * np.abs(begin).max())


def test_a_member_alone_has_the_bits_that_it_has_in_its_form():
    spec = mixed_spec()
    (cohort,) = plan_zoo(spec, form=SIDE_BY_SIDE).cohorts
    mesh = model_mesh()
    images = put_images(small_images(spec.dataset), mesh)

    def trained(members):
        population = population_of(cohort._replace(members=members), mesh, lanes=4)
        for epoch in (1, 2):
            train_epoch(population, images, epoch)
        return get_state(population).params

    whole = trained(cohort.members)
    for models in ([5], [2, 11, 7]):
        some = trained(tuple(cohort.members[model] for model in models))
        jax.tree.map(lambda got, all_of, models=models: np.testing.assert_array_equal(got, all_of[models]), some, whole)


def test_a_form_is_of_what_the_zoo_declares_whoever_is_there():
    spec = mixed_spec()
    few = dataclasses.replace(spec, models=2)
    for form in FORMS.values():
        keys = [{cohort.key for cohort in plan_zoo(each, form=form).cohorts} for each in (spec, few)]
        assert keys[1] <= keys[0]
    (cohort,) = plan_zoo(spec, form=SIDE_BY_SIDE).cohorts
    assert cohort.key.activations == tuple(sorted(ACTIVATIONS))
    assert cohort.key.form == SIDE_BY_SIDE
    codes = [cohort.key.codes(member.hyperparameters) for member in cohort.members]
    assert {code["activation"] for code in codes} == {0, 1, 2, 3}
    assert [tuple(sorted(ACTIVATIONS))[code["activation"]] for code in codes] == [
        member.hyperparameters["activation"] for member in cohort.members
    ]
    same = plan_zoo(small_spec(), form=SIDE_BY_SIDE)
    assert (same.form, same.cohorts) == ((), plan_zoo(small_spec()).cohorts)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A spec on files, and its zoo of one cohort with its twins."""
    folder = tmp_path_factory.mktemp("images") / "few"
    spec = replace_dataset(mixed_spec(dropout=(0.0,)), folder=str(folder))
    write_folder(folder, spec.dataset)
    spec = dataclasses.replace(spec, twins=TwinSpec(epochs=2))
    return spec, jaxzoo.generate(spec, tmp_path_factory.mktemp("zoos") / "z", form="activation+optimizer", lanes=4)


def test_a_zoo_keeps_its_form_when_it_goes_on_and_when_it_grows(made, tmp_path):
    spec, whole = made
    begun = jaxzoo.generate(
        spec, tmp_path / "z", models=4, epochs=1, form="activation+optimizer", lanes=4, twins="none"
    )
    grown = jaxzoo.generate(spec, begun.path, epochs=2)
    assert [*jaxzoo.verify_zoo(grown.path, deep=True)] == []
    ways = json.loads((grown.path / "zoo.json").read_text())["cohorts"]
    assert [way["form"] for way in ways] == [[*SIDE_BY_SIDE]] * 2
    order = grown.members.merge(whole.members.reset_index(), on=["activation", "optimizer"], suffixes=("", "_whole"))
    for epoch in (0, 1, 2):
        np.testing.assert_array_equal(grown.weights(epoch), whole.weights(epoch)[order["model_whole"]])
    method = "variational-dropout"
    np.testing.assert_array_equal(grown.twins[method].weights(2), whole.twins[method].weights(2)[order["model_whole"]])
    with pytest.raises(InputError, match=r"was begun with form activation\+optimizer, got none, expected the same"):
        jaxzoo.generate(spec, grown.path, epochs=2, form="none")


def test_a_stopped_zoo_goes_on_with_its_form(made, tmp_path):
    spec, whole = made
    saved = tmp_path / "z" / "cohorts" / "000" / "snapshots" / "1"
    with pytest.raises(jaxzoo.Interrupted):
        jaxzoo.generate(spec, tmp_path / "z", form="activation+optimizer", lanes=4, should_stop=saved.exists)
    assert_same_weights(jaxzoo.generate(spec, tmp_path / "z"), whole)


def test_the_gap_to_programs_for_one_kind_is_rounding(made, tmp_path):
    spec, whole = made
    kinds = jaxzoo.generate(spec, tmp_path / "z", form="none", lanes=4, twins="none")
    assert len(kinds.cohorts) == 8
    np.testing.assert_array_equal(kinds.weights(0), whole.weights(0))
    assert not np.array_equal(kinds.weights(2), whole.weights(2))
    # float32; Adam's first steps divide gradients by themselves, so rounding shows where they are tiny
    apart = np.abs(kinds.weights(2) - whole.weights(2)) / np.abs(kinds.weights(2) - kinds.weights(0)).max(1)[:, None]
    assert np.quantile(apart, 0.99) < 1e-2
    np.testing.assert_allclose(kinds.metrics["test_loss"], whole.metrics["test_loss"], rtol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"form": "both"}, r"form is 'both', expected one of: none, activation, optimizer, activation\+optimizer"),
        ({"form": ("dropout",)}, r"form is \('dropout',\), expected one of"),
        ({"form": "activation", "engine": "vmap"}, "form is activation, expected none: the engine lanes alone has"),
    ],
    ids=str,
)
def test_a_form_that_cannot_be_is_one_line(arguments, said, tmp_path):
    with pytest.raises(InputError, match=said):
        jaxzoo.generate(mixed_spec(), tmp_path / "z", **arguments)
    assert not (tmp_path / "z").exists()
    assert form_of_word(("optimizer", "activation")) == SIDE_BY_SIDE


def test_the_published_zoos_keep_programs_for_one_kind_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "check_space", lambda *sizes, **folders: None)  # this disk does not hold all
    for name in jaxzoo.zoo_names():
        job = check_generate(jaxzoo.load_spec(name), tmp_path / name)
        assert with_form(job, model_mesh(), pytest.fail).plan.form == ()


def test_few_models_of_many_kinds_share_a_program(tmp_path):
    spec, notes = jaxzoo.load_spec("digits"), []
    job = with_form(check_generate(spec, tmp_path / "z", models=8, epochs=2), model_mesh(), notes.append)
    assert job.plan.form == SIDE_BY_SIDE
    assert len(job.plan.cohorts) == 1
    assert notes[0].startswith("form activation+optimizer: programs for 1 of 4 kinds to compile, and fuller lanes: ")
    for said in ({"form": "none"}, {"cohorts": range(2)}, {"engine": "vmap"}):
        job = check_generate(spec, tmp_path / "z", models=8, epochs=2, **said)
        assert with_form(job, model_mesh(), pytest.fail).plan.form == ()


def test_what_is_compiled_ahead_is_not_compiled_again(caplog):
    spec = small_spec(seeds=2, train=30)
    (cohort,) = plan_zoo(spec).cohorts
    twins = (None, TwinSpec(method="magnitude", epochs=1))
    kinds = [Kind(cohort.key, "lanes", 3, model_mesh(), twin) for twin in twins]
    images = put_images(small_images(spec.dataset), model_mesh())
    with jax.log_compiles(), caplog.at_level(logging.WARNING), Ahead(kinds) as ahead:
        for kind in kinds:
            ahead.wait(kind)
            train_epoch(population_of(cohort, model_mesh(), lanes=3, twin=kind.twin), images, 1)
    assert caplog.text.count("Compiling jit(train)") == len(kinds)


def test_a_call_does_not_wait_for_what_it_did_not_name():
    (cohort,) = plan_zoo(small_spec(seeds=2)).cohorts
    with Ahead([]) as ahead:
        ahead.wait(Kind(cohort.key, "lanes", 3, model_mesh()))
