"""A zoo as programs find it: croissant.json, in the vocabulary Croissant 1.0 of MLCommons.

Its files are listed with their SHA-256, and the two tables with their columns, so that records can be read.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from jaxzoo.formats.hub_card import TAGS
from jaxzoo.formats.hub_facts import PAPER, Facts
from jaxzoo.version import __version__

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
NO_LICENCE = "not stated"
TYPES = {".parquet": "application/x-parquet", ".json": "application/json", ".safetensors": "application/octet-stream"}
COLUMN = re.compile(r"[\w.-]+")  # names that are part of an identifier
TERMS = (
    "citeAs column conformsTo equivalentProperty extract field fileProperty fileObject fileSet format includes "
    "isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate "
    "separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    **{term: f"cr:{term}" for term in TERMS.split()},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}


def croissant(facts: Facts, folder: Path) -> str:
    """The text of croissant.json for the files in `folder`, which are all there is but texts."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in TYPES)
    table = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": facts.name,
        "description": f"{facts.title}. {facts.origin}",
        "license": facts.licence or NO_LICENCE,
        "version": "1.0.0",
        "keywords": [*TAGS],
        "citeAs": f"{facts.citation}\n{PAPER}",
        "creator": {"@type": "sc:Organization", "name": f"for the maker to fill in (with jaxzoo {__version__})"},
        "distribution": [_file(path, folder) for path in paths],
        "recordSet": [
            _records("members", "A row per model: its number, seed and hyperparameters.", "model", facts.members),
            _records("metrics", "A row per model and epoch: losses in nats, accuracies in 0..1.", None, facts.metrics),
        ],
    }
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def _file(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": TYPES[path.suffix],
        "sha256": digest,
    }


def _records(name: str, text: str, key: str | None, table: pd.DataFrame) -> dict[str, Any]:
    """A table whose rows can be read: its columns and their types."""
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": column,
            "dataType": _type(table[column]),
            "source": {"fileObject": {"@id": f"data/{name}.parquet"}, "extract": {"column": column}},
        }
        for column in table.columns
        if COLUMN.fullmatch(column)
    ]
    records = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": text, "field": fields}
    return records if key is None else {**records, "key": {"@id": f"{name}/{key}"}}


def _type(column: "pd.Series[Any]") -> str:
    if pd.api.types.is_bool_dtype(column):
        return "sc:Boolean"
    if pd.api.types.is_integer_dtype(column):
        return "sc:Integer"
    return "sc:Float" if pd.api.types.is_float_dtype(column) else "sc:Text"
