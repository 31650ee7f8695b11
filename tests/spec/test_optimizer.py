"""Optimizers and schedules with parameters: what is equal, what is written, who is in a zoo, and what is refused."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from populations import record_of, small_spec, write_digits_config

from jaxzoo.errors import InputError
from jaxzoo.spec.config import read_config
from jaxzoo.spec.optimizer import OPTIMIZER_PARAMETERS, OPTIMIZERS, Optimizer, optimizers_by_label
from jaxzoo.spec.plan import plan_zoo, trajectory_digest
from jaxzoo.spec.schedule import SCHEDULE_PARAMETERS, Schedule
from jaxzoo.spec.seeds import SeedDraw
from jaxzoo.spec.tables import full_table, read_table
from jaxzoo.spec.zoo_spec import ZooSpec, spec_differences
from jaxzoo.training.optimizers import RULES

SPEC = small_spec()


def zoo_with(*optimizers, **changes):
    return dataclasses.replace(small_spec(optimizer=optimizers), **changes)


def test_every_optimizer_has_a_rule():
    assert {*RULES} == {*OPTIMIZERS}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_at_their_defaults_are_the_bare_optimizer(name):
    defaults = {each: known.default for each, known in OPTIMIZER_PARAMETERS[name].items()}
    bare, said = Optimizer(name=name), Optimizer(name=name, **defaults)
    assert (said, hash(said), said.label, said.written()) == (bare, hash(bare), name, name)
    assert bare.values == defaults
    assert zoo_with(name) == zoo_with(said) == small_spec(optimizer=np.array([name])) == small_spec(optimizer=name)


def test_a_name_a_table_and_a_spec_are_the_same(tmp_path):
    path = write_digits_config(tmp_path / "zoo.toml")
    text = path.read_text()
    path.write_text(text.replace('["adam", "sgd"]', '["sgd", { name = "adam", beta1 = 0.5, beta2 = 0.999 }]'))
    (spec,) = read_config(path)
    wanted = (Optimizer(name="sgd"), Optimizer(name="adam", beta1=0.5))
    assert spec.grid.optimizer == wanted
    path.write_text(text.replace('["adam", "sgd"]', '{ name = "sgd", nesterov = true }'))
    (spec,) = read_config(path)
    assert spec.grid.optimizer == (Optimizer(name="sgd", nesterov=True),)
    path.write_text(text.replace('["adam", "sgd"]', '{ name = "sgd", nesterov = false }'))
    assert read_config(path)[0] == dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, optimizer="sgd"))


def test_zoo_json_has_bare_names_for_defaults_and_tables_for_the_rest():
    spec = zoo_with("adamw", Optimizer(name="adam", beta1=0.5), Optimizer(name="sgd", momentum=0, nesterov=True))
    table = json.loads(record_of(spec).to_json())["spec"]
    assert table["grid"]["optimizer"] == [
        *("adamw", {"name": "adam", "beta1": 0.5}, {"name": "sgd", "momentum": 0.0, "nesterov": True})
    ]
    assert table["schedule"] == {"kind": "constant"}  # as before there were others
    back = read_table(table, ZooSpec)
    assert (back, back.digest, trajectory_digest(back)) == (spec, spec.digest, trajectory_digest(spec))
    for schedule in (Schedule(kind="cosine", warmup=0.5), Schedule(kind="step", every=2)):
        moved = dataclasses.replace(spec, schedule=schedule)
        assert read_table(json.loads(json.dumps(full_table(moved))), ZooSpec) == moved
        assert trajectory_digest(moved) != trajectory_digest(spec)


def test_every_parameter_changes_the_digest_and_the_label():
    optimizers = [
        *map(lambda name: Optimizer(name=name), OPTIMIZERS),
        *(
            Optimizer(name=name, **{parameter: True if known.allowed is None else 0.5})
            for name in OPTIMIZERS
            for parameter, known in OPTIMIZER_PARAMETERS[name].items()
        ),
    ]
    assert len({zoo_with(optimizer).digest for optimizer in optimizers}) == len(optimizers)
    assert [*optimizers_by_label(tuple(optimizers)).values()] == optimizers
    assert optimizers[-1].label == "lion(beta2=0.5)"
    assert repr(optimizers[-1]) == "Optimizer(name='lion', beta2=0.5)"
    assert spec_differences(zoo_with("adam"), zoo_with(optimizers[-1])) == (
        "grid.optimizer is ('adam',), got ({'name': 'lion', 'beta2': 0.5},)"
    )


def test_members_have_labels_and_cohorts_have_the_optimizers():
    optimizers = ("adam", Optimizer(name="adam", beta1=0.5), "sgd", Optimizer(name="sgd", momentum=0.5))
    plan = plan_zoo(zoo_with(*optimizers))
    labels = ["adam", "adam(beta1=0.5)", "sgd", "sgd(momentum=0.5)"]
    assert [member.hyperparameters["optimizer"] for member in plan.members[::4]] == labels
    assert [cohort.key.optimizers for cohort in plan.cohorts] == [(each,) for each in plan.spec.source.optimizers]


def test_drawn_seeds_of_a_bare_optimizer_know_nothing_of_others():
    def seeds(*optimizers):
        spec = zoo_with(*optimizers, seeds=None, drawn_seeds=SeedDraw(count=2, below=1000))
        return {(member.hyperparameters["optimizer"], member.seed) for member in plan_zoo(spec).members}

    both = seeds("adam", Optimizer(name="adam", beta1=0.5))
    assert seeds("adam") < both
    assert len({seed for _, seed in both}) == 4


BAD = {
    "name is 'adamx', expected one of: adam": lambda: Optimizer(name="adamx"),
    "optimizer is 'adamx', expected one of: adam": lambda: zoo_with("adamx"),
    r"optimizer is 5, expected a name or Optimizer\(...\)": lambda: zoo_with(5),
    "momentum is 0.5, expected none: adam has beta1, beta2, epsilon": lambda: Optimizer(name="adam", momentum=0.5),
    "epsilon is 1e-08, expected none: lion has beta1, beta2": lambda: Optimizer(name="lion", epsilon=1e-8),
    "beta1 is 1.0, expected 0 <= beta1 <= 0.999999": lambda: Optimizer(name="nadam", beta1=1),
    "beta2 is -0.1, expected 0 <= beta2": lambda: Optimizer(name="adamw", beta2=-0.1),
    "epsilon is 0.0, expected 1e-30 <= epsilon <= 1": lambda: Optimizer(name="adam", epsilon=0),
    "decay is nan, expected a finite number": lambda: Optimizer(name="rms_prop", decay=float("nan")),
    "nesterov is 1, expected true or false": lambda: Optimizer(name="sgd", nesterov=1),
    "momentum is 1.0, expected 0 <= momentum < 1": lambda: Optimizer(name="sgd", momentum=1.0),
    r"optimizer is \['adam', 'adam'\], expected no value twice": lambda: zoo_with(
        "adam", Optimizer(name="adam", beta1=0.9)
    ),
    r"grid.optimizer is sgd\(momentum=0.9\) beside sgd, expected no optimizer twice: the zoo's momentum is 0.9": (
        lambda: zoo_with("sgd", Optimizer(name="sgd", momentum=0.9))
    ),
    r"grid.optimizer: beta1 of adam\(beta1=0.5\) is 0.5, expected none: one-cycle moves it": lambda: zoo_with(
        Optimizer(name="adam", beta1=0.5), schedule="one-cycle"
    ),
    "kind is 'cosin', expected one of: cosine": lambda: Schedule(kind="cosin"),
    "warmup is 1.0, expected none: constant has no parameters": lambda: Schedule(warmup=1),
    "every is 2, expected none: cosine has warmup, end": lambda: Schedule(kind="cosine", every=2),
    "end is 0.5, expected none: step has every, factor": lambda: Schedule(kind="step", every=2, end=0.5),
    "every is missing, expected the epochs": lambda: Schedule(kind="step"),
    "schedule.every is missing, expected the epochs": lambda: dataclasses.replace(SPEC, schedule="step"),
    "every is 0, expected 1 <= every": lambda: Schedule(kind="step", every=0),
    "every is 0.5, expected a whole number": lambda: Schedule(kind="step", every=0.5),
    "factor is 1.0, expected 0 < factor < 1": lambda: Schedule(kind="step", every=1, factor=1),
    "warmup is -1.0, expected 0 <= warmup": lambda: Schedule(kind="cosine", warmup=-1),
    "end is 1.5, expected 0 <= end <= 1": lambda: Schedule(kind="cosine", end=1.5),
    "schedule.warmup is 2.0, expected less than the 2 epochs of the zoo": lambda: dataclasses.replace(
        SPEC, schedule=Schedule(kind="cosine", warmup=2)
    ),
}


@pytest.mark.parametrize(("message", "build"), BAD.items(), ids=BAD)
def test_what_is_wrong_is_one_clear_line(message, build):
    with pytest.raises(InputError, match=f"^{message}") as error:
        build()
    assert "\n" not in str(error.value)


def test_every_parameter_of_another_kind_is_refused():
    for build, known in ((Optimizer, OPTIMIZER_PARAMETERS), (Schedule, SCHEDULE_PARAMETERS)):
        fields = [field.name for field in dataclasses.fields(build)]
        for word, parameter in itertools.product(known, fields[1:]):
            if parameter not in known[word]:
                with pytest.raises(InputError, match=f"{parameter} is .*, expected none: {word} has"):
                    build(**{fields[0]: word, parameter: True if parameter == "nesterov" else 1})
