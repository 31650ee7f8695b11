"""Hyperparameters that are drawn: alike everywhere, the same in a longer list, and of the right kind."""

import dataclasses
import math

import numpy as np
import pytest
from populations import small_spec

from jaxzoo.errors import InputError
from jaxzoo.spec.distribution import Choice, Distribution, Integers, LogUniform, Uniform
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.seeds import SeedDraw, SeedRange

WORDS = {"activation": Choice("tanh", "relu"), "initialization": "kaiming_uniform", "optimizer": "adam"}
DRAWS = Draws(models=500, **WORDS, learning_rate=LogUniform(1e-4, 1e-1), dropout=Uniform(0, 0.7), label_noise=0.1)


def drawn_spec(draws=DRAWS, **changes):
    return dataclasses.replace(small_spec(), grid=None, seeds=None, draws=draws, **changes)


def test_draws_are_what_they_were():
    """They decide zoos that lie on disks: the last bits of a logarithm must not, and so six digits are kept."""
    points = [*DRAWS.points()]
    assert [point["activation"] for point in points[:4]] == ["tanh", "relu", "tanh", "tanh"]
    assert [point["learning_rate"] for point in points[:3]] == [0.0100755, 0.0722394, 0.0412996]
    assert [point["dropout"] for point in points[:3]] == [0.0276394, 0.649147, 0.137346]
    members = plan_zoo(drawn_spec()).members
    assert [member.seed for member in members[:2]] == [2777528548, 1988433902]


def test_a_longer_list_begins_as_a_shorter_one():
    few, many = drawn_spec(dataclasses.replace(DRAWS, models=100)), drawn_spec()
    first = [(member.seed, member.hyperparameters) for member in plan_zoo(few).members]
    assert first == [(member.seed, member.hyperparameters) for member in plan_zoo(many).members[:100]]
    assert first == [(each.seed, each.hyperparameters) for each in plan_zoo(drawn_spec(models=100)).members]


def test_another_hyperparameter_changes_no_draw_of_the_others():
    more = dataclasses.replace(DRAWS, weight_decay=Uniform(0, 1), batch_size=Choice(5, 10))
    for point, other in zip(DRAWS.points(), more.points(), strict=True):
        assert {name: other[name] for name in point if name != "weight_decay"} == {
            name: value for name, value in point.items() if name != "weight_decay"
        }
    assert [*dataclasses.replace(DRAWS, seed=1).points()] != [*DRAWS.points()]


def test_draws_follow_their_distributions():
    draws = Draws(
        models=4000,
        **WORDS,
        learning_rate=LogUniform(1e-4, 1e-1),
        dropout=Uniform(0.2, 0.7),
        subset=Integers(3, 5),
        excluded=0.1,
        batch_size=Choice(8, 16),
    )
    points = [*draws.points()]
    logs = np.array([math.log10(point["learning_rate"]) for point in points])
    dropout = np.array([point["dropout"] for point in points])
    # means of 4,000 draws: 5 standard errors
    assert abs(logs.mean() + 2.5) < 5 * 3 / math.sqrt(12 * 4000)
    assert abs(dropout.mean() - 0.45) < 5 * 0.5 / math.sqrt(12 * 4000)
    assert (logs.min(), logs.max()) == pytest.approx((-4, -1), abs=0.01)
    assert 0.2 <= dropout.min() <= dropout.max() <= 0.7
    counts = np.unique([point["subset"] for point in points], return_counts=True)
    assert counts[0].tolist() == [3, 4, 5]
    assert abs(counts[1] - 4000 / 3).max() < 5 * math.sqrt(4000 * 2 / 9)
    assert {type(point["batch_size"]) for point in points} == {int}
    assert {point["batch_size"] for point in points} == {8, 16}


def test_draws_may_share_seeds_or_have_several():
    shared = plan_zoo(drawn_spec(models=4)).members
    assert len({member.seed for member in shared}) == 4
    ranged = dataclasses.replace(drawn_spec(dataclasses.replace(DRAWS, models=3)), seeds=SeedRange(first=1, last=2))
    assert [member.seed for member in plan_zoo(ranged).members] == [1, 2] * 3
    several = dataclasses.replace(ranged, seeds=None, drawn_seeds=SeedDraw(count=2, below=1000))
    assert len(plan_zoo(several).members) == 6
    # every draw keeps its first seed before any keeps its second
    kept = [member.seed for member in plan_zoo(dataclasses.replace(ranged, models=4)).members]
    assert kept == [1, 2, 1, 1]


WRONG = {
    "ends exchanged": (lambda: Uniform(0.7, 0.1), r"low is 0.7, expected a number below high, 0.1"),
    "a logarithm of zero": (lambda: LogUniform(0, 1), r"low is 0.0, expected a number above 0"),
    "part of a whole number": (lambda: Integers(0.5, 3), r"low is 0.5, expected a whole number"),
    "nothing to choose": (lambda: Choice(), r"values is \[\], expected at least one value"),
    "twice": (lambda: Choice(1, 1.0), r"expected no value twice"),
    "unknown kind": (lambda: Distribution(kind="gaussian", low=0, high=1), r"kind is 'gaussian', expected one of: "),
    "values of a range": (lambda: Distribution(kind="uniform", low=0, high=1, values=(1,)), r"values is .*none"),
    "no end": (lambda: Distribution(kind="uniform", low=0), r"high is None, expected a number"),
    "outside": (lambda: dataclasses.replace(DRAWS, dropout=Uniform(0, 1.5)), r"dropout is 1.5, expected 0 <= dropout"),
    "numbers for words": (
        lambda: dataclasses.replace(DRAWS, activation=Uniform(0, 1)),
        r"activation.kind is 'uniform', expected choice",
    ),
    "words for numbers": (
        lambda: dataclasses.replace(DRAWS, dropout=Choice("a", "b")),
        r"dropout is 'a', expected a finite number",
    ),
    "unknown word": (lambda: dataclasses.replace(DRAWS, activation=Choice("tanh", "selu")), r"activation is 'selu'"),
    "parts of whole numbers": (
        lambda: dataclasses.replace(DRAWS, batch_size=Uniform(1, 10)),
        r"batch_size.kind is 'uniform', expected choice or integers",
    ),
    "a list": (lambda: dataclasses.replace(DRAWS, dropout=[0.1, 0.2]), r"dropout is \[0.1, 0.2\], expected"),
    "no models": (lambda: dataclasses.replace(DRAWS, models=0), r"models is 0, expected 1 to"),
    "beside a grid": (
        lambda: dataclasses.replace(small_spec(), draws=DRAWS),
        r"draws is given beside grid, expected one of the two",
    ),
    "nothing": (
        lambda: dataclasses.replace(small_spec(), grid=None),
        r"grid is missing, expected a table of activation",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_draws_are_one_line(case):
    build, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        build()
