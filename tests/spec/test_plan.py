"""The published zoos come out exactly, and a member's place and seed follow from the spec alone."""

import dataclasses
from collections import Counter

import pytest
from populations import small_spec

import jaxzoo
from jaxzoo.commands.listing import list_zoos, zoo_table
from jaxzoo.spec.config import published_specs
from jaxzoo.spec.grid import HYPERPARAMETERS
from jaxzoo.spec.plan import Member, plan_zoo
from jaxzoo.spec.seeds import SeedDraw
from jaxzoo.storage.retention import human_bytes

# models and epochs of every published zoo (arXiv 2209.14764)
SIZES = {"seed": 1000, "hyp-10-f": 2560, "hyp-10-r": 2560}
PUBLISHED = {f"{dataset}-{kind}": (size, 50) for kind, size in SIZES.items() for dataset in (
    "mnist", "fashion-mnist", "svhn", "usps", "cifar10-small", "cifar10-large", "stl10-small", "stl10-large"
)}  # fmt: skip
PUBLISHED |= {f"svhn-hyp-10-{kind}": (4320, 50) for kind in "fr"}
PUBLISHED |= {f"cifar10-{size}-hyp-10-{kind}": (1280, 50) for size in ("small", "large") for kind in "fr"}
PUBLISHED |= {"cifar10-resnet18": (1000, 50), "cifar100-resnet18": (1000, 60), "tiny-imagenet-resnet18": (1000, 60)}


def test_every_published_zoo_plans_to_its_published_count():
    specs = published_specs()
    assert set(specs) == {*PUBLISHED, "digits"}
    for name, (models, epochs) in PUBLISHED.items():
        assert (name, len(plan_zoo(specs[name]).members)) == (name, models)
        assert (name, specs[name].epochs) == (name, epochs)


def test_the_totals_are_the_published_ones():
    plans = [plan_zoo(spec) for name, spec in published_specs().items() if name != "digits"]
    assert len(plans) == 27
    assert sum(len(plan.members) for plan in plans) == 50_360
    assert sum(plan.dense_states for plan in plans) == 2_585_360


def test_the_list_shows_the_totals_and_every_zoo():
    text = list_zoos([*published_specs().values()])
    assert "27 zoos, 50,360 models, 2,585,360 dense and 1,259,000 sparse states, 3,844,360 in all" in text
    assert set(PUBLISHED) <= set(text.split())
    row = zoo_table([jaxzoo.load_spec("mnist-seed")]).iloc[0]
    assert row["states"] == 51_000
    assert row["bytes"] == (51_000 + 25_000) * 2464 * 4
    assert (row["states"], row["twins"]) == (51_000, 25_000)
    assert [human_bytes(count) for count in (999, 502_656_000, 2.6e12)] == ["999 B", "503 MB", "2.6 TB"]


def test_members_stand_once_in_their_cohort_and_row():
    plan = plan_zoo(jaxzoo.load_spec("mnist-hyp-10-f"))
    assert [member.model for member in plan.members] == list(range(2560))
    for cohort in plan.cohorts:
        assert len(cohort.members) <= plan.spec.cohort_size
        for row, member in enumerate(cohort.members):
            assert plan.members[member.model] == member
            assert (member.cohort, member.row) == (cohort.number, row)
            values = member.hyperparameters
            assert f"{values['activation']}, {values['optimizer']}" == cohort.key.label
    assert len(plan.cohorts) == 8
    assert len({cohort.key for cohort in plan.cohorts}) == 8


def test_large_groups_are_cut_into_cohorts_of_equal_sizes():
    spec = dataclasses.replace(jaxzoo.load_spec("mnist-seed"), cohort_size=300)
    assert [len(cohort.members) for cohort in plan_zoo(spec).cohorts] == [250, 250, 250, 250]


def test_shared_and_own_seeds():
    shared = plan_zoo(jaxzoo.load_spec("usps-hyp-10-f")).members
    assert set(Counter(member.seed for member in shared).values()) == {256}
    own = plan_zoo(jaxzoo.load_spec("usps-hyp-10-r")).members
    points = {}
    for member in own:
        points.setdefault(tuple(member.hyperparameters.values()), []).append(member.seed)
    assert len(points) == 256
    assert all(len(set(seeds)) == 10 and max(seeds) < 1_000_000 for seeds in points.values())
    assert len({member.seed for member in own}) > 2500  # 2,560 draws from a million


def test_drawn_seeds_never_change():
    """Written down once: a spec must give the same zoo on every machine and in every version."""
    first = plan_zoo(jaxzoo.load_spec("mnist-hyp-10-r")).members[:3]
    assert [member.seed for member in first] == [225442, 905260, 367105]


def test_drawing_many_of_few_seeds_ends():
    spec = dataclasses.replace(small_spec(), seeds=None, drawn_seeds=SeedDraw(count=16, below=16))
    assert sorted(member.seed for member in plan_zoo(spec).members) == list(range(16))


@pytest.mark.parametrize("models", [1, 7, 256, 300, 2560])
def test_fewer_models_are_spread_over_the_grid_and_nested(models):
    full = jaxzoo.load_spec("mnist-hyp-10-f")

    def keep(models):
        plan = plan_zoo(dataclasses.replace(full, models=models))
        return [(member.seed, *member.hyperparameters.values()) for member in plan.members]

    chosen = keep(models)
    assert len(set(chosen)) == models
    points = Counter(point[1:] for point in chosen)
    assert len(points) == min(models, 256)
    assert max(points.values()) - min(points.values()) <= 1
    assert set(chosen) <= set(keep(min(2560, models + 13)))


def test_fewer_models_of_a_seed_zoo_are_its_first_seeds():
    spec = dataclasses.replace(jaxzoo.load_spec("mnist-seed"), models=64)
    assert [member.seed for member in plan_zoo(spec).members] == list(range(1, 65))


def test_a_member_is_a_row_and_back():
    member = plan_zoo(small_spec(dropout=(0.25,))).members[1]
    row = member.to_row()
    assert list(row) == ["model", "cohort", "row", "seed", *HYPERPARAMETERS]
    assert (row["seed"], row["dropout"]) == (2, 0.25)
    assert Member.from_row(row) == member
    with pytest.raises(KeyError):
        Member.from_row({name: value for name, value in row.items() if name != "dropout"})


def test_the_size_of_a_population_is_that_of_its_plan():
    for spec in published_specs().values():
        assert spec.population_size == len(plan_zoo(spec).members)
