"""What a zoo is: frozen, validated where it is born."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from jaxzoo.errors import InputError, nearest

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "sigmoid", "silu", "gelu")
INITIALIZATIONS = (
    "uniform",
    "normal",
    "kaiming_uniform",
    "kaiming_normal",
    "xavier_uniform",
    "xavier_normal",
)
OPTIMIZERS = ("adam", "sgd", "rms_prop")
SCHEDULES = ("constant", "one-cycle")
FITS = ("resize", "crop")
NAME = r"\w[\w.-]{0,99}"
METHODS = ("variational-dropout", "magnitude")
SCOPES = ("global", "layer")
ARCHITECTURES = ("cnn-s", "cnn-l", "resnet-18", "resnet-18-narrow")
AUGMENTATIONS = ("crop", "flip", "rotation")
PRECISIONS = ("float32", "bfloat16")
SEED_LIMIT = 2**32


def require(holds: bool, field: str, got: object, wanted: str) -> None:
    """Raises InputError unless it holds."""
    if not holds:
        raise InputError(f"{field} is {got!r}, expected {wanted}")


def _require_choices(field: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    for value in values:
        require(value in known, field, value, f"one of: {nearest(value, known)}")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """An image dataset as one architecture sees it.

    `train`, `validation` and `test` count examples; images are brought to `size` x `size` pixels by `fit` (`resize`,
    bilinear with antialiasing, or `crop`, the centre) and to `channels` (1: luma). `mean` and `std`, one number per
    channel in units of 0..1, are what images are normalised with; without them both are measured on the train split.

    The images come from the dataset `tfds` of TensorFlow Datasets ("name", "name/config", "name:1.0.0"; without it the
    one called `name`), or from the .npz files in `folder`, relative to the data directory. Train and validation
    examples are drawn from its split `train_split`, test examples are all of `test_split`, or drawn from the same
    split where both are one.
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
        for field, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                require(len(values) == self.channels, field, values, f"{self.channels} numbers, one per channel")
                require(all(map(math.isfinite, values)), field, values, "finite numbers")
        require(self.std is None or min(self.std) > 0, "std", self.std, "numbers above 0")
        _require_choices("fit", (self.fit,), FITS)
        require(self.tfds is None or self.folder is None, "folder", self.folder, "either tfds or folder")
        for field in ("name", "train_split", "test_split"):
            value = getattr(self, field)
            require(re.fullmatch(NAME, value) is not None, field, value, "a name of letters, digits, _, - and dots")
        for field in ("tfds", "folder"):
            value = getattr(self, field)
            require(value is None or (value != "" and value.isprintable()), field, value, "a name")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every combination of these values is a grid point; a grid point gets a member per seed."""

    activation: tuple[str, ...]
    initialization: tuple[str, ...]
    dropout: tuple[float, ...] = (0.0,)
    optimizer: tuple[str, ...]
    learning_rate: tuple[float, ...]
    weight_decay: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            require(len(values) > 0, field.name, list(values), "at least one value")
            require(len(set(values)) == len(values), field.name, list(values), "no value twice")
        _require_choices("activation", self.activation, ACTIVATIONS)
        _require_choices("initialization", self.initialization, INITIALIZATIONS)
        _require_choices("optimizer", self.optimizer, OPTIMIZERS)
        for rate in self.dropout:
            require(0 <= rate < 1, "dropout", rate, "0 <= dropout < 1")
        for rate in self.learning_rate:
            require(0 < rate <= 100, "learning_rate", rate, "0 < learning_rate <= 100")
        for decay in self.weight_decay:
            require(0 <= decay <= 100, "weight_decay", decay, "0 <= weight_decay <= 100")


@dataclass(frozen=True, kw_only=True)
class SeedRange:
    """The seeds `first` to `last`, both included, shared by all grid points."""

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
    """`count` different seeds in 0..`below`-1 for each grid point, its own ones, derived from the grid point."""

    count: int
    below: int

    def __post_init__(self) -> None:
        require(self.count >= 1, "count", self.count, "1 or more seeds")
        require(self.count <= self.below <= SEED_LIMIT, "below", self.below, f"{self.count} to {SEED_LIMIT}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves: `constant`, or `one-cycle` with the grid's learning rate as its peak.

    One cycle over all steps of a zoo, or of its twins, with the momentum the other way round (see jaxzoo.schedules).
    """

    kind: str = "constant"

    def __post_init__(self) -> None:
        _require_choices("schedule", (self.kind,), SCHEDULES)


@dataclass(frozen=True, kw_only=True)
class TwinSpec:
    """How sparse twins are made of a zoo: `method` is "variational-dropout" or "magnitude".

    Magnitude pruning comes to `sparsity` (zero weights of all weights) half-way and keeps the smallest weights at zero,
    of each layer (`scope` "layer") or over all of a member's weights ("global", which takes most of a layer that was
    initialised small); variational dropout knows neither.
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
        """The same with what the method does not use at its default: two of one `used` make the same twins."""
        return self if self.method == "magnitude" else TwinSpec(method=self.method, epochs=self.epochs)


@dataclass(frozen=True, kw_only=True)
class ZooSpec:
    """A population: the spec alone, with the images it names, determines every weight of it.

    `models` keeps that many of the grid's members, spread over the grid (see `plan_zoo`); None keeps all.
    `momentum` is used by sgd alone, and by a constant schedule. `augmentation` names what training images go through,
    in that order, drawn by every member anew at each step. `precision` is what layers compute in; parameters are
    float32. `cohort_size` is the most members that are trained and saved together, and `twins` is how sparse twins are
    made unless asked otherwise: neither is a part of the zoo itself.
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

    def __post_init__(self) -> None:
        require(self.name != "" and "/" not in self.name, "name", self.name, "a name without a slash")
        _require_choices("architecture", (self.architecture,), ARCHITECTURES)
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
    def digest(self) -> str:
        """SHA-256 of the spec, in hexadecimal digits: two zoos of one digest are the same zoo.

        A field at its default does not count, so that a later field leaves the digests of earlier zoos as they are.
        """
        changed = _changed_fields(dataclasses.replace(self, cohort_size=ZooSpec.cohort_size, twins=ZooSpec.twins))
        text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _changed_fields(value: Any) -> Any:
    """The fields of a dataclass that are not at their default, by name."""
    if not dataclasses.is_dataclass(value):
        return value
    return {
        field.name: _changed_fields(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    }


def spec_from_dict(table: dict[str, Any]) -> ZooSpec:
    """The spec of `dataclasses.asdict(spec)`, also after a way through JSON. Raises InputError."""
    return _convert(table, ZooSpec)


def dataset_specs(specs: Iterable[ZooSpec]) -> tuple[DatasetSpec, ...]:
    """The datasets of those zoos, each once, in their order."""
    return tuple(dict.fromkeys(spec.dataset for spec in specs))


def same_name(dataset: str, given: str) -> bool:
    """Whether a dataset's name is the given one, with hyphens for underscores or the other way round."""
    return dataset.replace("-", "_") == given.replace("-", "_")


def _convert(table: dict[str, Any], kind: type[Any]) -> Any:
    _refuse_unknown_keys(table, kind, "")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise InputError(str(error).replace("`$.", "`")) from error


def _refuse_unknown_keys(table: dict[str, Any], kind: type[Any], where: str) -> None:
    known = {field.name: field.type for field in dataclasses.fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise InputError(f"unknown key {where + key!r}, expected one of: {nearest(key, known)}")
        inner = _dataclass_in(known[key])
        if inner is not None and isinstance(value, dict):
            _refuse_unknown_keys(value, inner, f"{where}{key}.")


def _dataclass_in(annotation: Any) -> type[Any] | None:
    """The dataclass of an annotation such as `Grid` or `SeedRange | None`."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((kind for kind in candidates if isinstance(kind, type) and dataclasses.is_dataclass(kind)), None)
