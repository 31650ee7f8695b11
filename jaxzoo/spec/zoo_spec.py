"""What a zoo is: frozen dataclasses that check their values when they are built."""

import dataclasses
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from jaxzoo.errors import nearest, require
from jaxzoo.spec.layers import LAYERS, Layers
from jaxzoo.spec.tables import digest_of

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "sigmoid", "silu", "gelu")
INITIALIZATIONS = ("uniform", "normal", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal")
OPTIMIZERS = ("adam", "sgd", "rms_prop")
SCHEDULES = ("constant", "one-cycle")
FITS = ("resize", "crop")
METHODS = ("variational-dropout", "magnitude")
SCOPES = ("global", "layer")
AUGMENTATIONS = ("crop", "flip", "rotation")
PRECISIONS = ("float32", "bfloat16")
NAME = r"\w[\w.-]{0,99}"
SEED_LIMIT = 2**32


def _require_choices(field: str, values: Iterable[str], known: Iterable[str]) -> None:
    known = tuple(known)
    for value in values:
        require(value in known, field, value, f"one of: {nearest(value, known)}")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """An image dataset as one architecture sees it.

    `train`, `validation` and `test` count examples. Images are brought to `size` x `size` pixels by `fit` ("resize" is
    bilinear with antialiasing, "crop" cuts out the centre) and to `channels` (1 gives luma). Images are normalised with
    `mean` and `std`, one number per channel in units of 0..1; without them both are measured on the train split.

    The images come from TensorFlow Datasets under the name `tfds` ("name", "name/config", "name:1.0.0"; without it,
    under `name`), or from the .npz files in `folder`, relative to the data directory. Train and validation examples
    are drawn from the split `train_split`. Test examples are all of `test_split`; where the two splits are one, they
    are drawn from it, too.
    """

    name: str
    classes: int
    train: int
    validation: int
    test: int
    size: int
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: str = "resize"
    tfds: str | None = None
    folder: str | None = None
    train_split: str = "train"
    test_split: str = "test"

    def __post_init__(self) -> None:
        require(self.classes >= 2, "classes", self.classes, "2 or more")
        require(self.train >= 1, "train", self.train, "1 or more examples")
        require(self.validation >= 0, "validation", self.validation, "0 or more examples")
        require(self.test >= 1, "test", self.test, "1 or more examples")
        require(self.size >= 1, "size", self.size, "1 or more pixels")
        require(self.channels in (1, 3), "channels", self.channels, "1 or 3")
        require((self.mean is None) == (self.std is None), "mean", self.mean, "both mean and std, or neither")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                require(len(values) == self.channels, name, values, f"{self.channels} numbers, one per channel")
                require(all(map(math.isfinite, values)), name, values, "finite numbers")
        require(self.std is None or min(self.std) > 0, "std", self.std, "numbers above 0")
        _require_choices("fit", (self.fit,), FITS)
        require(self.tfds is None or self.folder is None, "folder", self.folder, "either tfds or folder")
        for name in ("name", "train_split", "test_split"):
            text = getattr(self, name)
            require(re.fullmatch(NAME, text) is not None, name, text, "a name of letters, digits, _, - and dots")
        for name in ("tfds", "folder"):
            text = getattr(self, name)
            require(text is None or (text != "" and text.isprintable()), name, text, "a name")


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
        for each in dataclasses.fields(self):
            values, allowed = getattr(self, each.name), each.metadata["allowed"]
            require(len(values) > 0, each.name, list(values), "at least one value")
            require(len(set(values)) == len(values), each.name, list(values), "no value twice")
            if isinstance(allowed, Range):
                for value in values:
                    require(allowed.holds(value), each.name, value, allowed.text(each.name))
            else:
                _require_choices(each.name, values, allowed)


HYPERPARAMETERS = tuple(each.name for each in dataclasses.fields(Grid))
NUMBERS = tuple(each.name for each in dataclasses.fields(Grid) if isinstance(each.metadata["allowed"], Range))
WORDS = tuple(name for name in HYPERPARAMETERS if name not in NUMBERS)


@dataclass(frozen=True, kw_only=True)
class SeedRange:
    """The seeds `first` to `last`, both included. All grid points share them."""

    first: int
    last: int

    def __post_init__(self) -> None:
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
        _require_choices("schedule", (self.kind,), SCHEDULES)

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
    """

    method: str = "variational-dropout"
    epochs: int = 25
    sparsity: float = 0.8
    scope: str = "layer"

    def __post_init__(self) -> None:
        _require_choices("method", (self.method,), METHODS)
        require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        require(0 <= self.sparsity <= 1, "sparsity", self.sparsity, "0 <= sparsity <= 1")
        _require_choices("scope", (self.scope,), SCOPES)

    @property
    def used(self) -> "TwinSpec":
        """The settings that the method uses, the others at their defaults: specs of equal `used` make equal twins."""
        return self if self.method == "magnitude" else TwinSpec(method=self.method, epochs=self.epochs)


@dataclass(frozen=True, kw_only=True)
class ZooSpec:
    """A population: the spec and the images that it names determine every weight.

    `architecture` is a name of `jaxzoo.spec.layers.LAYERS`. `models` keeps that many of the grid's members, spread over
    the grid (see `plan_zoo`); None keeps all. `momentum` is used by sgd, and by a constant schedule. `augmentation`
    names what training images go through, in that order; every member draws it anew at each step. `precision` is what
    layers compute in; parameters are float32.

    The last three fields are no part of the zoo itself, and its digest does not depend on them: `cohort_size` is the
    most members that are trained and saved together, `twins` says how sparse twins are made unless asked otherwise,
    `counts_untrained` says whether the published number of states counts epoch 0.
    """

    name: str
    dataset: DatasetSpec
    architecture: str
    grid: Grid
    seeds: SeedRange | None = None
    drawn_seeds: SeedDraw | None = None
    momentum: float = 0.9
    schedule: Schedule = Schedule()
    augmentation: tuple[str, ...] = ()
    precision: str = "float32"
    batch_size: int = 10
    epochs: int = 50
    models: int | None = None
    cohort_size: int = 1024
    twins: TwinSpec = TwinSpec()
    counts_untrained: bool = True

    def __post_init__(self) -> None:
        require(self.name != "" and "/" not in self.name, "name", self.name, "a name without a slash")
        _require_choices("architecture", (self.architecture,), LAYERS)
        both = (self.seeds is not None) + (self.drawn_seeds is not None)
        require(both == 1, "seeds", "given twice" if both else "missing", "either seeds or drawn_seeds")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "0 <= momentum < 1")
        _require_choices("augmentation", self.augmentation, AUGMENTATIONS)
        _require_choices("precision", (self.precision,), PRECISIONS)
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more images")
        limit = self.dataset.train
        require(self.batch_size <= limit, "batch_size", self.batch_size, f"at most the {limit} training images")
        require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        require(self.cohort_size >= 1, "cohort_size", self.cohort_size, "1 or more models")
        require(self.models is None or self.models >= 1, "models", self.models, "1 or more")

    @property
    def layers(self) -> Layers:
        """The layers of the members' networks."""
        return LAYERS[self.architecture]

    @property
    def digest(self) -> str:
        """SHA-256 of the spec, in hexadecimal digits: two zoos of one digest are the same zoo."""
        return digest_of(dataclasses.replace(self, **{name: getattr(ZooSpec, name) for name in OUTSIDE_DIGEST}))


OUTSIDE_DIGEST = ("cohort_size", "twins", "counts_untrained")


def dataset_specs(specs: Iterable[ZooSpec]) -> tuple[DatasetSpec, ...]:
    """The datasets of the zoos, each once, in the order of the zoos."""
    return tuple(dict.fromkeys(spec.dataset for spec in specs))


def same_name(dataset: str, given: str) -> bool:
    """Whether a dataset has the given name, where hyphens and underscores count as equal."""
    return dataset.replace("-", "_") == given.replace("-", "_")
