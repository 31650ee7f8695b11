"""Factors that a spec declares, and the pairs of members that differ in one of them."""

import dataclasses

import pytest
from populations import replace_dataset, small_spec

from jaxzoo.errors import InputError
from jaxzoo.spec.grid import FACTORS
from jaxzoo.spec.pairs import Vary
from jaxzoo.spec.plan import plan_zoo, row_hash, trajectory_digest
from jaxzoo.spec.schedule import Schedule

NOISE = Vary(factor="label_noise", value=0.1, from_epoch=2)


def with_factors(vary=(), batch_size=10, **factors):
    spec = small_spec(train=50, batch_size=batch_size, learning_rate=(1e-3, 1e-2))
    return dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, **factors), vary=vary)


def test_a_factor_is_a_column_where_it_is_declared_and_nowhere_else():
    plain, declared = with_factors(), with_factors(label_noise=(0.0, 0.1), beta1=(0.9,))
    assert not {*FACTORS} & {*plan_zoo(plain).members[0].to_row()}
    row = plan_zoo(declared).members[0].to_row()
    assert (row["beta1"], row["label_noise"]) == (0.9, 0.0)
    assert declared.declared == ("beta1", "label_noise")
    assert len({plain.digest, declared.digest}) == len({trajectory_digest(plain), trajectory_digest(declared)}) == 2


def test_every_member_is_followed_by_its_partners():
    spec = with_factors((NOISE, Vary(factor="learning_rate", value=0.1)))
    members = plan_zoo(spec).members
    assert len(members) == 3 * spec.population_size == 24
    for first in range(0, 24, 3):
        base, noisy, faster = members[first : first + 3]
        assert {base.seed} == {noisy.seed, faster.seed}
        assert base.hyperparameters == {**noisy.hyperparameters, "label_noise": 0.0}
        rate = base.hyperparameters["learning_rate"]
        assert base.hyperparameters == {**faster.hyperparameters, "learning_rate": rate}
        rows = [member.to_row() for member in (base, noisy, faster)]
        assert [row["base"] for row in rows] == [first] * 3
        assert [(row["change"], row["change_epoch"]) for row in rows] == [
            ("", 0),
            ("label_noise", 2),
            ("learning_rate", 1),
        ]
        assert noisy.point_at(1) == base.point_at(1) == base.hyperparameters
        assert noisy.point_at(2)["label_noise"] == 0.1
    assert len({row_hash(member) for member in members}) == 24
    later = plan_zoo(dataclasses.replace(spec, vary=(dataclasses.replace(NOISE, from_epoch=1),))).members[1]
    assert row_hash(later) != row_hash(members[1])
    few = plan_zoo(dataclasses.replace(spec, models=3)).members
    assert [member.pair.base for member in few] == [0, 0, 0, 3, 3, 3, 6, 6, 6]


WRONG = {
    "unknown factor": (
        lambda: Vary(factor="label_nois", value=0.1),
        "factor is 'label_nois', expected one of",
    ),
    "a word": (lambda: Vary(factor="activation", value=1), "factor is 'activation', expected one of"),
    "out of range": (
        lambda: Vary(factor="label_noise", value=2),
        "value: label_noise is 2.0, expected 0 <= label_noise",
    ),
    "part of a class": (lambda: Vary(factor="excluded_class", value=0.5), "value is 0.5, expected a whole number"),
    "before the first epoch": (
        lambda: Vary(factor="label_noise", value=0.1, from_epoch=0),
        "from_epoch is 0, expected",
    ),
    "too late for it": (
        lambda: Vary(factor="initialization_scale", value=2, from_epoch=2),
        "from_epoch is 2, expected 1 for initialization_scale",
    ),
    "after the last epoch": (
        lambda: with_factors((dataclasses.replace(NOISE, from_epoch=9),)),
        "vary.from_epoch is 9, expected 1 to 2",
    ),
    "the value of the base": (
        lambda: with_factors((Vary(factor="learning_rate", value=1e-3),)),
        "vary.value is 0.001, expected another value than those of the bases",
    ),
    "what the base has undeclared": (
        lambda: with_factors((Vary(factor="label_noise", value=0),)),
        "vary.value is 0.0, expected another value than those of the bases, 0.0",
    ),
    "twice": (lambda: with_factors((NOISE, NOISE)), "vary is '2 changes', expected no change twice"),
    "no value for the bases": (
        lambda: with_factors((Vary(factor="subset", value=1),), excluded=(0.1,)),
        "vary.factor is 'subset', expected a subset among the hyperparameters",
    ),
    "momentum that one-cycle moves": (
        lambda: dataclasses.replace(_of_sgd(momentum=(0.5,)), schedule=Schedule(kind="one-cycle")),
        "momentum is declared, expected none: a one-cycle schedule moves it",
    ),
    "a subset of nothing": (lambda: with_factors(subset=(1,)), "subset is declared without excluded"),
    "a class that is not there": (
        lambda: with_factors(excluded_class=(10,)),
        "excluded_class is 10, expected -1 for none",
    ),
    "less than a batch": (
        lambda: with_factors(train_fraction=(0.1, 1.0)),
        "train_fraction is 0.1, 1.0 and may leave 5 examples, expected a batch of 10",
    ),
    "less than a batch together": (
        lambda: with_factors(train_fraction=(0.5,), excluded=(0.4,)),
        "may leave 5 examples, expected a batch of 10",
    ),
    "less than the largest batch": (
        lambda: _batches(),
        "may leave 25 examples, expected a batch of 30",
    ),
    "batches of more than all": (lambda: _batches(51), "batch_size is 51, expected at most the 50 training images"),
    "a mean that sgd does not have": (
        lambda: _of_sgd(beta1=(0.9,)),
        "beta1 is declared, expected an optimizer that has it",
    ),
}


def _batches(size=30):
    spec = with_factors(train_fraction=(0.5,)) if size == 30 else with_factors()
    return dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, batch_size=(5, size)))


def _of_sgd(**factors):
    spec = with_factors()
    return dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, optimizer=("sgd",), **factors))


@pytest.mark.parametrize("case", WRONG)
def test_wrong_factors_are_one_line(case):
    build, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        build()


def test_a_smaller_dataset_leaves_less():
    spec = with_factors(train_fraction=(0.25,))
    with pytest.raises(InputError, match="may leave 10 examples, expected a batch of 12"):
        dataclasses.replace(replace_dataset(spec, train=40), batch_size=12)
