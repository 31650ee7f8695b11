"""A checkpoint, saved by Orbax. It appears under its name when it is whole."""

import contextlib
import logging
import os
import re
import shutil
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxzoo.errors import InputError
from jaxzoo.storage.files import reason, reserve

Tree = dict[str, Any]

ITEM = "default"  # the name that Orbax gives to the only item of a checkpoint
TEMPORARY = ".orbax-checkpoint-tmp"
HANDLES = 24  # files that a save has open at once, and some more
OVERHEAD = 64_000  # bytes that the files of a checkpoint take besides its numbers

_saving = threading.Lock()  # Orbax runs an event loop for each save, and two at once end each other's


def save_by_orbax(path: Path, tree: Tree) -> None:
    """Saves NumPy leaves. Raises InputError where they cannot be written; then nothing lies under the name."""
    import orbax.checkpoint as ocp  # imported late: readers do without Orbax

    handler = ocp.CompositeCheckpointHandler(**{ITEM: ocp.PyTreeCheckpointHandler()})
    arguments = ocp.args.Composite(**{ITEM: ocp.args.PyTreeSave(quoted(tree))})
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(path.with_name(path.name + TEMPORARY), ignore_errors=True)  # of a save that was cut short
        # Orbax would fail in many threads, with a trace from each
        reserve(path.parent, size + size // 10 + OVERHEAD, HANDLES)
        with _saving, _no_traces(), contextlib.closing(ocp.Checkpointer(handler)) as checkpointer:
            checkpointer.save(path.absolute(), args=arguments)
    except (OSError, ValueError) as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))  # how TensorStore passes on what the system says
        if code is not None:
            why = os.strerror(int(code[1]))
        elif isinstance(error, OSError):
            why = reason(error)
        else:
            raise
        shutil.rmtree(path.with_name(path.name + TEMPORARY), ignore_errors=True)  # a full disk needs the room
        raise InputError(
            f"{path}: cannot be written ({why}), expected a disk that takes {size + OVERHEAD:,} bytes; "
            "every epoch before it is whole, and the same call goes on from there"
        ) from error


@contextlib.contextmanager
def _no_traces() -> Iterator[None]:
    """Keeps Orbax from logging the stack traces of a save that fails, each of several times: the exception says it."""
    logger = logging.getLogger("absl")

    def passes(record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname

    logger.addFilter(passes)
    try:
        yield
    finally:
        logger.removeFilter(passes)


def quoted_name(name: str) -> str:
    """A name quoted as in a URL, dots too: Orbax joins the names of a leaf with dots."""
    return urllib.parse.quote(name, safe="").replace(".", "%2E")


def quoted(tree: Mapping[str, Any]) -> Tree:
    """The tree with every name quoted."""
    return {quoted_name(name): quoted(inner) if isinstance(inner, Mapping) else inner for name, inner in tree.items()}
