"""Orbax checkpoints: written whole, and read through TensorStore, only the parts asked for, without a JAX device."""

import contextlib
import os
import re
import sys
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxzoo.errors import InputError, first_line
from jaxzoo.storage.files import entries_of, reason
from jaxzoo.storage.orbax_saving import ITEM, save_by_orbax
from jaxzoo.storage.saving_process import save_elsewhere
from jaxzoo.storage.store_paths import AnyPath, StorePath, below
from jaxzoo.storage.stores import Spec, database

Tree = dict[str, Any]
Rows = Sequence[int] | slice
Saver = Callable[[Path, Tree], None]  # what saves a tree as a checkpoint under a path, whole or not at all

ALL_ROWS = slice(None)
CHECKSUM = "checksum"  # the name of a leaf that every checkpoint has
EPOCH = re.compile(r"0|[1-9][0-9]{0,8}")


_forked_with: set[str] = set()  # the libraries that were loaded when this process was forked from another

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked_with.update({"tensorstore"} & sys.modules.keys()))


class DamagedError(Exception):
    """A checkpoint whose files can be read, but not as what was saved."""


def saved_epochs(folder: AnyPath) -> list[int]:
    """The epochs whose checkpoints a folder holds, in order. A checkpoint appears under its name when it is whole.

    In a bucket its marker appears then. An empty folder is no checkpoint. Raises InputError where it cannot be read.
    """
    names = [name for name in entries_of(folder) if EPOCH.fullmatch(name)]
    return sorted(int(name) for name in names if _is_there(folder / name))


def _is_there(path: AnyPath) -> bool:
    return (isinstance(path, StorePath) and path.is_marked()) or ITEM in entries_of(path)


def check_not_forked(path: AnyPath) -> None:
    """Raises InputError in a process that was forked: TensorStore's threads are missing there, and it would abort."""
    if _forked_with:
        raise InputError(
            f"{path}: cannot be opened in a process that was forked after a zoo had been read or written, expected one "
            "that was started by spawn, as by multiprocessing_context='spawn' of a DataLoader"
        )


def save_checkpoint(path: Path, tree: Tree) -> None:
    """Saves NumPy leaves. Raises InputError where they cannot be written; then nothing lies under the name."""
    check_not_forked(path)
    # asking takes a device, as Orbax does; whether JAX's own initialize() was called would not tell
    (save_elsewhere if jax.process_count() > 1 else save_by_orbax)(path, tree)


def read_whole_checkpoint(path: AnyPath) -> tuple[Tree, int]:
    """All leaves of a checkpoint as a nested dict, and their checksum.

    Raises DamagedError where they do not fit their checksum, and InputError where files cannot be read.
    """
    tree = read_checkpoint(path, {"": ALL_ROWS})
    wanted = tree.pop("checksum", None)
    if wanted is None or wanted != checksum(tree):
        check_readable(path)
        raise DamagedError("its checksum does not fit")
    return tree, int(wanted)


def read_checkpoint(path: AnyPath, parts: Mapping[str, Rows]) -> Tree:
    """The leaves of a checkpoint whose names start with one of the given prefixes, as a nested dict.

    Of the arrays of a part only its rows are read, and all at once. Raises DamagedError where something is missing or
    cannot be understood, and InputError where files cannot be read.
    """
    check_not_forked(path)
    for attempt in ("first", "last"):
        try:
            return _read(path, parts)
        except (ValueError, OSError, KeyError, TypeError, MemoryError) as error:
            # an error of reading is not damage: where plain reading fails, too, this raises it as what it is
            check_readable(path)
            if attempt == "last":  # what failed for a moment is read the second time
                raise DamagedError(first_line(error)) from error
    raise AssertionError("unreachable")


def _read(path: AnyPath, parts: Mapping[str, Rows]) -> Tree:
    import tensorstore as ts

    stored, options = _arrays_of(path)
    names = {key.rpartition("/")[0] for key in _keys_of(path, stored, options)}
    wanted = {name: rows for prefix, rows in parts.items() for name in names if name.startswith(prefix)}
    opening = {
        name: ts.open(
            {"driver": "zarr", "kvstore": {**stored, "path": f"{stored['path']}{name}/"}},
            open=True,
            read=True,
            **options,
        )
        for name in wanted
    }
    arrays = {name: future.result() for name, future in opening.items()}
    reading = {name: (array[wanted[name]] if array.rank else array).read() for name, array in arrays.items()}
    return _nest({name: future.result() for name, future in reading.items()})


def _arrays_of(path: AnyPath) -> tuple[Spec, dict[str, Any]]:
    """TensorStore's spec of the store that a checkpoint's arrays lie in, and how it is to be opened.

    That is the database in the checkpoint's folder, or, where the checkpoint was packed, the folder itself.
    """
    item = below(path, ITEM)
    if isinstance(item, StorePath):
        # what is whole in a store stays as it is: no index has to be asked for twice
        base, options = item.spec(), {"context": item.store.context, "recheck_cached": False}
    else:
        # not a file:// URL: in one, the characters # % ? of a folder's name would mean something else
        base, options = {"driver": "file", "path": f"{item.absolute()}/"}, {}
    packed = (item / CHECKSUM).exists()
    return (base if packed else database(base)), options


def _keys_of(path: AnyPath, stored: Spec, options: Mapping[str, Any]) -> list[str]:
    """The keys of the store that a checkpoint's arrays lie in; those of one that is elsewhere are asked for once."""
    import tensorstore as ts

    known = path.store.inside if isinstance(path, StorePath) else {}
    if str(path) not in known:
        values = ts.KvStore.open(stored, context=options.get("context")).result()
        known[str(path)] = [key.decode() for key in values.list().result()]
    return known[str(path)]


def read_values(path: AnyPath) -> Iterator[tuple[str, bytes]]:
    """Yields the keys and values of the store that a whole checkpoint's arrays lie in, in order.

    Raises DamagedError where the checkpoint does not fit its checksum, and InputError where files cannot be read.
    """
    read_whole_checkpoint(path)
    import tensorstore as ts

    stored, options = _arrays_of(path)
    values = ts.KvStore.open(stored, context=options.get("context")).result()
    for key in sorted(_keys_of(path, stored, options)):
        yield key, bytes(values.read(key).result().value)


def check_readable(path: AnyPath) -> None:
    """Reads every file of a checkpoint. Raises InputError where the system, or the store, does not let it."""
    if isinstance(path, StorePath):
        _check_readable_there(path)
        return
    try:
        for folder, _, names in os.walk(path, onerror=_raise):
            for name in names:
                with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, name), "rb") as file:
                    while file.read(1 << 24):
                        pass
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({reason(error)}), expected a file that can"
        ) from error


def _check_readable_there(path: StorePath) -> None:
    try:
        for key in path.store.keys(f"{path.key}/"):
            path.store.read(f"{path.key}/{key}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}), expected objects that can") from error


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def checksum(tree: Tree) -> np.ndarray:
    """CRC-32 over names, shapes and bytes. Orbax guards its index by checksums, but not the numbers."""
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        total = zlib.crc32(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return np.array(total, np.uint32)


def _nest(leaves: Mapping[str, np.ndarray]) -> Tree:
    tree: Tree = {}
    for name, leaf in sorted(leaves.items()):
        *branches, last = (urllib.parse.unquote(part) for part in name.split("."))
        inner = tree
        for branch in branches:
            inner = inner.setdefault(branch, {})
        inner[last] = leaf
    return tree
