"""Tables of members and metrics as Parquet files, by pyarrow."""

from pathlib import Path

import pandas as pd

from jaxzoo.errors import InputError
from jaxzoo.formats.needed import EXTRA, needed
from jaxzoo.storage.files import reason

KINDS = ("integer", "floating", "boolean", "string", "large_string", "null")  # of columns, in the words of Arrow


def write_arrow(path: Path, table: pd.DataFrame) -> None:
    """Writes a table. Raises InputError for a column that holds values of several types."""
    arrow, parquet = needed("pyarrow", EXTRA), needed("pyarrow.parquet", EXTRA)
    try:
        parquet.write_table(arrow.Table.from_pandas(table, preserve_index=False), path)
    except arrow.ArrowException as error:
        raise InputError(f"{path.name}: a column has values of several types: {error}") from error


def read_arrow(path: Path) -> pd.DataFrame:
    """A table of numbers, truth values and text. Raises InputError where it cannot be read."""
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
