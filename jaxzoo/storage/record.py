"""What describes a zoo on disk, and the folders of its parts.

zoo.json, members.msgpack, README.md    what the zoo is and who is in it
cohorts/000/                            the snapshots of each cohort (cohort_store.py)
twins/<method>/                         the sparse twins: a zoo of the same layout
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from jaxzoo.errors import InputError
from jaxzoo.spec.plan import Member, Plan
from jaxzoo.spec.tables import full_table, read_table
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec

FORMAT = 1
UNUSABLE = "[\\"  # Orbax finds the parts of a checkpoint by a glob pattern, in which these do not mean themselves
OWN_NAMES = frozenset({"zoo.json", "members.msgpack", "README.md", "cohorts", "twins"})


@dataclass(frozen=True, kw_only=True)
class ZooRecord:
    """The contents of zoo.json.

    `engine` and `lanes`, the models side by side on a device, decide the last bits of every weight. `timed` has the
    training samples/s by which the two were chosen, None where they were not measured. `fingerprint` is that of the
    images. `kept` has the epochs that stay on disk besides the last two, None where all do. A zoo of twins has its
    parent's spec, and `twin` says how the twins were made.
    """

    spec: ZooSpec
    engine: str
    lanes: int
    timed: Mapping[str, float] | None = None
    fingerprint: str
    versions: Mapping[str, str]
    kept: tuple[int, ...] | None = None
    twin: TwinSpec | None = None

    @property
    def epochs(self) -> int:
        """The last epoch of the zoo when it is finished."""
        return self.spec.epochs if self.twin is None else self.twin.epochs

    def to_json(self) -> str:
        """The text of zoo.json."""
        table = {
            "format": FORMAT,
            "name": self.spec.name,
            "digest": self.spec.digest,
            "spec": dataclasses.asdict(self.spec),
            "layers": full_table(self.spec.layers),
            "engine": {"name": self.engine, "lanes": self.lanes, "timed": dict(self.timed or {})},
            "dataset_fingerprint": self.fingerprint,
            "kept_epochs": None if self.kept is None else list(self.kept),
            "versions": dict(self.versions),
            "twin": None if self.twin is None else {"parent": self.spec.digest, **dataclasses.asdict(self.twin)},
            "licence": "not stated: for the maker of this zoo to fill in",
        }
        return json.dumps(table, indent=2) + "\n"


def read_record(folder: Path) -> ZooRecord:
    """The record of the zoo in a folder. Raises InputError where there is none, or one that cannot be used."""
    path = folder / "zoo.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: holds no zoo.json, expected the folder of a zoo") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        got = table.get("format") if isinstance(table, dict) else table
        raise InputError(f"{path}: format is {got!r}, expected {FORMAT}, the format of this version of jaxzoo")
    try:
        record = ZooRecord(
            spec=read_table(table["spec"], ZooSpec),
            engine=table["engine"]["name"],
            lanes=table["engine"]["lanes"],
            timed=table["engine"]["timed"] or None,
            fingerprint=table["dataset_fingerprint"],
            versions=table["versions"],
            kept=None if table.get("kept_epochs") is None else tuple(map(int, table["kept_epochs"])),
            twin=_read_twin(table.get("twin")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is damaged: {error}") from error
    _check_spec(path, table, record.spec)
    return record


def _check_spec(path: Path, table: Mapping[str, Any], spec: ZooSpec) -> None:
    """The spec gives an architecture by name: a zoo whose name meant other layers must not be read as if it did."""
    if spec.digest != table.get("digest"):
        raise InputError(f"{path}: digest is {table.get('digest')!r}, expected {spec.digest!r} of its spec")
    layers = full_table(spec.layers)
    if table.get("layers", layers) != layers:  # zoos made before layers were recorded have none
        raise InputError(f"{path}: its layers are not those of {spec.architecture!r} in this version of jaxzoo")


def _read_twin(table: dict[str, Any] | None) -> TwinSpec | None:
    if table is None:
        return None
    return TwinSpec(**{name: value for name, value in table.items() if name != "parent"})


def find_record(folder: Path) -> ZooRecord | None:
    """The record of a zoo begun in a folder, None where one may begin. Raises InputError where neither is so."""
    for character in UNUSABLE:
        if character in str(folder.absolute()):
            raise InputError(f"{folder}: its path holds {character!r}, expected a folder without")
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{folder}: cannot be used ({error.strerror}), expected a folder for the zoo") from error
    if "zoo.json" in names:
        return read_record(folder)
    strangers = sorted(name for name in names - OWN_NAMES if not name.endswith(".partial"))
    if strangers:
        raise InputError(f"{folder}: holds {strangers[0]!r} and no zoo.json, expected a zoo or an empty folder")
    return None


def begin_zoo(folder: Path, record: ZooRecord, plan: Plan, card: str) -> None:
    """Writes the files that describe the zoo. zoo.json comes last: a folder that holds it holds the others."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = [member.to_row() for member in plan.members]
        _write_whole(folder / "members.msgpack", msgpack.packb(rows))
        _write_whole(folder / "README.md", card.encode())
        _write_whole(folder / "zoo.json", record.to_json().encode())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}), expected a folder for the zoo") from error


def read_members(folder: Path) -> list[Member]:
    """The members in the order of their numbers. Raises InputError where the file is missing or damaged."""
    path = folder / "members.msgpack"
    try:
        return [Member.from_row(row) for row in msgpack.unpackb(path.read_bytes())]
    except (OSError, ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def cohort_folder(folder: Path, cohort: int) -> Path:
    """The folder of one cohort of the zoo in `folder`."""
    return folder / "cohorts" / f"{cohort:03d}"


def twins_folder(folder: Path, method: str) -> Path:
    """The folder of the twins, by that method, of the zoo in `folder`."""
    return folder / "twins" / method


def _write_whole(path: Path, data: bytes) -> None:
    """The file appears under its name when it is whole, not before."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
