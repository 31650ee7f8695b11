"""zoo.json: what a zoo is, how it is made, and what it is made with."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from jaxzoo.errors import InputError, first_line, shown
from jaxzoo.spec.form import Form, form_of_word, settled_form
from jaxzoo.spec.layer_words import words_of
from jaxzoo.spec.plan import Plan, plan_zoo, trajectory_digest
from jaxzoo.spec.points import Points
from jaxzoo.spec.stages import Stage, check_stages, only_stage
from jaxzoo.spec.tables import full_table, read_table
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.files import reason
from jaxzoo.storage.retention import KEPT_CHECKPOINTS
from jaxzoo.storage.store_paths import AnyPath

FORMAT = 2
KNOWN_FORMATS = (1, 2)
ON_FILE = ("architecture", "dataset")  # factors that tell apart what snapshots say of themselves
POINTS_FILE = "points.csv"  # of a zoo whose models are the rows of a table
NO_LICENCE = "not stated: for the maker of this zoo to fill in"


@dataclass(frozen=True, kw_only=True)
class CohortRecord:
    """How a cohort is computed, which decides the last bits of its weights.

    `form` has the hyperparameters of words that its program takes for each lane; () is a program for one kind of
    members. `lanes` counts the models side by side on a device.
    """

    engine: str
    lanes: int
    form: tuple[str, ...] = ()
    kernels: int = 1


@dataclass(frozen=True, kw_only=True)
class ImagesRecord:
    """The images of the zoo: their name and fingerprint, and the numbers per channel that normalised them.

    Records of the first format do not say the numbers.
    """

    name: str
    fingerprint: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Maker:
    """What the zoo was begun with. `settings` are those of JAX that decide bits. Format 1 says the versions alone."""

    versions: Mapping[str, str]
    platform: str | None = None
    device: str | None = None
    settings: Mapping[str, str | bool | int | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The zoo that twins were made of: its digest, and the epoch that they begin from."""

    digest: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class ZooRecord:
    """The contents of zoo.json. A zoo of twins has its parent's spec, and `twin` says how the twins were made.

    `stages` has the choices that the zoo grew by; the last one is that of the spec. `cohorts` has an entry for each
    cohort. `timed` has the training samples/s by which engine and lanes were chosen, None where they were not measured.
    `kept` has the epochs whose weights stay on disk besides the last two, None where all do; metrics stay of every
    epoch. `members` is the SHA-256 of members.msgpack, None in the first format, whose snapshots carry no identity
    either. `logits` are those of a fixed batch by the module that the networks are, which tell it from another module;
    None of networks of layers.
    """

    spec: ZooSpec
    stages: tuple[Stage, ...]
    cohorts: tuple[CohortRecord, ...]
    images: tuple[ImagesRecord, ...]
    made: Maker
    members: str | None
    timed: Mapping[str, float] | None = None
    kept: tuple[int, ...] | None = None
    twin: TwinSpec | None = None
    parent: Parent | None = None
    licence: str = NO_LICENCE
    logits: tuple[tuple[float, ...], ...] | None = None
    format: int = FORMAT

    @property
    def epochs(self) -> int:
        """The last epoch of the zoo when it is finished."""
        return self.spec.epochs if self.twin is None else self.twin.length

    def weights_expected(self, newest: int) -> set[int]:
        """The epochs whose weights are on disk once the epoch `newest` is."""
        if self.kept is None:
            return {*range(newest + 1)}
        last = range(max(0, newest + 1 - KEPT_CHECKPOINTS), newest + 1)
        return {*last, *(epoch for epoch in self.kept if epoch <= newest)}

    def metrics_expected(self, newest: int) -> set[int]:
        """The epochs whose metrics are on disk once the epoch `newest` is."""
        return {*range(newest + 1)}

    def facts(self, cohort: int) -> dict[str, Any]:
        """What decides the numbers of a cohort, by which its snapshots know their zoo."""
        way, images, key = self.cohorts[cohort], self.images[0], None
        if {*ON_FILE} & {*self.spec.declared}:  # else nothing has to be planned to know them
            key = self.plan.cohorts[cohort].key
            images = next(each for each in self.images if each.name == key.dataset.name)
        twin = {} if self.twin is None else dataclasses.asdict(self.twin.used)
        return {
            "format": FORMAT,
            "trajectory": trajectory_digest(self.spec, key),
            "images": {"fingerprint": images.fingerprint, "mean": images.mean, "std": images.std},
            "form": way.form,
            "engine": way.engine,
            "lanes": way.lanes,
            "twins": {**twin, **({} if self.parent is None else {"parent_epoch": self.parent.epoch})},
        }

    @functools.cached_property
    def plan(self) -> Plan:
        """Who is in the zoo."""
        return plan_zoo(self.spec, self.stages, self.form)

    @property
    def form(self) -> Form:
        """The hyperparameters that the members of a cohort have side by side, the same in all cohorts."""
        return self.cohorts[0].form if self.cohorts else ()

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints of the images, by the names of their data sets."""
        return {each.name: each.fingerprint for each in self.images}

    def to_json(self) -> str:
        """The text of zoo.json."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        if self.logits is None:  # zoos of layers stay as they were
            own.pop("logits")
        table = {
            "format": own.pop("format"),
            "name": self.spec.name,
            "digest": self.spec.digest,
            "trajectory": trajectory_digest(self.spec),
            "spec": _spec_table(own.pop("spec")),
            "layers": _layers_table(self.spec),
            "factors": self.spec.declared,
            **own,
        }
        return json.dumps(table, indent=2, default=json_of) + "\n"


def _spec_table(spec: ZooSpec) -> dict[str, Any]:
    """The spec as zoo.json holds it, with the hash of a table of points in the place of its text."""
    table: dict[str, Any] = full_table(spec)
    return table if spec.points is None else {**table, "points": {"sha256": spec.points.sha256}}


def _layers_table(spec: ZooSpec) -> Any:
    """The layers as zoo.json holds them: a list, or, where members differ in architecture, words by architecture."""
    if "architecture" not in spec.declared:
        return full_table(spec.layers)
    return {name: words_of(spec.layers_named(name)) for name in spec.architecture_names}


def _with_points(folder: AnyPath, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table of a spec with the text of its points, which lie beside zoo.json. Raises InputError."""
    wanted = table.get("points")
    if wanted is None:
        return table
    path = folder / POINTS_FILE
    try:
        points = Points.decode(path.read_bytes(), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected a table of models") from error
    if points.sha256 != wanted["sha256"]:
        raise InputError(f"{path}: is not the table that zoo.json names, expected it unchanged")
    return {**table, "points": {"text": points.text}}


def read_record(folder: AnyPath) -> ZooRecord:
    """The record of the zoo in a folder. Raises InputError where there is none, or one that cannot be used."""
    return record_of_table(folder / "zoo.json", read_json(folder))


def read_json(folder: AnyPath) -> dict[str, Any]:
    """The table of a zoo.json of a known format. Raises InputError where there is none."""
    path = folder / "zoo.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: holds no zoo.json, expected the folder of a zoo") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    got = table.get("format") if isinstance(table, dict) else table
    if not isinstance(table, dict) or type(got) is not int or got not in KNOWN_FORMATS:
        raise InputError(f"{path}: format is {shown(got)}, expected 1 or 2, the formats that this version reads")
    return table


def record_of_table(path: AnyPath, table: Mapping[str, Any]) -> ZooRecord:
    """The record in the table of a zoo.json. Raises InputError for one that cannot be used, and of an imported zoo."""
    if "imported" in table:
        raise InputError(f"{path}: is that of an imported zoo, expected a zoo that jaxzoo trained and can go on with")
    with damage_named(path):
        spec = read_table(_with_points(path.parent, table["spec"]), ZooSpec)
        record = _read_first(table, spec) if table["format"] == 1 else _read_second(table, spec)
    _check(path, table, record)
    return record


@contextlib.contextmanager
def damage_named(path: AnyPath) -> Iterator[None]:
    """Turns what goes wrong while a zoo.json is understood into InputError."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"{path}: is damaged: {first_line(error)}") from error


def _read_second(table: Mapping[str, Any], spec: ZooSpec) -> ZooRecord:
    return ZooRecord(spec=spec, **fields_of(ZooRecord, table))  # a TypeError names what is missing


def fields_of(kind: type[Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that the table of a zoo.json has, without the spec, in their types. Raises ValueError."""
    kinds = {each.name: each.type for each in dataclasses.fields(kind) if each.name != "spec"}
    return {name: msgspec.convert(value, kinds[name]) for name, value in table.items() if name in kinds}


def _read_first(table: Mapping[str, Any], spec: ZooSpec) -> ZooRecord:
    """The first format has one engine for all cohorts, and neither stages nor where it was made."""
    twin = table.get("twin")
    engine = table["engine"]
    way = msgspec.convert({"engine": engine["name"], "lanes": engine["lanes"]}, CohortRecord)
    settings = None if twin is None else {name: value for name, value in twin.items() if name != "parent"}
    return ZooRecord(
        spec=spec,
        stages=only_stage(spec),
        cohorts=(way,) * len(plan_zoo(spec).cohorts),
        images=(
            msgspec.convert({"name": spec.dataset.name, "fingerprint": table["dataset_fingerprint"]}, ImagesRecord),
        ),
        made=msgspec.convert({"versions": table["versions"]}, Maker),
        members=None,
        timed=msgspec.convert(engine["timed"] or None, Mapping[str, float] | None),
        kept=msgspec.convert(table.get("kept_epochs"), tuple[int, ...] | None),
        twin=None if settings is None else read_table(settings, TwinSpec),
        parent=None if twin is None else Parent(digest=spec.digest, epoch=spec.epochs),
        licence=msgspec.convert(table.get("licence", NO_LICENCE), str),  # stated since
        format=1,
    )


def _check(path: AnyPath, table: Mapping[str, Any], record: ZooRecord) -> None:
    """Raises InputError for a record whose parts do not fit each other."""
    spec = record.spec
    # the spec gives an architecture by name: a zoo whose name meant other layers must not be read as if it did
    layers = _layers_table(spec)
    derived = {"digest": spec.digest, "trajectory": trajectory_digest(spec)}
    for name in derived if record.format > 1 else ("digest",):
        if table.get(name) != derived[name]:
            raise InputError(f"{path}: {name} is {table.get(name)!r}, expected {derived[name]!r} of its spec")
    if table.get("layers", layers) != layers:  # the first zoos have none
        raise InputError(f"{path}: its layers are not those of {spec.architecture_label!r} in this version of jaxzoo")
    with damage_named(path):
        check_stages(spec, record.stages)
        form = settled_form(spec, form_of_word(record.form))
    wanted: dict[str, tuple[Any, Any]] = {
        "factors": (table.get("factors", []), [*spec.declared]),
        "parent": (None if record.parent is None else record.parent.digest, record.twin and spec.digest),
        "the number of cohorts": (len(record.cohorts), len(record.plan.cohorts)),
        "the images": ([each.name for each in record.images], [each.name for each in spec.every_dataset]),
        "the least of lanes": (min((way.lanes for way in record.cohorts), default=1) >= 1, True),
        "the form of a cohort": (next((way.form for way in record.cohorts if way.form != form), form), form),
        "logits": (record.logits is not None, spec.network is not None),
        "kept": (all(0 <= epoch <= record.epochs for epoch in record.kept or ()), True),
    }
    for name, (got, expected) in wanted.items():
        if got != expected:
            raise InputError(f"{path}: {name}: {got!r}, expected {expected!r} of its spec")


def json_of(value: Any) -> Any:
    """What JSON cannot write by itself, as a table."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return full_table(value)
    return dict(value)  # a mapping
