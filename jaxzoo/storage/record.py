"""zoo.json: what a zoo is, how it is made, and what it is made with."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from jaxzoo.errors import InputError, shown
from jaxzoo.spec.plan import Plan, plan_zoo, trajectory_digest
from jaxzoo.spec.tables import full_table, read_table
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec

FORMAT = 2
KNOWN_FORMATS = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A choice of members and epochs. A zoo that grows has several: only these may grow.

    `models` is None for all that the grid gives. `last_seed` is that of a range, `seed_count` that of a draw.
    """

    models: int | None
    epochs: int
    last_seed: int | None
    seed_count: int | None


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

    `cohorts` has an entry for each cohort. `timed` has the training samples/s by which engine and lanes were chosen,
    None where they were not measured. `kept` has the epochs whose weights stay on disk besides the last two, None
    where all do; metrics stay of every epoch. `members` is the SHA-256 of members.msgpack, None in the first format,
    whose snapshots carry no identity either.
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
    format: int = FORMAT

    @property
    def epochs(self) -> int:
        """The last epoch of the zoo when it is finished."""
        return self.spec.epochs if self.twin is None else self.twin.length

    @functools.cached_property
    def plan(self) -> Plan:
        """Who is in the zoo."""
        return plan_zoo(self.spec)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the images."""
        return self.images[0].fingerprint

    def to_json(self) -> str:
        """The text of zoo.json."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        table = {
            "format": own.pop("format"),
            "name": self.spec.name,
            "digest": self.spec.digest,
            "trajectory": trajectory_digest(self.spec),
            "spec": dataclasses.asdict(own.pop("spec")),
            "layers": full_table(self.spec.layers),
            "factors": [],  # hyperparameters that a spec declares besides those of every zoo
            **own,
            "licence": "not stated: for the maker of this zoo to fill in",
        }
        return json.dumps(table, indent=2, default=_json_of) + "\n"


def only_stage(spec: ZooSpec) -> tuple[Stage, ...]:
    """The stages of a zoo that has not grown."""
    return (
        Stage(
            models=spec.models,
            epochs=spec.epochs,
            last_seed=None if spec.seeds is None else spec.seeds.last,
            seed_count=None if spec.drawn_seeds is None else spec.drawn_seeds.count,
        ),
    )


def read_record(folder: Path) -> ZooRecord:
    """The record of the zoo in a folder. Raises InputError where there is none, or one that cannot be used."""
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
    try:
        spec = read_table(table["spec"], ZooSpec)
        record = _read_first(table, spec) if got == 1 else _read_second(table, spec)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"{path}: is damaged: {(str(error).splitlines() or ['?'])[0]}") from error
    _check(path, table, record)
    return record


def _read_second(table: Mapping[str, Any], spec: ZooSpec) -> ZooRecord:
    names = {each.name for each in dataclasses.fields(ZooRecord)}
    own = {name: value for name, value in table.items() if name in names and name != "spec"}
    kinds = {each.name: each.type for each in dataclasses.fields(ZooRecord)}
    values = {name: msgspec.convert(value, kinds[name]) for name, value in own.items()}
    return ZooRecord(spec=spec, **values)  # a TypeError names what is missing


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
        format=1,
    )


def _check(path: Path, table: Mapping[str, Any], record: ZooRecord) -> None:
    """Raises InputError for a record whose parts do not fit each other."""
    spec = record.spec
    # the spec gives an architecture by name: a zoo whose name meant other layers must not be read as if it did
    layers = full_table(spec.layers)
    derived = {"digest": spec.digest, "trajectory": trajectory_digest(spec)}
    for name in derived if record.format > 1 else ("digest",):
        if table.get(name) != derived[name]:
            raise InputError(f"{path}: {name} is {table.get(name)!r}, expected {derived[name]!r} of its spec")
    if table.get("layers", layers) != layers:  # the first zoos have none
        raise InputError(f"{path}: its layers are not those of {spec.architecture!r} in this version of jaxzoo")
    wanted = {
        "stages": (record.stages, only_stage(spec)),
        "factors": (table.get("factors", []), []),
        "parent": (None if record.parent is None else record.parent.digest, record.twin and spec.digest),
        "the number of cohorts": (len(record.cohorts), len(record.plan.cohorts)),
        "the number of images": (len(record.images), 1),
        "the least of lanes": (min((way.lanes for way in record.cohorts), default=1) >= 1, True),
        "kept": (all(0 <= epoch <= record.epochs for epoch in record.kept or ()), True),
    }
    for name, (got, expected) in wanted.items():
        if got != expected:
            raise InputError(f"{path}: {name}: {got!r}, expected {expected!r} of its spec")


def _json_of(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return dict(value)  # a mapping
