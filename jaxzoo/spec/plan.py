"""From a spec to its members in a fixed order, and to cohorts: members that share one compiled program."""

import hashlib
import itertools
import math
from typing import NamedTuple

from jaxzoo.spec.zoo_spec import DatasetSpec, SeedDraw, ZooSpec


class GridPoint(NamedTuple):
    """One combination of hyperparameters."""

    activation: str
    initialization: str
    dropout: float
    optimizer: str
    learning_rate: float
    weight_decay: float


class Member(NamedTuple):
    """One model of the zoo: `row` of cohort number `cohort`."""

    model: int
    cohort: int
    row: int
    seed: int
    activation: str
    initialization: str
    dropout: float
    optimizer: str
    learning_rate: float
    weight_decay: float


class CohortKey(NamedTuple):
    """All that forces another compilation of the training program."""

    architecture: str
    dataset: DatasetSpec
    activation: str
    optimizer: str
    momentum: float
    dropout: bool  # whether any point of the grid drops out: a property of the zoo, not of who is in the cohort
    batch_size: int
    augmentation: tuple[str, ...]
    precision: str
    cycle_epochs: int | None  # of the one cycle of learning rates, None where they are constant


class Cohort(NamedTuple):
    """Members that are trained and saved together, in the order of their rows."""

    number: int
    key: CohortKey
    members: tuple[Member, ...]


class Plan(NamedTuple):
    """Who is in a zoo: `members` in the order of their numbers, each of them in one of the `cohorts`."""

    spec: ZooSpec
    members: tuple[Member, ...]
    cohorts: tuple[Cohort, ...]

    @property
    def dense_states(self) -> int:
        """Model states a dense zoo holds: every member at every epoch, the untrained one included where it is kept.

        The published ResNet-18 zoos have no epoch 0, so theirs are `epochs` states a model.
        """
        untrained = 0 if self.spec.architecture == "resnet-18" else 1
        return len(self.members) * (self.spec.epochs + untrained)


def plan_zoo(spec: ZooSpec) -> Plan:
    """Members ordered by grid point, then seed; cohorts of members of one key, of equal sizes up to `cohort_size`.

    With `spec.models` fewer than the grid gives, all grid points keep their first seed before any keeps its second, and
    where not even the first seeds fit, grid points are picked by hash: a smaller choice is part of every larger one.
    """
    chosen = _choose(_population(spec), spec.models)
    groups: dict[CohortKey, list[int]] = {}
    for model, (point, _) in enumerate(chosen):
        groups.setdefault(_key(spec, point), []).append(model)
    chunks = [(key, chunk) for key, group in groups.items() for chunk in _even_chunks(group, spec.cohort_size)]
    cohorts = []
    for number, (key, chunk) in enumerate(chunks):
        rows = enumerate((model, *chosen[model]) for model in chunk)
        members = tuple(Member(model, number, row, seed, *point) for row, (model, point, seed) in rows)
        cohorts.append(Cohort(number, key, members))
    everyone = itertools.chain.from_iterable(cohort.members for cohort in cohorts)
    return Plan(spec, tuple(sorted(everyone)), tuple(cohorts))


def population_size(spec: ZooSpec) -> int:
    """How many members the grid and the seeds of a spec give, whatever `spec.models` keeps of them."""
    return len(_population(spec))


def _population(spec: ZooSpec) -> list[tuple[GridPoint, int, int]]:
    """(grid point, number of the seed, seed) of every member, grid points outermost."""
    grid = spec.grid
    points = itertools.starmap(
        GridPoint,
        itertools.product(
            grid.activation,
            grid.initialization,
            grid.dropout,
            grid.optimizer,
            grid.learning_rate,
            grid.weight_decay,
        ),
    )
    return [(point, number, seed) for point in points for number, seed in enumerate(_seeds(spec, point))]


def _choose(population: list[tuple[GridPoint, int, int]], models: int | None) -> list[tuple[GridPoint, int]]:
    ranks = [(number, _hash(point)) for point, number, _ in population]
    kept = sorted(range(len(population)), key=ranks.__getitem__)[:models]
    return [(population[place][0], population[place][2]) for place in sorted(kept)]


def _seeds(spec: ZooSpec, point: GridPoint) -> tuple[int, ...]:
    if spec.drawn_seeds is not None:
        return _draw_seeds(spec.drawn_seeds, f"{spec.dataset.name} {spec.architecture} {_hash(point)}")
    assert spec.seeds is not None
    return tuple(range(spec.seeds.first, spec.seeds.last + 1))


def _draw_seeds(draw: SeedDraw, origin: str) -> tuple[int, ...]:
    """Different seeds from a hash: the same for all times, on every machine and version."""
    seeds: dict[int, None] = {}
    for trial in itertools.count():
        if len(seeds) == draw.count:
            return tuple(seeds)
        digest = hashlib.sha256(f"{origin} {trial}".encode()).digest()
        seeds[int.from_bytes(digest[:8], "big") % draw.below] = None
    raise AssertionError("unreachable")


def _hash(point: GridPoint) -> str:
    return hashlib.sha256(repr(tuple(point)).encode()).hexdigest()


def _key(spec: ZooSpec, point: GridPoint) -> CohortKey:
    return CohortKey(
        architecture=spec.architecture,
        dataset=spec.dataset,
        activation=point.activation,
        optimizer=point.optimizer,
        momentum=spec.momentum,
        dropout=any(spec.grid.dropout),
        batch_size=spec.batch_size,
        augmentation=spec.augmentation,
        precision=spec.precision,
        cycle_epochs=spec.epochs if spec.schedule.kind == "one-cycle" else None,
    )


def _even_chunks(items: list[int], most: int) -> list[list[int]]:
    count = math.ceil(len(items) / most)
    bounds = [len(items) * chunk // count for chunk in range(count + 1)]
    return [items[first:last] for first, last in itertools.pairwise(bounds)]
