"""A zoo grows by stages: what is there never moves, and in the end it has the members of one that was made at once."""

import dataclasses
import random

import pytest
from populations import small_spec

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.spec.config import published_specs
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.seeds import SeedDraw, SeedRange
from jaxzoo.spec.snapshots import Snapshots
from jaxzoo.spec.stages import Stage, check_stages, grown_spec, only_stage, other_zoo, stage_of, what_fixes_length

GRID = {"activation": ("tanh", "relu"), "optimizer": ("adam", "sgd"), "learning_rate": (1e-3, 1e-2)}


def identity_of(member):
    return (*member.hyperparameters.values(), member.seed)


def random_specs(draws, drawn):
    """Specs of one zoo that grows, each with a larger choice than the one before, or as large a one."""
    spec = dataclasses.replace(small_spec(**GRID), cohort_size=draws.randint(1, 9))
    models, count = draws.randint(1, 6), draws.randint(1, 3)
    for _ in range(draws.randint(1, 5)):
        seeds = {"seeds": None, "drawn_seeds": SeedDraw(count=count, below=50)} if drawn else {}
        seeds = seeds or {"seeds": SeedRange(first=3, last=2 + count)}
        yield dataclasses.replace(spec, **seeds, models=models)
        count += draws.randint(0, 2)
        if models is not None:
            models = None if draws.random() < 0.2 else models + draws.randint(0, 9)


@pytest.mark.parametrize("drawn", [False, True], ids=["range", "draw"])
@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_stages_no_row_moves_and_the_union_is_the_zoo_made_at_once(seed, drawn):
    specs = [*random_specs(random.Random(seed), drawn)]
    spec, stages = specs[0], only_stage(specs[0])
    plan = plan_zoo(spec)
    for wanted in specs[1:]:
        spec = grown_spec(spec, wanted)
        if stage_of(spec) != stages[-1]:
            stages = (*stages, stage_of(spec))
        before, plan = plan, plan_zoo(spec, stages)
        assert plan.members[: len(before.members)] == before.members
        assert plan.cohorts[: len(before.cohorts)] == before.cohorts
        at_once = plan_zoo(spec)
        assert sorted(map(identity_of, plan.members)) == sorted(map(identity_of, at_once.members))
        assert [member.model for member in plan.members] == [*range(len(plan.members))]
        added = [identity_of(member) for member in plan.members[len(before.members) :]]
        wanted_order = [each for each in map(identity_of, at_once.members) if each in {*added}]
        assert added == wanted_order  # by grid point, then seed
        for number, cohort in enumerate(plan.cohorts):
            assert (cohort.number, len(cohort.members) <= spec.cohort_size) == (number, True)
            assert [(each.cohort, each.row) for each in cohort.members] == [
                (number, row) for row in range(len(cohort.members))
            ]


def test_one_stage_is_the_plan_of_before():
    for spec in published_specs().values():
        assert plan_zoo(spec, only_stage(spec)) == plan_zoo(spec)


def test_a_published_zoo_grows_from_its_first_seeds_to_the_whole():
    whole = jaxzoo.load_spec("mnist-hyp-10-r")
    small = dataclasses.replace(whole, models=300)
    grown = grown_spec(small, whole)
    assert grown.digest == whole.digest
    plan = plan_zoo(grown, (*only_stage(small), *only_stage(whole)))
    assert plan.members[:300] == plan_zoo(small).members
    assert {*map(identity_of, plan.members)} == {*map(identity_of, plan_zoo(whole).members)}


BEGUN = dataclasses.replace(small_spec(seeds=4, epochs=3), models=2)


def test_what_is_wanted_and_what_is_there_join_in_the_larger_of_both():
    assert grown_spec(BEGUN, BEGUN) is BEGUN
    smaller = dataclasses.replace(BEGUN, models=1, epochs=1, seeds=SeedRange(first=1, last=2))
    assert grown_spec(BEGUN, smaller) is BEGUN
    crossed = dataclasses.replace(BEGUN, models=None, epochs=1, seeds=SeedRange(first=1, last=9))
    assert grown_spec(BEGUN, crossed) == dataclasses.replace(crossed, epochs=3)
    longer = dataclasses.replace(BEGUN, models=1, epochs=7, twins="magnitude")
    assert grown_spec(BEGUN, longer) == dataclasses.replace(BEGUN, epochs=7, twins="magnitude")


def test_what_may_not_grow_makes_another_zoo():
    assert other_zoo(BEGUN, dataclasses.replace(BEGUN, models=9, epochs=9, seeds=SeedRange(first=1, last=9))) == ""
    others = {
        "seeds.first is 1, got 2": {"seeds": SeedRange(first=2, last=4)},
        "batch_size is 10, got 11": {"batch_size": 11},
        r"grid.learning_rate is (0.001,), got (0.001, 0.01)": {
            "grid": dataclasses.replace(BEGUN.grid, learning_rate=(1e-3, 1e-2))
        },
        "got SeedDraw(count=4, below=9)": {"seeds": None, "drawn_seeds": SeedDraw(count=4, below=9)},
    }
    for text, change in others.items():
        assert text in other_zoo(BEGUN, dataclasses.replace(BEGUN, **change, epochs=9)), text
    drawn = dataclasses.replace(BEGUN, seeds=None, drawn_seeds=SeedDraw(count=4, below=9))
    assert other_zoo(drawn, dataclasses.replace(drawn, drawn_seeds=SeedDraw(count=9, below=9))) == ""
    below = dataclasses.replace(drawn, drawn_seeds=SeedDraw(count=4, below=10))
    assert other_zoo(drawn, below) == "drawn_seeds.below is 9, got 10"
    cycle = dataclasses.replace(BEGUN, schedule=Schedule(kind="one-cycle"))
    assert other_zoo(cycle, dataclasses.replace(cycle, models=4)) == ""
    assert other_zoo(cycle, dataclasses.replace(cycle, epochs=4)) == "epochs is 3, got 4"


STAGE = stage_of(BEGUN)
LONG = dataclasses.replace(BEGUN, epochs=1001)
BAD = {
    "no stage": (),
    "of another spec": (dataclasses.replace(STAGE, models=3),),
    "shrinks": (dataclasses.replace(STAGE, models=None), STAGE),
    "stays": (STAGE, STAGE),
    "fewer epochs": (dataclasses.replace(STAGE, epochs=9), STAGE),
    "no models": (dataclasses.replace(STAGE, models=0), STAGE),
    "no epochs": (dataclasses.replace(STAGE, epochs=0), STAGE),
    "no seeds": (dataclasses.replace(STAGE, last_seed=None), STAGE),
    "seeds before the first": (dataclasses.replace(STAGE, last_seed=0), STAGE),
    "both kinds of seeds": (dataclasses.replace(STAGE, seed_count=2), STAGE),
}


@pytest.mark.parametrize("stages", BAD.values(), ids=BAD)
def test_stages_that_no_zoo_has_are_refused(stages):
    with pytest.raises(InputError):
        plan_zoo(BEGUN, stages)


def test_stages_are_not_without_number():
    stages = [dataclasses.replace(stage_of(LONG), epochs=epochs) for epochs in range(1, 1002)]
    check_stages(LONG, stages[1:])
    with pytest.raises(InputError, match="stages: 1001 are given, expected at most 1000"):
        check_stages(LONG, stages)


def test_a_zoo_whose_schedule_depends_on_its_length_has_stages_of_one_length():
    cycle = dataclasses.replace(BEGUN, schedule=Schedule(kind="one-cycle"))
    fewer = Stage(models=1, epochs=3, last_seed=4, seed_count=None)
    check_stages(cycle, (fewer, stage_of(cycle)))
    with pytest.raises(InputError, match="expected more models, seeds or epochs, and none less"):
        check_stages(cycle, (dataclasses.replace(fewer, epochs=2), stage_of(cycle)))


def test_log_spaced_steps_fix_the_epochs_and_draws_may_get_more():
    spec = dataclasses.replace(small_spec(), snapshots=Snapshots(log_spaced=4))
    assert "epochs is 2, got 3" in other_zoo(spec, dataclasses.replace(spec, epochs=3))
    assert what_fixes_length(spec) == "log-spaced steps depend on"
    every = dataclasses.replace(spec, snapshots=Snapshots(every=3))
    assert other_zoo(every, dataclasses.replace(every, epochs=3)) == ""
    words = {"activation": "tanh", "initialization": "normal", "optimizer": "adam", "learning_rate": 0.1}
    few = dataclasses.replace(small_spec(), grid=None, seeds=None, draws=Draws(models=3, **words))
    many = dataclasses.replace(few, draws=dataclasses.replace(few.draws, models=5))
    assert other_zoo(few, many) == ""
    grown = grown_spec(few, many)
    assert grown == many
    assert grown_spec(grown, few) is grown
    plan = plan_zoo(grown, (stage_of(few), stage_of(many)))
    assert [member.seed for member in plan.members] == [member.seed for member in plan_zoo(many).members]
    assert len(plan.cohorts) == 2
