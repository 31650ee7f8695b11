"""The folder of a zoo: how it begins, who is in it, and where its parts lie.

zoo.json, members.msgpack, README.md    what the zoo is and who is in it
points.csv                              where the models are the rows of a table
cohorts/000/                            the snapshots of each cohort (cohort_store.py)
twins/<method>/                         the sparse twins: a zoo of the same layout (twins_folders.py)
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack

from jaxzoo.errors import InputError, first_line, shown
from jaxzoo.paths import is_litter
from jaxzoo.spec.plan import Member, Plan
from jaxzoo.spec.tables import differences
from jaxzoo.spec.zoo_spec import spec_differences
from jaxzoo.storage.files import PARTIAL, reason, write_new, write_whole
from jaxzoo.storage.imported import ImportedRecord, Record, members_of_rows
from jaxzoo.storage.locks import zoo_locked
from jaxzoo.storage.record import POINTS_FILE, ZooRecord, read_record
from jaxzoo.storage.store_paths import AnyPath, PathKind, below

UNUSABLE = "[\\"  # Orbax finds the parts of a checkpoint by a glob pattern, in which these do not mean themselves
# the files that describe a zoo, zoo.json last: a folder that holds it holds the others
DESCRIPTION = (POINTS_FILE, "members.msgpack", "README.md", "zoo.json")
OWN_NAMES = frozenset({*DESCRIPTION, "cohorts", "twins"})


def find_record(folder: Path) -> ZooRecord | None:
    """The record of a zoo begun in a folder, None where one may begin. Raises InputError where neither is so."""
    for character in UNUSABLE:
        if character in str(folder.absolute()):
            raise InputError(f"{folder}: its path holds {character!r}, expected a folder without")
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a ValueError: a path with a null character
        why = reason(error) if isinstance(error, OSError) else error
        raise InputError(f"{folder}: cannot be used ({why}), expected a folder for the zoo") from error
    if "zoo.json" in names:
        return read_record(folder)
    strangers = sorted(name for name in names - OWN_NAMES if not (name.endswith(PARTIAL) or is_litter(name)))
    if strangers:
        raise InputError(f"{folder}: holds {strangers[0]!r} and no zoo.json, expected a zoo or an empty folder")
    return None


def begin_zoo(folder: Path, record: ZooRecord, plan: Plan, card: str) -> tuple[ZooRecord, Plan]:
    """Writes the files that describe the zoo, and returns its record and plan.

    zoo.json comes last: a folder that holds it holds the others. Where another process began the zoo in the meantime,
    its record and plan are returned. Raises InputError where that is another zoo.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if record.spec.points is not None:
            write_whole(folder / POINTS_FILE, record.spec.points.text.encode())
        write_whole(folder / "members.msgpack", members_file(plan.members))
        write_whole(folder / "README.md", card.encode())
        write_new(folder / "zoo.json", record.to_json().encode())
    except FileExistsError:
        return join_zoo(folder, record)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({reason(error)}), expected a folder for the zoo") from error
    return record, plan


def join_zoo(folder: Path, record: ZooRecord) -> tuple[ZooRecord, Plan]:
    """The record and plan of the zoo that another process has begun. Raises InputError where it is not that zoo."""
    with zoo_locked(folder):  # the other process may be growing it already
        first = read_record(folder)
        if first.members is not None and _sha256(folder / "members.msgpack") != first.members:
            write_whole(folder / "members.msgpack", members_file(first.plan.members))  # ours took the other's place
    own, others = ({name: getattr(each, name) for name in ("fingerprints", "kept", "twin")} for each in (record, first))
    differing = [text for text in (spec_differences(first.spec, record.spec), differences(others, own)) if text]
    if differing:
        raise InputError(f"{folder}: another process began it with other settings: {'; '.join(differing)}")
    return first, first.plan


def members_file(members: Sequence[Member]) -> bytes:
    """The contents of members.msgpack."""
    packed: bytes = msgpack.packb([member.to_row() for member in members])
    return packed


def members_digest(members: Sequence[Member]) -> str:
    """SHA-256 of members.msgpack."""
    return hashlib.sha256(members_file(members)).hexdigest()


def read_members(folder: AnyPath, record: Record) -> tuple[Member, ...]:
    """The members in the order of their numbers. Raises InputError unless they are those of the record.

    A file with more rows is that of a zoo whose growth was cut short, or is under way: zoo.json says who is in it.
    """
    path = folder / "members.msgpack"
    try:
        data = path.read_bytes()
        rows = msgpack.unpackb(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, TypeError, LookupError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise InputError(f"{path}: is damaged: {first_line(error)}") from error
    if isinstance(record, ImportedRecord):
        members = members_of_rows(path, rows, record)
    else:
        members = record.plan.members
        _check_rows(path, rows, members)
        if len(rows) > len(members):
            return members
    if record.members is not None and hashlib.sha256(data).hexdigest() != record.members:
        raise InputError(f"{path}: its SHA-256 is not {record.members[:12]}..., expected the file that zoo.json names")
    return members


def _check_rows(path: AnyPath, rows: Any, members: Sequence[Member]) -> None:
    if not isinstance(rows, list) or len(rows) < len(members):
        got = len(rows) if isinstance(rows, list) else type(rows).__name__
        raise InputError(f"{path}: holds {got} rows, expected the {len(members)} models of the spec")
    for member, row in zip(members, rows, strict=False):
        wanted = member.to_row()
        if not isinstance(row, dict):
            raise InputError(f"{path}: model {member.model} is {shown(row)}, expected a row of {', '.join(wanted)}")
        differing = differences(row, wanted, "expected")
        if differing:
            raise InputError(f"{path}: model {member.model}: {differing} of the spec")


def cohort_folder(folder: PathKind, cohort: int) -> PathKind:
    """The folder of one cohort of the zoo in `folder`."""
    return below(folder, "cohorts", f"{cohort:03d}")


def twins_folder(folder: PathKind, method: str) -> PathKind:
    """The folder of the twins, by that method, of the zoo in `folder`."""
    return below(folder, "twins", method)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
