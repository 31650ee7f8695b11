"""Hyperparameters from a table: a row for each model."""

import csv
import functools
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxzoo.errors import InputError, nearest, require, shown
from jaxzoo.paths import local_path
from jaxzoo.spec.fields import settle_fields, settled
from jaxzoo.spec.grid import FACTORS, HYPERPARAMETERS, NONE, OPTIONAL, TYPES, check_values
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.spec.seeds import SEED_LIMIT

SEED = "seed"
# a table may leave these out
DEFAULTS: Mapping[str, Any] = {"dropout": 0.0, "weight_decay": 0.0, **dict.fromkeys(OPTIONAL, NONE)}
NEEDED = (SEED, *(name for name in HYPERPARAMETERS if name in OPTIONAL or name not in DEFAULTS))
MOST_ROWS = 10**6


@dataclass(frozen=True, kw_only=True)
class Points:
    """The hyperparameters of each model, as the `text` of a table with commas between its columns.

    The first line names the columns: `seed`, hyperparameters and factors (see `Grid`), in any order. Every other line
    is a model. `dropout` and `weight_decay` may be left out and are then 0, and, for a Flax module,
    `activation` and `initialization`. `Points.read` builds one from a file,
    `Points.of` from rows.
    """

    text: str

    def __post_init__(self) -> None:
        settle_fields(self)
        assert self._rows  # parsed once, here, so that a table that is wrong raises InputError

    @classmethod
    def read(cls, path: str | Path) -> "Points":
        """The table in a file. Raises InputError, which names the file."""
        path = local_path(path)
        try:
            return cls.decode(path.read_bytes(), path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}), expected a table of models") from error

    @classmethod
    def decode(cls, contents: bytes, path: object) -> "Points":
        """The table in the contents of a file. Raises InputError, which names the file's path."""
        try:
            return cls(text=contents.decode("utf-8-sig").replace("\r\n", "\n"))
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is not text in UTF-8: {error.reason}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "Points":
        """The table of some rows, each a mapping of column to value; of a DataFrame, `table.to_dict("records")`."""
        rows = list(rows)
        require(len(rows) > 0, "points", rows, "at least one row")
        columns = list(rows[0])
        for number, row in enumerate(rows):
            require({*row} == {*columns}, f"points[{number}]", sorted(map(str, row)), ", ".join(map(str, columns)))
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([columns, *([row[name] for name in columns] for row in rows)])
        return cls(text=file.getvalue())

    @property
    def sha256(self) -> str:
        """SHA-256 of the table, in hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def declared(self) -> tuple[str, ...]:
        """The factors that are columns, in the order of `FACTORS`."""
        return tuple(name for name in FACTORS if name in self._rows[0])

    def values(self, name: str) -> tuple[Any, ...]:
        """What a hyperparameter is in the table, each value once."""
        return tuple(dict.fromkeys(row[name] for row in self._rows))

    def points(self) -> Iterator[Mapping[str, Any]]:
        """Yields the value of every hyperparameter, row by row."""
        for row in self._rows:
            yield {name: value for name, value in row.items() if name != SEED}

    @functools.cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each row."""
        return tuple(row[SEED] for row in self._rows)

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The optimizers that members have."""
        return tuple(Optimizer(name=name) for name in self.values("optimizer"))

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    @functools.cached_property
    def _rows(self) -> list[dict[str, Any]]:
        reader = csv.reader(io.StringIO(self.text), strict=True)
        try:
            columns = [name.strip() for name in next(reader, [])]
            _check_columns(columns)
            names = [SEED, *HYPERPARAMETERS, *(name for name in FACTORS if name in columns)]
            rows: dict[tuple[Any, ...], int] = {}
            for cells in reader:
                if not cells:  # a blank line
                    continue
                row = _row(reader.line_num, columns, cells)
                values = tuple(row[name] for name in names)
                if values in rows:
                    raise InputError(f"line {reader.line_num} is line {rows[values]} again, expected another model")
                rows[values] = reader.line_num
                require(len(rows) <= MOST_ROWS, "points", f"{len(rows)} rows", f"at most {MOST_ROWS}")
        except csv.Error as error:
            raise InputError(f"line {reader.line_num}: {error}, expected columns with commas between") from error
        require(len(rows) > 0, "points", "no row", "at least one model")
        return [dict(zip(names, values, strict=True)) for values in rows]


def _check_columns(columns: list[str]) -> None:
    known = (SEED, *HYPERPARAMETERS, *FACTORS)
    for name in columns:
        if name not in known:
            raise InputError(f"line 1: there is no column {name!r}, expected one of: {nearest(name, known)}")
        if columns.count(name) > 1:
            raise InputError(f"line 1: column {name} is there twice, expected it once")
    missing = [name for name in NEEDED if name not in columns]
    if {*missing} <= {*OPTIONAL}:  # whether the network takes them only the spec knows
        return
    raise InputError(f"line 1: column {missing[0]} is missing, expected {', '.join(NEEDED)} and perhaps others")


def _row(line: int, columns: list[str], cells: list[str]) -> dict[str, Any]:
    """A line's values by column, each in its type. Raises InputError, which names line and column."""
    if len(cells) != len(columns):
        raise InputError(f"line {line} has {len(cells)} cells, expected {len(columns)}, one for each column")
    row = dict(DEFAULTS)
    for name, cell in zip(columns, cells, strict=True):
        try:
            row[name] = _value(name, cell.strip())
        except ValueError as error:  # an InputError is one, too
            wanted = str(error).rpartition("expected ")[2] if isinstance(error, InputError) else "a number"
            raise InputError(f"line {line}, column {name}: {shown(cell)}, expected {wanted}") from error
    return row


def _value(name: str, cell: str) -> Any:
    """The value of a cell in the type of its column. Raises ValueError."""
    kind = int if name == SEED else TYPES[name]
    value = settled(name, cell if kind is str else float(cell), kind)
    if name == SEED:
        require(0 <= value < SEED_LIMIT, name, value, f"0 <= seed < {SEED_LIMIT}")
    else:
        check_values(name, [value])
    return value
