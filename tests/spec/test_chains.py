"""Architectures that are drawn, and zoos whose members differ in architecture or in data set."""

import dataclasses
from collections import Counter

import pytest
from populations import small_spec

from jaxzoo.errors import InputError
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.chains import ChainDraw
from jaxzoo.spec.distribution import Choice, Integers, Uniform
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.grid import Grid
from jaxzoo.spec.layers import CNN_S, Activation, Add, Conv, Dense, MeanPool, Save
from jaxzoo.spec.plan import plan_zoo, trajectory_digest
from jaxzoo.spec.points import Points
from jaxzoo.spec.tables import full_table, read_table
from jaxzoo.spec.zoo_spec import ZooSpec

SIX = ("relu", "gelu", "tanh", "sigmoid", "leaky_relu", "identity")
WILD = ChainDraw(
    depth=Integers(2, 5), width=Choice(4, 8, 16, 32), kernel=Choice(3, 5, 7), activation=Choice(*SIX), skips=True
)
FIXED = {"initialization": "torch_default", "optimizer": "adamw", "learning_rate": 1e-3, "activation": "relu"}
OWN = Architecture(name="own", layers=["flatten", {"dense": "classes"}])


def drawn(count, draw=WILD, seed=0):
    return Draws(models=count, seed=seed, architecture=draw, **FIXED)


def test_a_chain_is_what_was_drawn_of_it():
    chains = [draw.layers(f"origin {number}") for number, draw in enumerate([WILD] * 600)]
    depths = Counter(sum(isinstance(layer, Conv) for layer in chain) for chain in chains)
    assert {*depths} == {2, 3, 4, 5}
    assert min(depths.values()) > 110  # of 150 each, 3.8 standard deviations below
    convolutions = [layer for chain in chains for layer in chain if isinstance(layer, Conv)]
    for field, values in (("features", (4, 8, 16, 32)), ("kernel", (3, 5, 7))):
        counts = Counter(getattr(layer, field) for layer in convolutions)
        expected = len(convolutions) / len(values)
        assert {*counts} == {*values}
        assert all(abs(count - expected) < 4 * expected**0.5 for count in counts.values())
    assert all(layer.padding == layer.kernel // 2 and layer.stride == 1 and layer.bias for layer in convolutions)
    assert {layer.function for chain in chains for layer in chain if isinstance(layer, Activation)} == {*SIX}
    assert all(chain[-2:] == (MeanPool(), Dense("dense1", None)) for chain in chains)


def test_skips_reach_back_by_two_or_more_and_are_as_likely_as_none():
    deep = dataclasses.replace(WILD, depth=4)
    found = Counter()
    for number in range(1200):
        after, sources = None, []
        for layer in deep.layers(str(number)):
            if isinstance(layer, Conv):
                after = int(layer.name.removeprefix("conv")) - 1
                sources.append(None)
            if isinstance(layer, Add):
                assert layer.channels == "common"
                sources[after] = int(layer.name.removeprefix("after_conv")) - 1
            if isinstance(layer, Save):
                assert layer.name == f"after_conv{after + 1}"
        found.update(enumerate(sources))
    expected = {(0, None): 1200, (1, None): 1200, (2, None): 600, (2, 0): 600, (3, None): 400, (3, 0): 400, (3, 1): 400}
    assert {*found} == {*expected}
    for key, count in expected.items():
        assert abs(found[key] - count) < 4 * count**0.5, key


def test_the_first_draws_stay_whatever_comes_after_them():
    few, many = drawn(5), drawn(50)
    names = [point["architecture"] for point in many.points()]
    assert [point["architecture"] for point in few.points()] == names[:5]
    assert names != [point["architecture"] for point in drawn(50, seed=1).points()]
    assert all(few.chains[name] == many.chains[name] for name in names[:5])
    assert len({*many.chains.values()}) == len(many.chains)
    assert names[:2] == ["chain2-6204a6f94d", "chain4-02253220d1"]  # the same on every machine, for ever


def mixture(**options):
    grid = Grid(**FIXED | {"architecture": ("cnn-s", "own")} | options)
    return dataclasses.replace(small_spec(), architecture=None, architectures=(OWN,), grid=grid)


def test_a_cohort_is_of_one_architecture():
    spec = mixture(dropout=(0.0,))
    cohorts = plan_zoo(spec).cohorts
    assert [(cohort.key.layers, len(cohort.members)) for cohort in cohorts] == [(CNN_S, 4), (OWN.layers, 4)]
    assert all(cohort.key.factors == () for cohort in cohorts)
    spec = dataclasses.replace(small_spec(), architecture=None, grid=None, seeds=None, draws=drawn(9))
    cohorts = plan_zoo(spec).cohorts
    assert [len(cohort.members) for cohort in cohorts] == [1] * 9
    assert [cohort.key.layers for cohort in cohorts] == [*spec.draws.chains.values()]
    text = "seed,activation,initialization,optimizer,learning_rate,architecture\n3,relu,normal,sgd,0.1,own\n"
    table = dataclasses.replace(mixture(), grid=None, seeds=None, points=Points(text=text))
    assert plan_zoo(table).cohorts[0].key.layers == OWN.layers


def test_zoo_json_holds_a_mixture():
    for spec in (mixture(), dataclasses.replace(mixture(), grid=None, seeds=None, draws=drawn(3))):
        table = full_table(spec)
        assert read_table(table, ZooSpec) == spec
    digests = {mixture().digest, mixture(architecture="own").digest, small_spec().digest}
    assert len(digests) == 3
    one, other = (trajectory_digest(mixture(), cohort.key) for cohort in plan_zoo(mixture()).cohorts)
    assert one != other
    wider = Architecture(name="own", layers=["flatten", {"dense": 8}, {"dense": "classes"}])
    changed = dataclasses.replace(mixture(), architectures=(wider,))
    assert trajectory_digest(changed, plan_zoo(changed).cohorts[0].key) == one


def several_datasets(**changes):
    first = small_spec().dataset
    second = dataclasses.replace(first, **{"name": "mnist", "train": 30} | changes)
    grid = Grid(**FIXED | {"dataset": ("digits", "mnist")})
    return dataclasses.replace(small_spec(), datasets=(second,), grid=grid)


def test_a_cohort_is_of_one_data_set():
    spec = several_datasets()
    cohorts = plan_zoo(spec).cohorts
    assert [cohort.key.dataset for cohort in cohorts] == [spec.dataset, *spec.datasets]
    assert cohorts[0].samples == 4 * 47
    assert cohorts[1].samples == 4 * 30
    assert read_table(full_table(spec), ZooSpec) == spec
    assert dataclasses.replace(small_spec(), datasets=spec.datasets) == small_spec()  # no member names it


WRONG = {
    "architecture is 'cnn-s' beside that of the hyperparameters, expected one of the two": lambda: dataclasses.replace(
        mixture(), architecture="cnn-s"
    ),
    "architecture is missing, expected one of: cnn-s": lambda: (
        dataclasses.replace(small_spec(), architecture=None).architecture_names
    ),
    "architecture is 'wide', expected one of: ": lambda: mixture(architecture=("cnn-s", "wide")),
    "architectures is ['own', 'own'], expected no name twice": lambda: dataclasses.replace(
        mixture(), architectures=(OWN, OWN)
    ),
    "name is 'cnn-s', expected another than those that are built in": lambda: Architecture(
        name="cnn-s", layers=OWN.layers
    ),
    "datasets is 'mnist: (28, 1, 9)', expected (28, 1, 10)": lambda: several_datasets(classes=9),
    "datasets is ['digits'], expected no name twice": lambda: several_datasets(name="digits"),
    "dataset is 'mnist', expected one of: digits": lambda: dataclasses.replace(several_datasets(), datasets=()),
    "batch_size is 10, expected at most the 8 training images": lambda: several_datasets(train=8),
    "grid.activation is relu, tanh, expected one at most: no layer takes it": lambda: mixture(
        architecture="own", activation=("relu", "tanh")
    ),
    "depth is 0, expected 1 to 100": lambda: ChainDraw(depth=0, width=4, kernel=3),
    "width.kind is 'uniform', expected integers or choice": lambda: ChainDraw(depth=2, width=Uniform(1, 4), kernel=3),
    "kernel is 2.5, expected a whole number": lambda: ChainDraw(depth=2, width=4, kernel=Choice(2.5)),
    "activation is 'sine', expected one of": lambda: ChainDraw(depth=2, width=4, kernel=3, activation="sine"),
}


@pytest.mark.parametrize(("message", "build"), WRONG.items(), ids=WRONG)
def test_what_does_not_go_together_is_one_clear_line(message, build):
    with pytest.raises(InputError) as error:
        build()
    assert message in str(error.value)


def test_a_zoo_of_several_architectures_has_no_layers():
    with pytest.raises(InputError, match=r"zoo 'small': has 2 architectures, expected one: zoo.groups has each"):
        _ = mixture().layers
