"""The format `parquet`: a file per epoch, and tables of members and metrics, as pyarrow, Polars and DuckDB read them.

epoch_00050.parquet  a row per model: its number in the zoo, and its weights as a list of D float32 (and batch_stats,
                     of networks that normalise batches); the fields' metadata says which number is what
members.parquet      a row per model
metrics.parquet      a row per (model, epoch)
zoo.json             which networks these are
"""

import contextlib
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.formats.arrow_tables import read_arrow, write_arrow
from jaxzoo.formats.chosen import Chosen
from jaxzoo.formats.format import ExportOptions, Format, Found, ImportOptions, Report
from jaxzoo.formats.needed import EXTRA, needed
from jaxzoo.formats.tables import (
    members_table,
    read_description,
    tables_of,
    write_description,
)
from jaxzoo.models.networks import Variables
from jaxzoo.models.variables import network_shapes
from jaxzoo.reading.layout import Layout, build_layout, flatten, layout_width, unflatten
from jaxzoo.spec.layers import Layers
from jaxzoo.storage.files import reason

COLUMNS = {"params": "weights", "batch_stats": "batch_stats"}  # by collection
GROUP_MODELS = 1024  # of a row group: an import reads as many at a time


def write(chosen: Chosen, folder: Path, options: ExportOptions, report: Report) -> Chosen:
    """Writes the files into `folder`. Raises InputError where pyarrow is missing."""
    _parquet()
    write_description(folder, chosen)
    write_arrow(folder / "members.parquet", members_table(chosen))
    write_arrow(folder / "metrics.parquet", chosen.metrics)
    for epoch in chosen.epochs:
        _write_epoch(epoch_path(folder, epoch), chosen, epoch, report)
    return chosen


def epoch_path(folder: Path, epoch: int) -> Path:
    """The file of an epoch."""
    return folder / f"epoch_{epoch:05d}.parquet"


def _parquet() -> Any:
    return needed("pyarrow.parquet", EXTRA)


def _arrow() -> Any:
    return needed("pyarrow", EXTRA)


def _write_epoch(path: Path, chosen: Chosen, epoch: int, report: Report) -> None:
    """Portion by portion: an epoch need not fit into memory."""
    arrow = _arrow()
    layouts = _layouts(chosen.zoo.layers, chosen.zoo.spec.classes, chosen.zoo.image_shape)
    schema = arrow.schema([arrow.field("model", arrow.int64()), *map(_field, layouts, layouts.values())])
    # weights hardly repeat: a dictionary of them, and the least and largest of each group, would only take time
    with _parquet().ParquetWriter(path, schema, use_dictionary=False, write_statistics=["model"]) as file:
        for portion in chosen.portions(epoch):
            columns = [arrow.array(portion.models, arrow.int64())]
            for collection, layout in layouts.items():
                numbers = np.ascontiguousarray(flatten(layout, portion.variables[collection]), np.float32)
                kind = schema.field(COLUMNS[collection]).type
                columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(numbers.ravel()), type=kind))
            file.write_table(arrow.table(columns, schema=schema), row_group_size=GROUP_MODELS)
            report.states(len(portion.models))


def _field(collection: str, layout: Layout) -> Any:
    """The column of a collection: lists of as many numbers as there are, none of them missing."""
    arrow = _arrow()
    kind = arrow.list_(arrow.field("element", arrow.float32(), nullable=False), layout_width(layout))
    names = [{"name": "/".join(entry.path), "shape": list(entry.shape)} for entry in layout]
    return arrow.field(COLUMNS[collection], kind, nullable=False, metadata={"layout": json.dumps(names)})


def _layouts(layers: Layers, classes: int, image: tuple[int, ...]) -> dict[str, Layout]:
    """The layouts of the networks' variables by collection."""
    shapes = network_shapes(layers, classes, image)
    return {collection: build_layout(tree) for collection, tree in shapes.items()}


def read(folder: Path, options: ImportOptions, report: Report) -> Found:
    """What lies in such a folder. Raises InputError for what is missing or damaged."""
    _parquet()
    description = read_description(folder)
    network = description.network
    layouts = _layouts(network.layers, network.classes, network.image_shape)
    wanted = [{"name": "/".join(entry.path), "shape": list(entry.shape)} for entry in layouts["params"]]
    if description.get("parameters") != wanted:
        raise InputError(f"{folder / 'zoo.json'}: parameters are not those of {network.architecture}")
    members, metrics = folder / "members.parquet", folder / "metrics.parquet"
    tables = tables_of(description, members, read_arrow(members), metrics, read_arrow(metrics))
    for epoch in description["epochs"]:
        path = epoch_path(folder, epoch)
        with _opened(path) as file:
            if file.read(columns=["model"])["model"].to_pylist() != tables.numbers:
                raise InputError(
                    f"{path}: its models are not those of members.parquet, expected the same in that order"
                )
    return tables.found(functools.partial(_read_epoch, folder, layouts))


def _read_epoch(folder: Path, layouts: dict[str, Layout], epoch: int, models: Sequence[int]) -> Variables:
    """The variables of models whose numbers follow each other, from the row groups that have them."""
    with _opened(epoch_path(folder, epoch)) as file:
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        ends = np.cumsum(counts)
        first, last = np.searchsorted(ends, [models[0], models[-1]], side="right").tolist()
        table = file.read_row_groups([*range(first, last + 1)], columns=[COLUMNS[each] for each in layouts])
        table = table.slice(models[0] - (ends[first] - counts[first]), len(models))
        return {
            collection: unflatten(layout, _numbers(table[COLUMNS[collection]], len(models), layout_width(layout)))
            for collection, layout in layouts.items()
        }


def _numbers(column: Any, models: int, width: int) -> np.ndarray:
    """Lists as an array (models, width). Raises ValueError where a list is of another length, or lacks a number."""
    arrow = _arrow()
    kind = arrow.list_(arrow.float32(), width)
    parts = [each.cast(kind).flatten() for each in column.chunks]
    numbers = np.concatenate([part.to_numpy(zero_copy_only=part.null_count == 0) for part in parts])
    if len(numbers) != models * width or any(part.null_count for part in parts):
        raise ValueError(f"the lists of {models} models have {len(numbers)} numbers, expected {width} each")
    return numbers.reshape(models, width)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A Parquet file. Whatever is wrong with it is raised as InputError."""
    arrow = _arrow()
    try:
        with _parquet().ParquetFile(path) as file:
            yield file
    except InputError:  # says already what is wrong
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected a Parquet file") from error
    except (arrow.ArrowException, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path}: is damaged: {error}") from error


FORMAT = Format("tables that pyarrow, pandas, Polars and DuckDB read", write, read)
