"""From a spec to its members in a fixed order, and to cohorts: members that share one compiled program."""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.factors import examples_seen
from jaxzoo.spec.form import Form, settled_form
from jaxzoo.spec.grid import FACTORS, HYPERPARAMETERS
from jaxzoo.spec.layers import Layers
from jaxzoo.spec.optimizer import Optimizer, optimizers_by_label
from jaxzoo.spec.pairs import neutral_values
from jaxzoo.spec.population import Chosen, GridPoint, additions, point_hash
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.stages import Stage, check_stages, only_stage
from jaxzoo.spec.tables import digest_of
from jaxzoo.spec.zoo_spec import ZooSpec

# factors that need no code in a program: a program is of one batch size, one architecture and one data set, and
# networks are drawn one by one
ON_THE_HOST = (
    "batch_size",
    "initialization_scale",
    "initialization_std",
    "initialization_bias",
    "architecture",
    "dataset",
)


class Pair(NamedTuple):
    """A member's part in a zoo of pairs: the number of its `base`, and in which hyperparameter it differs from that.

    Before the epoch `change_epoch` it is as its base, whose value is `before`. A base is its own base, its `change` "".
    """

    base: int
    change: str
    change_epoch: int
    before: Any = None


class Member(NamedTuple):
    """One model of the zoo: it stands in `row` of cohort number `cohort`. `pair` is None in a zoo without pairs."""

    model: int
    cohort: int
    row: int
    seed: int
    hyperparameters: GridPoint
    pair: Pair | None = None

    def to_row(self) -> dict[str, Any]:
        """The member as a row of a table, a column for each hyperparameter."""
        numbers = dict(zip(NUMBERED, self, strict=False))
        return {**numbers, **self.hyperparameters, **dict(zip(PAIRED, self.pair or (), strict=False))}

    def point_at(self, epoch: int) -> GridPoint:
        """The hyperparameters in an epoch: until its change acts, a partner has those of its base."""
        pair = self.pair
        if pair is None or not pair.change or epoch >= pair.change_epoch:
            return self.hyperparameters
        return {**self.hyperparameters, pair.change: pair.before}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Member":
        """The member of such a row, whose other columns come last. Raises KeyError where a column is missing."""
        known = {name: row[name] for name in HYPERPARAMETERS}
        others = {name: value for name, value in row.items() if name not in (*NUMBERED, *HYPERPARAMETERS)}
        return cls(row["model"], row["cohort"], row["row"], row["seed"], known | others)


PAIRED = Pair._fields[:3]  # columns of a member in a zoo of pairs
NUMBERED = Member._fields[:4]  # columns of a member that say who and where it is


def hyperparameter_names(columns: Iterable[str]) -> tuple[str, ...]:
    """Those columns of a table of members that are hyperparameters."""
    return tuple(name for name in columns if name in (*HYPERPARAMETERS, *FACTORS))


class CohortKey(NamedTuple):
    """Everything that forces another compilation of the training program.

    A program for one kind of members has one activation and one optimizer. Where members have them side by side (see
    `jaxzoo.spec.form`), it has all that the zoo declares, in the order of their words, whoever is in the cohort.
    """

    layers: Layers
    dataset: DatasetSpec
    activations: tuple[str, ...]
    optimizers: tuple[Optimizer, ...]
    momentum: float  # of sgd without its own
    dropout: bool  # whether any point of the grid drops out: a property of the zoo, not of who is in the cohort
    batch_size: int
    augmentation: tuple[str, ...]
    precision: str
    schedule: Schedule
    epochs: int | None  # None where the schedule does not depend on them
    factors: tuple[str, ...] = ()  # those that programs have code for: a property of the zoo, too

    @property
    def form(self) -> Form:
        """The hyperparameters that its programs take for each model."""
        counts = {"activation": len(self.activations), "optimizer": len(self.optimizers)}
        return tuple(name for name, count in counts.items() if count > 1)

    @property
    def label(self) -> str:
        """The kinds of members, as a person reads them."""
        return ", ".join(("/".join(self.activations), "/".join(each.label for each in self.optimizers)))

    def codes(self, point: GridPoint) -> dict[str, int]:
        """What programs take of a member in the place of words: indices among those of the key."""
        labels = {"activation": self.activations, "optimizer": tuple(each.label for each in self.optimizers)}
        return {name: labels[name].index(point[name]) for name in self.form}


def steps_of(key: CohortKey) -> int:
    """Training steps in an epoch. The last batch may be incomplete."""
    return -(-key.dataset.train // key.batch_size)


class Cohort(NamedTuple):
    """Members that are trained and saved together, in the order of their rows."""

    number: int
    key: CohortKey
    members: tuple[Member, ...]

    @property
    def samples(self) -> int:
        """The training samples of an epoch, over all members (see `examples_seen`)."""
        return sum(self._seen) if self.key.factors else len(self.members) * self.key.dataset.train

    @property
    def most_seen(self) -> int:
        """The most training examples that a member sees in an epoch."""
        return max(self._seen) if self.key.factors else self.key.dataset.train

    @property
    def _seen(self) -> list[int]:
        dataset = self.key.dataset
        return [examples_seen(member.hyperparameters, dataset.train, dataset.classes) for member in self.members]


class Plan(NamedTuple):
    """Who is in a zoo: `members` in the order of their numbers, each of them in one of the `cohorts`.

    `form` says which hyperparameters the members of a cohort have side by side.
    """

    spec: ZooSpec
    members: tuple[Member, ...]
    cohorts: tuple[Cohort, ...]
    form: Form = ()

    @property
    def dense_states(self) -> int:
        """The model states that a dense zoo counts: every member at every epoch."""
        return len(self.members) * (self.spec.epochs + self.spec.counts_untrained)


def plan_zoo(spec: ZooSpec, stages: Sequence[Stage] | None = None, form: Form = ()) -> Plan:
    """Members ordered by grid point, then seed; cohorts of members of one key, of equal sizes up to `cohort_size`.

    With `spec.models` fewer than there are, every grid point keeps its first seed before any keeps its second. Where
    not even the first seeds fit, a hash picks the points of a grid, and draws and tables keep their first ones. So a
    smaller choice is part of every larger one. Where the spec varies something, every base is followed by its partners.

    A zoo that has grown has several `stages`, of which the last one is that of the spec. What a stage has beyond those
    before it takes the next numbers and stands in cohorts of its own, so that no earlier row ever moves. With a `form`
    a cohort may have several activations, or optimizers (see `jaxzoo.spec.form`). Raises
    InputError for stages that are not those of a zoo that grows to this spec.
    """
    stages = only_stage(spec) if stages is None else stages
    check_stages(spec, stages)
    form = settled_form(spec, form)
    key_of = _keys(spec, form)
    chosen: list[tuple[int, GridPoint, Pair | None]] = []
    cohorts: list[Cohort] = []
    for added in additions(spec, stages):
        groups: dict[CohortKey, list[int]] = {}
        first = len(chosen)
        chosen += _with_partners(spec, added, first)
        for model in range(first, len(chosen)):
            groups.setdefault(key_of(chosen[model][1]), []).append(model)
        chunks = [(key, chunk) for key, group in groups.items() for chunk in _even_chunks(group, spec.cohort_size)]
        for number, (key, chunk) in enumerate(chunks, len(cohorts)):
            members = tuple(Member(model, number, row, *chosen[model]) for row, model in enumerate(chunk))
            cohorts.append(Cohort(number, key, members))
    everyone = itertools.chain.from_iterable(cohort.members for cohort in cohorts)
    return Plan(spec, tuple(sorted(everyone, key=lambda member: member.model)), tuple(cohorts), form)


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
    factors: tuple[str, ...] = ()


def trajectory_digest(spec: ZooSpec, key: CohortKey | None = None) -> str:
    """SHA-256 of the trajectory of a spec, in hexadecimal digits; with a key, of the members of such a cohort.

    Where members differ in architecture, or in data set, that of a spec without a key leaves them out.
    """
    several = "architecture" in spec.declared
    layers = () if several and key is None else spec.layers if key is None else key.layers
    return digest_of(
        Trajectory(
            layers=layers,
            dataset=spec.dataset if key is None else key.dataset,
            batch_size=spec.batch_size,
            momentum=spec.momentum,
            schedule=spec.schedule,
            augmentation=spec.augmentation,
            precision=spec.precision,
            dropout=any(spec.values("dropout")),
            epochs=spec.epochs if spec.schedule.depends_on_length else None,
            factors=spec.declared,
        )
    )


def row_hash(member: Member) -> bytes:
    """16 bytes of a hash of a member's seed, its hyperparameters, and when it begins to differ from its base."""
    pair = member.pair
    change = f" {pair.change} {pair.change_epoch} {pair.before!r}" if pair is not None and pair.change else ""
    return hashlib.sha256(f"{member.seed} {point_hash(member.hyperparameters)}{change}".encode()).digest()[:16]


def _with_partners(spec: ZooSpec, bases: Sequence[Chosen], first: int) -> list[tuple[int, GridPoint, Pair | None]]:
    """Seed, point and pair of every member in the order of their numbers, from `first` on: each base, its partners."""
    if not spec.vary:
        return [(seed, point, None) for seed, point in bases]
    neutral = neutral_values(spec.vary, spec.source.declared)
    members: list[tuple[int, GridPoint, Pair | None]] = []
    names = (*HYPERPARAMETERS, *spec.declared)
    for seed, point in bases:
        base, own = first + len(members), {**point, **neutral}
        own = {name: own[name] for name in names}
        members.append((seed, own, Pair(base, "", 0)))
        for each in spec.vary:
            pair = Pair(base, each.factor, each.from_epoch, own[each.factor])
            members.append((seed, own | {each.factor: each.typed_value}, pair))
    return members


def _keys(spec: ZooSpec, form: Form) -> Callable[[GridPoint], CohortKey]:
    """The key of a point, from what all points share, which is found once: a table may have many rows."""
    optimizers, factors = optimizers_by_label(spec.source.optimizers), spec.declared
    dropout = any(spec.values("dropout"))
    activations = tuple(sorted(spec.values("activation"))) if "activation" in form else None
    labels = tuple(sorted(optimizers)) if "optimizer" in form else None

    def key(point: GridPoint) -> CohortKey:
        return CohortKey(
            layers=spec.layers_of(point),
            dataset=spec.dataset_of(point),
            activations=activations or (point["activation"],),
            optimizers=tuple(optimizers[label] for label in labels or (point["optimizer"],)),
            momentum=spec.momentum,
            dropout=dropout,
            batch_size=point.get("batch_size", spec.batch_size),
            augmentation=spec.augmentation,
            precision=spec.precision,
            schedule=spec.schedule,
            epochs=spec.epochs if spec.schedule.depends_on_length else None,
            factors=tuple(name for name in factors if name not in ON_THE_HOST),
        )

    return key


def _even_chunks(items: list[int], most: int) -> list[list[int]]:
    count = math.ceil(len(items) / most)
    bounds = [len(items) * chunk // count for chunk in range(count + 1)]
    return [items[first:last] for first, last in itertools.pairwise(bounds)]
