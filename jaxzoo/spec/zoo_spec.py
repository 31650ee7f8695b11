"""What a zoo is: frozen dataclasses that check their values when they are built."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxzoo.errors import InputError, require
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.fields import require_choices, require_name, settle_fields
from jaxzoo.spec.layers import LAYERS, Layers, check_layers
from jaxzoo.spec.tables import differences, digest_of

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "sigmoid", "silu", "gelu")
INITIALIZATIONS = ("uniform", "normal", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal")
OPTIMIZERS = ("adam", "sgd", "rms_prop")
SCHEDULES = ("constant", "one-cycle")
METHODS = ("variational-dropout", "magnitude")
NO_TWINS = "none"
TWIN_EPOCHS = 25  # the original's
SCOPES = ("global", "layer")
AUGMENTATIONS = ("crop", "flip", "rotation")
PRECISIONS = ("float32", "bfloat16")
ZOO_NAME = r"\w[\w .+-]*"  # a file's name, too
MOST_MEMBERS, MOST_EPOCHS = 10**6, 10**6
SEED_LIMIT = 2**32
NOISE_VALUES = 2**16  # dropout compares its rate with 16 random bits (see jaxzoo.models.networks.drop_out)


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; an end that is not `included` is left out."""

    low: float
    high: float
    included: tuple[bool, bool] = (True, True)

    def holds(self, value: float) -> bool:
        """Whether the number is one of them."""
        above = self.low <= value if self.included[0] else self.low < value
        below = value <= self.high if self.included[1] else value < self.high
        return above and below

    def text(self, name: str) -> str:
        """The condition in words, such as 0 <= dropout < 1."""
        signs = ["<=" if included else "<" for included in self.included]
        return f"{self.low} {signs[0]} {name} {signs[1]} {self.high}"


def hyperparameter(allowed: tuple[str, ...] | Range) -> dict[str, tuple[str, ...] | Range]:
    """The metadata of a field of `Grid`: the words, or the numbers, that it takes."""
    return {"allowed": allowed}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The hyperparameters of a zoo: every combination of these values is a grid point, with a member for each seed.

    This is the one list of hyperparameters. Members, the tables of readers and the targets of probes are made from it.
    A hyperparameter that is added later needs a default of one value, which every zoo made before has.
    """

    activation: tuple[str, ...] = field(metadata=hyperparameter(ACTIVATIONS))
    initialization: tuple[str, ...] = field(metadata=hyperparameter(INITIALIZATIONS))
    dropout: tuple[float, ...] = field(default=(0.0,), metadata=hyperparameter(Range(0, 1, (True, False))))
    optimizer: tuple[str, ...] = field(metadata=hyperparameter(OPTIMIZERS))
    learning_rate: tuple[float, ...] = field(metadata=hyperparameter(Range(0, 100, (False, True))))
    weight_decay: tuple[float, ...] = field(default=(0.0,), metadata=hyperparameter(Range(0, 100)))

    def __post_init__(self) -> None:
        settle_fields(self)
        for each in dataclasses.fields(self):
            values, allowed = getattr(self, each.name), each.metadata["allowed"]
            require(len(values) > 0, each.name, list(values), "at least one value")
            require(len(set(values)) == len(values), each.name, list(values), "no value twice")
            if isinstance(allowed, Range):
                for value in values:
                    require(allowed.holds(value), each.name, value, allowed.text(each.name))
            else:
                require_choices(each.name, values, allowed)
        for rate in self.dropout:
            wanted = "at most 0.9999923: with more, 16 random bits drop every unit"
            require(_keeps_some(rate), "dropout", rate, wanted)


def _keeps_some(rate: float) -> bool:
    """Whether dropout at this rate keeps any of the random numbers, in the arithmetic of the device: float32."""
    return bool(np.round(np.float32(rate) * np.float32(NOISE_VALUES)) < NOISE_VALUES)


HYPERPARAMETERS = tuple(each.name for each in dataclasses.fields(Grid))
NUMBERS = tuple(each.name for each in dataclasses.fields(Grid) if isinstance(each.metadata["allowed"], Range))
WORDS = tuple(name for name in HYPERPARAMETERS if name not in NUMBERS)


@dataclass(frozen=True, kw_only=True)
class SeedRange:
    """The seeds `first` to `last`, both included. All grid points share them."""

    first: int
    last: int

    def __post_init__(self) -> None:
        settle_fields(self)
        require(0 <= self.first < SEED_LIMIT, "first", self.first, f"0 <= first < {SEED_LIMIT}")
        require(
            self.first <= self.last < SEED_LIMIT,
            "last",
            self.last,
            f"{self.first} or more, below {SEED_LIMIT}",
        )


@dataclass(frozen=True, kw_only=True)
class SeedDraw:
    """`count` different seeds in 0..`below`-1 for each grid point, derived from the grid point's values."""

    count: int
    below: int

    def __post_init__(self) -> None:
        settle_fields(self)
        require(self.count >= 1, "count", self.count, "1 or more seeds")
        require(self.count <= self.below <= SEED_LIMIT, "below", self.below, f"{self.count} to {SEED_LIMIT}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves: `constant`, or `one-cycle` with the grid's learning rate as its peak.

    One cycle spans all steps of a zoo, or all steps of its twins. The momentum moves the other way round (see
    jaxzoo.training.schedules).
    """

    kind: str = "constant"

    def __post_init__(self) -> None:
        settle_fields(self)
        require_choices("kind", (self.kind,), SCHEDULES)

    @property
    def depends_on_length(self) -> bool:
        """Whether the rate at a step depends on how many epochs there are."""
        return self.kind != "constant"


@dataclass(frozen=True, kw_only=True)
class TwinSpec:
    """How sparse twins are made of a zoo: `method` is "variational-dropout" or "magnitude".

    Magnitude pruning reaches `sparsity` (zero weights of all weights) half-way through the epochs and keeps those
    weights at zero. It takes the smallest weights of each layer (`scope` "layer"), or of all layers of a member
    together ("global", which empties most of a layer that was initialised small). Variational dropout uses neither.

    Without `epochs` twins have those of their zoo's spec, or 25, and no more than their zoo if a call cut that short.
    """

    method: str = "variational-dropout"
    epochs: int | None = None
    sparsity: float = 0.8
    scope: str = "layer"

    def __post_init__(self) -> None:
        settle_fields(self)
        require_choices("method", (self.method,), METHODS)
        require(1 <= self.length <= MOST_EPOCHS, "epochs", self.epochs, f"1 or more, at most {MOST_EPOCHS}")
        require(0 <= self.sparsity <= 1, "sparsity", self.sparsity, "0 <= sparsity <= 1")
        require_choices("scope", (self.scope,), SCOPES)

    @property
    def length(self) -> int:
        """How many epochs twins are made by: as said, else 25."""
        return TWIN_EPOCHS if self.epochs is None else self.epochs

    @property
    def used(self) -> "TwinSpec":
        """The settings that the method uses, the others at their defaults: specs of equal `used` make equal twins."""
        twin = dataclasses.replace(self, epochs=self.length)
        return twin if self.method == "magnitude" else TwinSpec(method=self.method, epochs=self.length)


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
