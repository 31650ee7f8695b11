"""Checkpoints in a bucket: the arrays of one on this machine, written anew in chunks of few models.

On a disk an array is one chunk, which reads fastest there. From a bucket that would move all models for the sake of
one.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxzoo.storage.checkpoints import CHECKSUM, Tree, read_whole_checkpoint
from jaxzoo.storage.orbax_saving import ITEM, quoted_name
from jaxzoo.storage.stores import Store

CHUNK = 32_000  # bytes, but never less than one model
DATABASE = ("manifest.ocdbt", "d", "ocdbt.process_0")  # what Orbax keeps arrays in; its other files are small


def put_chunked(store: Store, path: str, source: Path) -> None:
    """Writes a checkpoint into a bucket, under a path; Orbax can read it there, too.

    Raises OSError, DamagedError where the checkpoint is not whole, and InputError where its files cannot be read.
    """
    tree, total = read_whole_checkpoint(source)
    for file in filter(Path.is_file, source.rglob("*")):
        inside = file.relative_to(source)
        if not {*inside.parts} & {*DATABASE}:
            store.write(f"{path}/{inside.as_posix()}", file.read_bytes())
    arrays = dict(_named({**tree, CHECKSUM: np.array(total, np.uint32)}))
    store.write_arrays(f"{path}/{ITEM}/", {name: (array, chunk_shape(array)) for name, array in arrays.items()})


def chunk_shape(array: np.ndarray) -> tuple[int, ...]:
    """The shape of a chunk of an array (models, ...): few models, each whole."""
    if array.ndim == 0:
        return ()
    models = CHUNK // max(1, array.itemsize * math.prod(array.shape[1:]))
    return max(1, min(len(array), models)), *(max(1, size) for size in array.shape[1:])


def _named(tree: Tree, above: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yields the leaves under the names that Orbax gives them."""
    for name, inner in tree.items():
        own = above + quoted_name(name)
        if isinstance(inner, dict):
            yield from _named(inner, f"{own}.")
        else:
            yield own, np.asarray(inner)
