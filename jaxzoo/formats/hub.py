"""The format `hub`: a folder to upload to the Hugging Face Hub as a data set. Nothing is uploaded here.

README.md                           the card, with the fields that the Hub reads
datasheet.md, croissant.json        the data set for people and for programs
zoo.json                            which networks these are
splits.json                         numbers of models for training, validation and test
data/members.parquet                a row per model
data/metrics.parquet                a row per (model, epoch)
weights/epoch_00050.safetensors     as in the format `safetensors`
"""

import functools
from pathlib import Path

from jaxzoo.formats.arrow_tables import read_arrow, write_arrow
from jaxzoo.formats.chosen import Chosen
from jaxzoo.formats.croissant import croissant
from jaxzoo.formats.datasheet import datasheet
from jaxzoo.formats.format import ExportOptions, Format, Found, ImportOptions, Report
from jaxzoo.formats.hub_card import card
from jaxzoo.formats.hub_facts import facts_of
from jaxzoo.formats.needed import EXTRA, needed
from jaxzoo.formats.safetensors_files import check_epochs, epoch_path, read_epoch, write_epoch
from jaxzoo.formats.splits import write_splits
from jaxzoo.formats.tables import read_description, tables_of, write_description
from jaxzoo.storage.licence import check_licence

SPLITS = "splits.json"
MEMBERS, METRICS, WEIGHTS = Path("data/members.parquet"), Path("data/metrics.parquet"), Path("weights")


def write(chosen: Chosen, folder: Path, options: ExportOptions, report: Report) -> Chosen:
    """Writes the files into `folder`; croissant.json comes last, because it has the digests of the others."""
    for name in ("safetensors.numpy", "pyarrow.parquet"):
        needed(name, EXTRA)  # said before anything is read
    facts = facts_of(chosen, None if options.licence is None else check_licence(options.licence))
    write_description(folder, chosen)
    (folder / MEMBERS).parent.mkdir()
    write_arrow(folder / MEMBERS, facts.members)
    write_arrow(folder / METRICS, facts.metrics)
    (folder / WEIGHTS).mkdir()
    for epoch in chosen.epochs:
        write_epoch(epoch_path(folder / WEIGHTS, epoch), chosen, epoch, report)
    write_splits(folder / SPLITS, chosen)
    (folder / "README.md").write_text(card(facts), encoding="utf-8")
    (folder / "datasheet.md").write_text(datasheet(facts), encoding="utf-8")
    (folder / "croissant.json").write_text(croissant(facts, folder), encoding="utf-8")
    return chosen


def read(folder: Path, options: ImportOptions, report: Report) -> Found:
    """What lies in such a folder. Raises InputError for what is missing or damaged."""
    needed("safetensors", EXTRA)
    members, metrics = folder / MEMBERS, folder / METRICS
    tables = tables_of(read_description(folder), members, read_arrow(members), metrics, read_arrow(metrics))
    check_epochs(folder / WEIGHTS, tables.description["epochs"], tables.numbers)
    return tables.found(functools.partial(read_epoch, folder / WEIGHTS))


FORMAT = Format(
    "a data set for the Hugging Face Hub: Parquet, safetensors, a card, Croissant, a datasheet",
    write,
    read,
    ("sample", "licence"),
)
