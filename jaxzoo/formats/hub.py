"""The format `hub`: a folder to upload to the Hugging Face Hub as a data set. Nothing is uploaded here.

README.md                           the card, with the fields that the Hub reads
datasheet.md, croissant.json        the data set for people and for programs
zoo.json                            which networks these are
data/members.parquet                a row per model
data/metrics.parquet                a row per (model, epoch)
weights/epoch_00050.safetensors     as in the format `safetensors`
"""

import functools
from pathlib import Path

import pandas as pd

from jaxzoo.errors import InputError
from jaxzoo.formats.chosen import Chosen
from jaxzoo.formats.croissant import croissant
from jaxzoo.formats.datasheet import datasheet
from jaxzoo.formats.format import ExportOptions, Format, Found, ImportOptions, Report
from jaxzoo.formats.hub_card import card
from jaxzoo.formats.hub_facts import facts_of
from jaxzoo.formats.needed import needed
from jaxzoo.formats.safetensors_files import EXTRA, check_epochs, epoch_path, read_epoch, write_epoch
from jaxzoo.formats.tables import read_description, tables_of, write_description
from jaxzoo.storage.files import reason
from jaxzoo.storage.licence import check_licence

MEMBERS, METRICS, WEIGHTS = Path("data/members.parquet"), Path("data/metrics.parquet"), Path("weights")
KINDS = ("integer", "floating", "boolean", "string", "large_string", "null")  # of columns, in the words of Arrow


def write(chosen: Chosen, folder: Path, options: ExportOptions, report: Report) -> None:
    """Writes the files into `folder`; croissant.json comes last, because it has the digests of the others."""
    for name in ("safetensors.numpy", "pyarrow.parquet"):
        needed(name, EXTRA)  # said before anything is read
    facts = facts_of(chosen, None if options.licence is None else check_licence(options.licence))
    write_description(folder, chosen)
    (folder / MEMBERS).parent.mkdir()
    _write_table(folder / MEMBERS, facts.members)
    _write_table(folder / METRICS, facts.metrics)
    (folder / WEIGHTS).mkdir()
    for epoch in chosen.epochs:
        write_epoch(epoch_path(folder / WEIGHTS, epoch), chosen, epoch, report)
    (folder / "README.md").write_text(card(facts), encoding="utf-8")
    (folder / "datasheet.md").write_text(datasheet(facts), encoding="utf-8")
    (folder / "croissant.json").write_text(croissant(facts, folder), encoding="utf-8")


def _write_table(path: Path, table: pd.DataFrame) -> None:
    arrow, parquet = needed("pyarrow", EXTRA), needed("pyarrow.parquet", EXTRA)
    try:
        parquet.write_table(arrow.Table.from_pandas(table, preserve_index=False), path)
    except arrow.ArrowException as error:
        raise InputError(f"{path.name}: a column has values of several types: {error}") from error


def read(folder: Path, options: ImportOptions, report: Report) -> Found:
    """What lies in such a folder. Raises InputError for what is missing or damaged."""
    needed("safetensors", EXTRA)
    members, metrics = folder / MEMBERS, folder / METRICS
    tables = tables_of(read_description(folder), members, _read_table(members), metrics, _read_table(metrics))
    check_epochs(folder / WEIGHTS, tables.description["epochs"], tables.numbers)
    return tables.found(functools.partial(read_epoch, folder / WEIGHTS))


def _read_table(path: Path) -> pd.DataFrame:
    arrow, parquet = needed("pyarrow", EXTRA), needed("pyarrow.parquet", EXTRA)
    try:
        with path.open("rb") as file:
            table = parquet.read_table(file)
        checks = [getattr(arrow.types, f"is_{kind}") for kind in KINDS]
        for field in table.schema:
            if not any(check(field.type) for check in checks):
                raise InputError(f"{path}: {field.name} is {field.type}, expected numbers, truth values or text")
        values: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    except arrow.ArrowException as error:
        raise InputError(f"{path}: is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected a table") from error
    return values


FORMAT = Format(
    "a data set for the Hugging Face Hub: Parquet, safetensors, a card, Croissant, a datasheet",
    write,
    read,
    ("sample", "licence"),
)
