"""Where in a TOML file a key stands."""

import bisect
import functools
import tomllib
from collections.abc import Sequence
from typing import Any

MOST_LINES = 500  # parsing the beginnings of a longer file takes too long for an error line


def line_of(text: str, path: Sequence[str]) -> int | None:
    """The line, counted from 1, at which the statement of the key begins, or of the innermost of its tables.

    `text` is TOML. Its first k lines are TOML, too, unless they end inside of a statement, and the first of these that
    have the key end with its statement. So the statement begins at the least k for which the whole statements of k
    lines or more have the key. Returns None for a file that is too long, and where not even the outermost table is.
    """
    lines = text.split("\n")
    if len(lines) > MOST_LINES:
        return None

    @functools.cache
    def beginning(count: int) -> dict[str, Any] | None:
        try:
            return tomllib.loads("\n".join(lines[:count]) + "\n")
        except tomllib.TOMLDecodeError:
            return None

    def depth(count: int) -> int:
        """How many names of the path are keys in the first `count` lines, and the rest of the last statement."""
        whole = next(table for end in range(count, len(lines) + 1) if (table := beginning(end)) is not None)
        return _depth(whole, path)

    counts = range(len(lines) + 1)
    most = depth(len(lines))
    return bisect.bisect_left(counts, most, key=depth) if most else None


def _depth(table: Any, path: Sequence[str]) -> int:
    for found, name in enumerate(path):
        if not isinstance(table, dict) or name not in table:
            return found
        table = table[name]
    return len(path)
