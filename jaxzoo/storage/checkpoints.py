"""Orbax checkpoints, read through TensorStore: only the part that is asked for, and without a JAX device."""

import urllib.parse
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

Tree = dict[str, Any]


class DamagedError(Exception):
    """A checkpoint that cannot be read whole."""


def saved_epochs(folder: Path) -> list[int]:
    """The epochs whose checkpoints a folder holds, in order. A checkpoint appears under its name when it is whole."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def read_whole_checkpoint(path: Path) -> Tree:
    """All leaves of a checkpoint as a nested dict. Raises DamagedError where they do not fit their checksum."""
    tree = read_checkpoint(path)
    wanted = tree.pop("checksum", None)
    if wanted is None or wanted != checksum(tree):
        raise DamagedError("its checksum does not fit")
    return tree


def read_checkpoint(path: Path, prefix: str = "", rows: Sequence[int] | slice = slice(None)) -> Tree:
    """The leaves of a checkpoint whose names start with the prefix, as a nested dict, all read at once.

    Of an array only the given rows are read. Raises DamagedError where something is missing.
    """
    import tensorstore as ts

    # not a file:// URL: in one, the characters # % ? of a folder's name would mean something else
    base = {"driver": "file", "path": f"{(path / 'default').absolute()}/"}
    try:
        stored = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
        names = {key.decode().rpartition("/")[0] for key in stored.list().result()}
        opening = {
            name: ts.open(
                {
                    "driver": "zarr",
                    "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"},
                },
                open=True,
                read=True,
            )
            for name in names
            if name.startswith(prefix)
        }
        arrays = {name: future.result() for name, future in opening.items()}
        reading = {name: (array[rows] if array.rank else array).read() for name, array in arrays.items()}
        return _nest({name: future.result() for name, future in reading.items()})
    except (ValueError, OSError) as error:
        raise DamagedError(str(error).splitlines()[0][:200]) from error


def _nest(leaves: Mapping[str, np.ndarray]) -> Tree:
    tree: Tree = {}
    for name, leaf in sorted(leaves.items()):
        *branches, last = (urllib.parse.unquote(part) for part in name.split("."))
        inner = tree
        for branch in branches:
            inner = inner.setdefault(branch, {})
        inner[last] = leaf
    return tree


def quoted(tree: Mapping[str, Any]) -> Tree:
    """The tree with every name quoted as in a URL, dots too: Orbax joins the names of a leaf with dots."""
    return {
        urllib.parse.quote(name, safe="").replace(".", "%2E"): quoted(inner) if isinstance(inner, Mapping) else inner
        for name, inner in tree.items()
    }


def checksum(tree: Tree) -> np.ndarray:
    """CRC-32 over names, shapes and bytes. Orbax guards its index by checksums, but not the numbers."""
    total = 0
    for name, leaf in _leaves(tree):
        total = zlib.crc32(f"{name} {leaf.dtype} {leaf.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(leaf).data, total)
    return np.array(total, np.uint32)


def _leaves(tree: Tree) -> Iterator[tuple[str, np.ndarray]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path), np.asarray(leaf)
