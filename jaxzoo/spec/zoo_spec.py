"""What a zoo is: frozen dataclasses that check their values when they are built."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.fields import require_choices, require_name, settle_fields
from jaxzoo.spec.grid import HYPERPARAMETERS, Grid
from jaxzoo.spec.layers import LAYERS, Layers, check_layers
from jaxzoo.spec.schedule import SCHEDULES, Schedule
from jaxzoo.spec.seeds import SEED_LIMIT, SeedDraw, SeedRange
from jaxzoo.spec.tables import differences, digest_of
from jaxzoo.spec.twin_spec import METHODS, MOST_EPOCHS, NO_TWINS, TwinSpec

AUGMENTATIONS = ("crop", "flip", "rotation")
PRECISIONS = ("float32", "bfloat16")
ZOO_NAME = r"\w[\w .+-]*"  # a file's name, too
MOST_MEMBERS = 10**6


@dataclass(frozen=True, kw_only=True)
class ZooSpec:
    """A population: the spec and the images that it names determine every weight.

    `architecture` is a name of `jaxzoo.spec.layers.LAYERS`. `models` keeps that many of the grid's members, spread over
    the grid (see `plan_zoo`); None keeps all. `momentum` is used by sgd, and by a constant schedule. `augmentation`
    names what training images go through, in that order; every member draws it anew at each step. `precision` is what
    layers compute in; parameters are float32.

    The last three fields are no part of the zoo itself, and its digest does not depend on them: `cohort_size` is the
    most members that are trained and saved together, `twins` says how sparse twins are made unless asked otherwise
    (None: not at all), `counts_untrained` says whether the published number of states counts epoch 0.

    A word will do for `schedule` (its kind) and for `twins` (a method, or "none").
    """

    name: str
    dataset: DatasetSpec
    architecture: str = field(metadata={"allowed": tuple(LAYERS)})
    grid: Grid
    seeds: SeedRange | None = None
    drawn_seeds: SeedDraw | None = None
    momentum: float = 0.9
    schedule: Schedule = field(default=Schedule(), metadata={"allowed": SCHEDULES})
    augmentation: tuple[str, ...] = ()
    precision: str = "float32"
    batch_size: int = 10
    epochs: int = 50
    models: int | None = None
    cohort_size: int = 1024
    twins: TwinSpec | None = field(default=TwinSpec(), metadata={"allowed": (*METHODS, NO_TWINS)})
    counts_untrained: bool = True

    def __post_init__(self) -> None:
        _settle_words(self)
        settle_fields(self)
        require_name("name", self.name, ZOO_NAME, "letters, digits, spaces, _, -, + and dots, not with a dot first")
        require_choices("architecture", (self.architecture,), LAYERS)
        _check_seeds(self)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "0 <= momentum < 1")
        require_choices("augmentation", self.augmentation, AUGMENTATIONS)
        require(len(self.augmentation) <= 100, "augmentation", self.augmentation, "at most 100 names")
        require_choices("precision", (self.precision,), PRECISIONS)
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more images")
        limit = self.dataset.train
        require(self.batch_size <= limit, "batch_size", self.batch_size, f"at most the {limit} training images")
        require(1 <= self.epochs <= MOST_EPOCHS, "epochs", self.epochs, f"1 or more, at most {MOST_EPOCHS}")
        require(self.cohort_size >= 1, "cohort_size", self.cohort_size, "1 or more models")
        require(self.models is None or self.models >= 1, "models", self.models, "1 or more")
        size = self.population_size
        require(size <= MOST_MEMBERS, "the grid with its seeds", size, f"at most {MOST_MEMBERS} models")
        check_layers(self.layers, self.dataset.size)

    @property
    def population_size(self) -> int:
        """How many members the grid and the seeds give, whatever `models` keeps of them."""
        points = math.prod(len(getattr(self.grid, name)) for name in HYPERPARAMETERS)
        if self.drawn_seeds is not None:
            return points * self.drawn_seeds.count
        assert self.seeds is not None
        return points * (self.seeds.last - self.seeds.first + 1)

    @property
    def layers(self) -> Layers:
        """The layers of the members' networks."""
        return LAYERS[self.architecture]

    @property
    def classes(self) -> int:
        """The classes that the members' networks tell apart."""
        return self.dataset.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, C) of an image, as the members' networks take it."""
        return self.dataset.image_shape

    @property
    def digest(self) -> str:
        """SHA-256 of the spec, in hexadecimal digits: two zoos of one digest are the same zoo."""
        return digest_of(dataclasses.replace(self, **{name: getattr(ZooSpec, name) for name in OUTSIDE_DIGEST}))


OUTSIDE_DIGEST = ("cohort_size", "twins", "counts_untrained")


def spec_differences(begun: ZooSpec, wanted: ZooSpec) -> str:
    """The fields in which two specs are of different zoos, what they are and what was got; "" for the same zoo."""
    own = {name: getattr(begun, name) for name in OUTSIDE_DIGEST}
    return differences(begun, dataclasses.replace(wanted, **own))


def _settle_words(spec: Any) -> None:
    """Replaces the words that stand for a schedule and for twins."""
    if isinstance(spec.schedule, str):
        require_choices("schedule", (spec.schedule,), SCHEDULES)
        object.__setattr__(spec, "schedule", Schedule(kind=spec.schedule))
    if isinstance(spec.twins, str):
        require_choices("twins", (spec.twins,), (*METHODS, NO_TWINS))
        object.__setattr__(spec, "twins", None if spec.twins == NO_TWINS else TwinSpec(method=spec.twins))


def _check_seeds(spec: ZooSpec) -> None:
    if spec.seeds is None and spec.drawn_seeds is None:
        ways = f"seeds = {{ first = 1, last = 10 }}, or drawn_seeds = {{ count = 1, below = {SEED_LIMIT} }}"
        raise InputError(f"seeds is missing, expected {ways}", ("seeds",))
    if spec.seeds is not None and spec.drawn_seeds is not None:
        raise InputError("drawn_seeds is given beside seeds, expected one of the two", ("drawn_seeds",))


def dataset_specs(specs: Iterable[ZooSpec]) -> tuple[DatasetSpec, ...]:
    """The datasets of the zoos, each once, in the order of the zoos."""
    return tuple(dict.fromkeys(spec.dataset for spec in specs))
