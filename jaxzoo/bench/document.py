"""What a bench found, as one JSON document, so that those of many machines can be put into one table."""

import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jax.sharding import Mesh

from jaxzoo.devices import cores_here, platform_of
from jaxzoo.errors import InputError, require
from jaxzoo.training.maker import cpu_model, maker_of

SCHEMA = "jaxzoo-bench/1"
# the tables of a document, each a list of rows, with the columns that every row has
TABLES = {
    "rates": ("architecture", "contender", "samples_per_s", "lowest", "highest", "rounds"),
    "zoos": ("zoo", "way", "models", "dense_hours", "with_twins_hours"),
    "estimates": ("zoo", "chip", "engine", "lanes", "samples_per_s"),
    "checks": ("architecture", "check", "passed"),
}
TEXTS = ("architecture", "contender", "zoo", "way", "chip", "engine", "check")  # other columns are numbers or truths
KEYS = {"machine": dict, "versions": dict, "date": str, "command": str, "options": dict, **dict.fromkeys(TABLES, list)}
NUMBER = "a number or null"
OF_MACHINE = ("cpu", "cores", "memory_GB", "platform", "device", "devices", "os")

Document = dict[str, Any]


def build_document(
    mesh: Mesh, command: str, options: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> Document:
    """The document of a bench on these devices. Tables that are not given are empty."""
    unknown = set(tables) - set(TABLES)
    assert not unknown, unknown
    return {
        "schema": SCHEMA,
        "machine": _machine(mesh),
        "versions": _versions(mesh),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
        **{name: _records(tables.get(name, pd.DataFrame())) for name in TABLES},
    }


def document_text(document: Document) -> str:
    """The document as it stands in a file."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def read_document(path: Path) -> Document:
    """The document in a file. Raises InputError, which names the file, for what is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected what --json has written") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError among them
        raise InputError(f"{path}: is not JSON ({error}), expected what --json has written") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    require(schema == SCHEMA, f"{path}: schema", schema, repr(SCHEMA))
    for name, kind in KEYS.items():
        words = {dict: "an object", list: "a list of objects", str: "a text"}[kind]
        require(isinstance(document.get(name), kind), f"{path}: {name}", document.get(name), words)
    _check_keys(f"{path}: machine", document["machine"], OF_MACHINE)
    for name, columns in TABLES.items():
        for number, row in enumerate(document[name]):
            _check_row(f"{path}: {name}[{number}]", row, columns)
    return document


def merged_rates(documents: Mapping[str, Document]) -> pd.DataFrame:
    """The rates of several documents, by the name of each, in one table: the same way on all machines together.

    Estimates for chips stand in it, too, with no spread and no rounds.
    """
    rows = [row for name, document in documents.items() for row in _merged_rows(name, document)]
    for column in ("contender", "architecture"):  # as they first come; sorting keeps what is alike in order
        first = [*dict.fromkeys(row[column] for row in rows)]
        rows.sort(key=lambda row: first.index(row[column]))
    return pd.DataFrame(rows)


def _merged_rows(name: str, document: Document) -> list[dict[str, Any]]:
    columns, machine = TABLES["rates"], machine_name(document["machine"])
    measured = [{**{column: row[column] for column in columns}, "machine": machine} for row in document["rates"]]
    estimated = [
        {
            **dict.fromkeys(columns),
            "architecture": row["zoo"],
            "contender": f"{row['engine']}, {row['lanes']:,} wide",
            "samples_per_s": row["samples_per_s"],
            "machine": f"{row['chip']}, estimated",
        }
        for row in document["estimates"]
    ]
    return [{**row, "file": name} for row in measured + estimated]


def merged_hours(documents: Mapping[str, Document]) -> pd.DataFrame:
    """The hours of each zoo with its twins by jaxzoo, a row for each zoo and a column for each document with some."""
    hours: dict[str, dict[str, float | None]] = {}
    for name, document in documents.items():
        for row in document["zoos"]:
            if row["way"] == "jaxzoo" and row["with_twins_hours"] is not None:
                hours.setdefault(row["zoo"], {"models": row["models"]})[name] = row["with_twins_hours"]
    return pd.DataFrame([{"zoo": zoo, **columns} for zoo, columns in hours.items()])


def machine_name(machine: Mapping[str, Any]) -> str:
    """A machine in a few words: what computes there, and how many."""
    if machine["platform"] == "cpu":
        return f"{machine['cpu']}, {machine['cores']} cores"
    return f"{machine['devices']} x {machine['device']}"


def _machine(mesh: Mesh) -> dict[str, Any]:
    limit = None if platform_of(mesh) == "cpu" else (mesh.devices.flat[0].memory_stats() or {}).get("bytes_limit")
    return {
        "cpu": cpu_model(),
        "cores": cores_here(),
        "memory_GB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        "platform": platform_of(mesh),
        "device": maker_of(mesh).device,
        "devices": mesh.size,
        "device_memory_GB": None if limit is None else limit / 1e9,
        "os": platform.platform(),
    }


def _versions(mesh: Mesh) -> dict[str, str]:
    others = [name for name in ("torch", "libtpu") if importlib.util.find_spec(name)]
    own = {name: importlib.metadata.version(name) for name in others}
    backend = mesh.devices.flat[0].client.platform_version  # of a GPU with the version of CUDA
    python = {"python": platform.python_version(), "backend": ", ".join(backend.splitlines())}
    return {**maker_of(mesh).versions, **own, **python}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, with null for what is not a number."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def _check_row(where: str, row: Any, columns: Sequence[str]) -> None:
    _check_keys(where, row, columns)
    for column in columns:
        if column in TEXTS:
            require(isinstance(row[column], str), f"{where}.{column}", row[column], "a text")
        else:
            require(
                row[column] is None or isinstance(row[column], int | float), f"{where}.{column}", row[column], NUMBER
            )


def _check_keys(where: str, got: Any, keys: Sequence[str]) -> None:
    require(isinstance(got, dict), where, got, "an object")
    missing = [key for key in keys if key not in got]
    require(not missing, where, got, f"{', '.join(missing)} in it, too")
