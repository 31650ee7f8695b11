"""From a spec to its members in a fixed order, and to cohorts: members that share one compiled program."""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.grid import HYPERPARAMETERS, Grid
from jaxzoo.spec.layers import Layers
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.seeds import SeedDraw
from jaxzoo.spec.tables import digest_of
from jaxzoo.spec.zoo_spec import ZooSpec

GridPoint = Mapping[str, Any]  # a value of every hyperparameter, in the order of HYPERPARAMETERS

# What drawn seeds have always been derived from, in this order. A hyperparameter that is added to Grid later must not
# stand here: then it changes no seed of a zoo that leaves it at its default.
FIRST_HYPERPARAMETERS = ("activation", "initialization", "dropout", "optimizer", "learning_rate", "weight_decay")
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Grid)}


class Member(NamedTuple):
    """One model of the zoo: it stands in `row` of cohort number `cohort`."""

    model: int
    cohort: int
    row: int
    seed: int
    hyperparameters: GridPoint

    def to_row(self) -> dict[str, Any]:
        """The member as a row of a table, a column for each hyperparameter."""
        numbers = dict(zip(self._fields[:-1], self, strict=False))
        return {**numbers, **self.hyperparameters}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Member":
        """The member of such a row, whose other columns come last. Raises KeyError where a column is missing."""
        known = {name: row[name] for name in HYPERPARAMETERS}
        others = {name: value for name, value in row.items() if name not in (*cls._fields, *HYPERPARAMETERS)}
        return cls(row["model"], row["cohort"], row["row"], row["seed"], known | others)


class CohortKey(NamedTuple):
    """Everything that forces another compilation of the training program."""

    layers: Layers
    dataset: DatasetSpec
    activation: str
    optimizer: str
    momentum: float
    dropout: bool  # whether any point of the grid drops out: a property of the zoo, not of who is in the cohort
    batch_size: int
    augmentation: tuple[str, ...]
    precision: str
    schedule: Schedule
    epochs: int | None  # None where the schedule does not depend on them


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
        """The model states that a dense zoo counts: every member at every epoch."""
        return len(self.members) * (self.spec.epochs + self.spec.counts_untrained)


def plan_zoo(spec: ZooSpec) -> Plan:
    """Members ordered by grid point, then seed; cohorts of members of one key, of equal sizes up to `cohort_size`.

    With `spec.models` fewer than the grid gives, every grid point keeps its first seed before any keeps its second.
    Where not even the first seeds fit, a hash picks the grid points. So a smaller choice is part of every larger one.
    """
    chosen = _choose(_population(spec), spec.models)
    groups: dict[CohortKey, list[int]] = {}
    for model, (point, _) in enumerate(chosen):
        groups.setdefault(_key(spec, point), []).append(model)
    chunks = [(key, chunk) for key, group in groups.items() for chunk in _even_chunks(group, spec.cohort_size)]
    cohorts = []
    for number, (key, chunk) in enumerate(chunks):
        rows = enumerate((model, *chosen[model]) for model in chunk)
        members = tuple(Member(model, number, row, seed, point) for row, (model, point, seed) in rows)
        cohorts.append(Cohort(number, key, members))
    everyone = itertools.chain.from_iterable(cohort.members for cohort in cohorts)
    return Plan(spec, tuple(sorted(everyone, key=lambda member: member.model)), tuple(cohorts))


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """What decides the way of a member besides its seed and its hyperparameters.

    A zoo may get more models, seeds and, where the schedule does not depend on them, epochs, and keeps its trajectory.
    A field that is added later needs a default that every zoo made before has.
    """

    layers: Layers
    dataset: DatasetSpec
    batch_size: int
    momentum: float
    schedule: Schedule
    augmentation: tuple[str, ...]
    precision: str
    dropout: bool
    epochs: int | None


def trajectory_digest(spec: ZooSpec) -> str:
    """SHA-256 of the trajectory of a spec, in hexadecimal digits."""
    return digest_of(
        Trajectory(
            layers=spec.layers,
            dataset=spec.dataset,
            batch_size=spec.batch_size,
            momentum=spec.momentum,
            schedule=spec.schedule,
            augmentation=spec.augmentation,
            precision=spec.precision,
            dropout=any(spec.grid.dropout),
            epochs=spec.epochs if spec.schedule.depends_on_length else None,
        )
    )


def row_hash(member: Member) -> bytes:
    """16 bytes of a hash of a member's seed and hyperparameters."""
    return hashlib.sha256(f"{member.seed} {_hash(member.hyperparameters)}".encode()).digest()[:16]


def _population(spec: ZooSpec) -> list[tuple[GridPoint, int, int]]:
    """(grid point, number of the seed, seed) of every member, grid points outermost."""
    combinations = itertools.product(*(getattr(spec.grid, name) for name in HYPERPARAMETERS))
    points = [dict(zip(HYPERPARAMETERS, values, strict=True)) for values in combinations]
    return [(point, number, seed) for point in points for number, seed in enumerate(_seeds(spec, point))]


def _choose(population: list[tuple[GridPoint, int, int]], models: int | None) -> list[tuple[GridPoint, int]]:
    if models is None:
        return [(point, seed) for point, _, seed in population]
    ranks = [(number, _hash(point)) for point, number, _ in population]
    kept = sorted(range(len(population)), key=ranks.__getitem__)[:models]
    return [(population[index][0], population[index][2]) for index in sorted(kept)]


def _seeds(spec: ZooSpec, point: GridPoint) -> tuple[int, ...]:
    if spec.drawn_seeds is not None:
        return _draw_seeds(spec.drawn_seeds, f"{spec.dataset.name} {spec.architecture} {_hash(point)}")
    assert spec.seeds is not None
    return tuple(range(spec.seeds.first, spec.seeds.last + 1))


def _draw_seeds(draw: SeedDraw, origin: str) -> tuple[int, ...]:
    """Different seeds from a hash, which gives the same ones on every machine and in every version."""
    seeds: dict[int, None] = {}
    for trial in itertools.count():
        if len(seeds) == draw.count:
            return tuple(seeds)
        digest = hashlib.sha256(f"{origin} {trial}".encode()).digest()
        seeds[int.from_bytes(digest[:8], "big") % draw.below] = None
    raise AssertionError("unreachable")


def _hash(point: GridPoint) -> str:
    """A hash of the first hyperparameters, and of (name, value) of later ones that are not at their default."""
    values = [point[name] for name in FIRST_HYPERPARAMETERS]
    others = [item for item in point.items() if item[0] not in FIRST_HYPERPARAMETERS]
    later = [(name, value) for name, value in others if (value,) != DEFAULTS.get(name)]
    return hashlib.sha256(repr((*values, *later)).encode()).hexdigest()


def _key(spec: ZooSpec, point: GridPoint) -> CohortKey:
    return CohortKey(
        layers=spec.layers,
        dataset=spec.dataset,
        activation=point["activation"],
        optimizer=point["optimizer"],
        momentum=spec.momentum,
        dropout=any(spec.grid.dropout),
        batch_size=spec.batch_size,
        augmentation=spec.augmentation,
        precision=spec.precision,
        schedule=spec.schedule,
        epochs=spec.epochs if spec.schedule.depends_on_length else None,
    )


def _even_chunks(items: list[int], most: int) -> list[list[int]]:
    count = math.ceil(len(items) / most)
    bounds = [len(items) * chunk // count for chunk in range(count + 1)]
    return [items[first:last] for first, last in itertools.pairwise(bounds)]
