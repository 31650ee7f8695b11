"""What a zoo is: frozen dataclasses that check their values when they are built."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.dataset_spec import SPLITS, DatasetSpec
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.factors import check_factors
from jaxzoo.spec.fields import LATER, require_choices, require_name, settle_fields
from jaxzoo.spec.grid import FACTORS, HYPERPARAMETERS, Grid
from jaxzoo.spec.layers import LAYERS, Layers
from jaxzoo.spec.module import FlaxModule, ModuleLayer
from jaxzoo.spec.naming import check_architectures, settle_names
from jaxzoo.spec.needs import check_words
from jaxzoo.spec.optimizer import CYCLED
from jaxzoo.spec.outputs import Outputs, read_outputs_spec
from jaxzoo.spec.pairs import Vary
from jaxzoo.spec.parameters import given_parameters
from jaxzoo.spec.points import Points
from jaxzoo.spec.schedule import SCHEDULES, Schedule
from jaxzoo.spec.seeds import SEED_LIMIT, SeedDraw, SeedRange
from jaxzoo.spec.snapshots import Snapshots
from jaxzoo.spec.tables import differences, digest_of
from jaxzoo.spec.twin_spec import METHODS, MOST_EPOCHS, NO_TWINS, TwinSpec

AUGMENTATIONS = ("crop", "flip", "rotation")
PRECISIONS = ("float32", "bfloat16")
ZOO_NAME = r"\w[\w .+-]*"  # a file's name, too
MOST_MEMBERS = 10**6


@dataclass(frozen=True, kw_only=True)
class ZooSpec:
    """A population: the spec and the images that it names determine every weight.

    `architecture` is a name of `jaxzoo.spec.layers.LAYERS`, or an `Architecture`. Members that differ in architecture
    have it among their hyperparameters instead, and `architectures` says what the names mean that are not built in. In
    the same way `datasets` has those that members name beside the `dataset`; all are of one shape. What no member names
    is left out of both. Where the network is a Flax module, that is given to `generate`, which describes it in
    `network`; the architecture is then the module's name.

    The members' hyperparameters come from a `grid`, from `draws` or from a table of `points`: one of the three. A
    grid needs `seeds` or `drawn_seeds`. Draws have a seed each unless one of these says more, and a table has its
    own. `vary` gives every member partners that differ from it in one thing. `models` keeps that many members (see
    `plan_zoo`), partners aside; None keeps all. `momentum` is that of sgd where it has none of its own; one-cycle
    moves another in its stead. `augmentation` names what training images go through, in that order; every member
    draws it anew at each step. `precision` is what layers compute in; parameters are float32.

    `snapshots` says which steps within epochs are kept, and `outputs` what is kept of the networks' outputs; no weight
    depends on either. Both are None where nothing is.

    The last three fields are no part of the zoo itself, and its digest does not depend on them: `cohort_size` is the
    most members that are trained and saved together, `twins` says how sparse twins are made unless asked otherwise
    (None: not at all), `counts_untrained` says whether the published number of states counts epoch 0.

    A word will do for `schedule` (its kind) and for `twins` (a method, or "none"), and a list of splits for `outputs`.
    """

    name: str
    dataset: DatasetSpec
    datasets: tuple[DatasetSpec, ...] = field(default=(), metadata=LATER)
    architecture: str | None = field(default=None, metadata={"allowed": tuple(LAYERS)})
    architectures: tuple[Architecture, ...] = field(default=(), metadata=LATER)
    network: FlaxModule | None = field(default=None, metadata=LATER)
    grid: Grid | None = None
    draws: Draws | None = field(default=None, metadata=LATER)
    points: Points | None = field(default=None, metadata=LATER)
    vary: tuple[Vary, ...] = field(default=(), metadata=LATER)
    seeds: SeedRange | None = None
    drawn_seeds: SeedDraw | None = None
    momentum: float = 0.9
    schedule: Schedule = field(default=Schedule(), metadata={"allowed": SCHEDULES})
    augmentation: tuple[str, ...] = ()
    precision: str = "float32"
    batch_size: int = 10
    epochs: int = 50
    models: int | None = None
    snapshots: Snapshots | None = field(default=None, metadata=LATER)
    outputs: Outputs | None = field(default=None, metadata={"allowed": SPLITS, **LATER})
    cohort_size: int = 1024
    twins: TwinSpec | None = field(default=TwinSpec(), metadata={"allowed": (*METHODS, NO_TWINS)})
    counts_untrained: bool = True

    def __post_init__(self) -> None:
        _settle_words(self)
        settle_fields(self)
        require_name("name", self.name, ZOO_NAME, "letters, digits, spaces, _, -, + and dots, not with a dot first")
        _check_source(self)
        settle_names(self)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "0 <= momentum < 1")
        require_choices("augmentation", self.augmentation, AUGMENTATIONS)
        require(len(self.augmentation) <= 100, "augmentation", self.augmentation, "at most 100 names")
        require_choices("precision", (self.precision,), PRECISIONS)
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more images")
        require(1 <= self.epochs <= MOST_EPOCHS, "epochs", self.epochs, f"1 or more, at most {MOST_EPOCHS}")
        require(self.cohort_size >= 1, "cohort_size", self.cohort_size, "1 or more models")
        require(self.models is None or self.models >= 1, "models", self.models, "1 or more")
        _check_outputs(self)
        size = self.population_size * (1 + len(self.vary))
        require(size <= MOST_MEMBERS, "the grid with its seeds", size, f"at most {MOST_MEMBERS} models")
        check_factors(self)
        if self.names_architecture:
            check_architectures(self)
            check_words(self)
        _check_optimizers(self)
        _check_warmup(self)

    @property
    def source(self) -> Grid | Draws | Points:
        """Where the hyperparameters of members come from."""
        source = self.grid or self.draws or self.points
        assert source is not None
        return source

    @property
    def declared(self) -> tuple[str, ...]:
        """The factors that members have beside the hyperparameters of every zoo, in the order of `FACTORS`."""
        names = {*self.source.declared, *(each.factor for each in self.vary)}
        return tuple(name for name in FACTORS if name in names)

    def values(self, name: str) -> tuple[Any, ...]:
        """What members may have as a hyperparameter: its values, or the ends of the range that it is drawn from."""
        varied = tuple(each.typed_value for each in self.vary if each.factor == name)
        known = name in HYPERPARAMETERS or name in self.source.declared
        return (*(self.source.values(name) if known else ()), *varied)

    @property
    def population_size(self) -> int:
        """How many members the spec gives, whatever `models` keeps of them, without partners."""
        if self.seeds is not None:
            return self.source.size * (self.seeds.last - self.seeds.first + 1)
        return self.source.size * (1 if self.drawn_seeds is None else self.drawn_seeds.count)

    @property
    def layers(self) -> Layers:
        """The layers of the members' networks. Raises InputError where members differ in them, or nothing says them."""
        names = self.architecture_names
        if len(names) > 1:
            raise InputError(f"zoo {self.name!r}: has {len(names)} architectures, expected one: zoo.groups has each")
        return self.layers_named(names[0])

    @property
    def names_architecture(self) -> bool:
        """Whether it says what the networks are: not where the module is still to come."""
        return self.architecture is not None or "architecture" in self.source.declared

    @property
    def architecture_names(self) -> tuple[str, ...]:
        """The names of the architectures that members have. Raises InputError where nothing says them."""
        if self.architecture is not None:
            return (self.architecture,)
        if not self.names_architecture:
            known = f"one of: {', '.join(LAYERS)}; or generate(..., network=MyModule())"
            raise InputError(f"architecture is missing, expected {known}", ("architecture",))
        return self.source.values("architecture")

    @property
    def architecture_label(self) -> str:
        """A text to read: the architecture, or how many there are."""
        names = self.architecture_names
        return names[0] if len(names) == 1 else f"{len(names)} architectures"

    def layers_named(self, name: str) -> Layers:
        """The layers of one of its architectures."""
        if self.network is not None:
            return (ModuleLayer(self.network),)
        own = {each.name: each.layers for each in self.architectures}
        chains = self.draws.chains if self.draws is not None else {}
        return own[name] if name in own else chains[name] if name in chains else LAYERS[name]

    def layers_of(self, point: Mapping[str, Any]) -> Layers:
        """The layers of a member that has these hyperparameters."""
        own = point.get("architecture")
        return self.layers if own is None else self.layers_named(own)

    @property
    def every_dataset(self) -> tuple[DatasetSpec, ...]:
        """The data sets that members are trained on."""
        return (self.dataset, *self.datasets)

    def dataset_of(self, point: Mapping[str, Any]) -> DatasetSpec:
        """The data set of a member that has these hyperparameters."""
        name = point.get("dataset", self.dataset.name)
        return next(dataset for dataset in self.every_dataset if dataset.name == name)

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


OPTIMIZER = ("grid", "optimizer")  # the path of the field
OUTSIDE_DIGEST = ("cohort_size", "twins", "counts_untrained")


def spec_differences(begun: ZooSpec, wanted: ZooSpec) -> str:
    """The fields in which two specs are of different zoos, what they are and what was got; "" for the same zoo."""
    own = {name: getattr(begun, name) for name in OUTSIDE_DIGEST}
    return differences(begun, dataclasses.replace(wanted, **own))


def _settle_words(spec: Any) -> None:
    """Replaces the words that stand for a schedule, for twins and for outputs, and an architecture by its name."""
    if isinstance(spec.architecture, Architecture):
        object.__setattr__(spec, "architectures", (*spec.architectures, spec.architecture))
        object.__setattr__(spec, "architecture", spec.architecture.name)
    if isinstance(spec.schedule, str):
        require_choices("schedule", (spec.schedule,), SCHEDULES)
        with _inside("schedule"):
            object.__setattr__(spec, "schedule", Schedule(kind=spec.schedule))
    if isinstance(spec.twins, str):
        require_choices("twins", (spec.twins,), (*METHODS, NO_TWINS))
        object.__setattr__(spec, "twins", None if spec.twins == NO_TWINS else TwinSpec(method=spec.twins))
    if isinstance(spec.outputs, str | list | tuple):
        object.__setattr__(spec, "outputs", read_outputs_spec(spec.outputs))


def _check_outputs(spec: ZooSpec) -> None:
    if spec.outputs is None:
        return
    for split in spec.outputs.splits:
        require(getattr(spec.dataset, split) > 0, "outputs.splits", split, f"a split with examples: {split} is empty")
    for epoch in () if isinstance(spec.outputs.epochs, str) else spec.outputs.epochs:
        require(epoch <= spec.epochs, "outputs.epochs", epoch, f"epochs of 0..{spec.epochs}")


@contextlib.contextmanager
def _inside(name: str) -> Iterator[None]:
    """Turns what is wrong with a field's value into what is wrong with the field."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}.{error}", (name, *error.path)) from error


def _check_optimizers(spec: ZooSpec) -> None:
    """Raises InputError for a parameter that changes nothing: two grid points would be the same members."""
    optimizers = spec.source.optimizers
    for optimizer in optimizers:
        for name, value in given_parameters(optimizer).items():
            if spec.schedule.moves_momentum and name in CYCLED:
                got = f"{name} of {optimizer.label} is {value}"
                raise InputError(f"grid.optimizer: {got}, expected none: one-cycle moves it", OPTIMIZER)
        doubled = dataclasses.replace(optimizer, momentum=None)
        if optimizer.momentum == spec.momentum and doubled in optimizers:
            got = f"{optimizer.label} beside {doubled.label}"
            wanted = f"no optimizer twice: the zoo's momentum is {spec.momentum}"
            raise InputError(f"grid.optimizer is {got}, expected {wanted}", OPTIMIZER)


def _check_warmup(spec: ZooSpec) -> None:
    """Raises InputError where the warm-up leaves nothing of the zoo's epochs."""
    warmup = spec.schedule.values.get("warmup", 0.0)
    if warmup >= spec.epochs:
        wanted = f"less than the {spec.epochs} epochs of the zoo"
        raise InputError(f"schedule.warmup is {warmup}, expected {wanted}", ("schedule", "warmup"))


def _check_source(spec: ZooSpec) -> None:
    """Raises InputError unless there is one source of hyperparameters, with the seeds that it needs."""
    given = [name for name in ("grid", "draws", "points") if getattr(spec, name) is not None]
    if len(given) != 1:
        needed = "a table of activation, initialization, optimizer, learning_rate; or draws, or points"
        got = f"{given[1]} is given beside {given[0]}, expected one of the two" if given else ""
        raise InputError(got or f"grid is missing, expected {needed}", (given[1] if given else "grid",))
    if spec.seeds is not None and spec.drawn_seeds is not None:
        raise InputError("drawn_seeds is given beside seeds, expected one of the two", ("drawn_seeds",))
    seeded = "seeds" if spec.seeds is not None else "drawn_seeds"
    if spec.points is not None and (spec.seeds or spec.drawn_seeds) is not None:
        raise InputError(f"{seeded} is given beside points, whose column seed says it; expected none", (seeded,))
    if spec.grid is not None and (spec.seeds or spec.drawn_seeds) is None:
        ways = f"seeds = {{ first = 1, last = 10 }}, or drawn_seeds = {{ count = 1, below = {SEED_LIMIT} }}"
        raise InputError(f"seeds is missing, expected {ways}", ("seeds",))


def dataset_specs(specs: Iterable[ZooSpec]) -> tuple[DatasetSpec, ...]:
    """The datasets of the zoos, each once, in the order of the zoos."""
    return tuple(dict.fromkeys(dataset for spec in specs for dataset in spec.every_dataset))
