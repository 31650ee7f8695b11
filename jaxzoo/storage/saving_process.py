"""A process that saves checkpoints for one of several processes that JAX runs as one cluster.

There Orbax takes every checkpoint for the work of all of them: it writes NumPy arrays from the first one only, and the
signals of two that save different checkpoints at a time get mixed up. A process that is no part of the cluster is free
of that.
"""

import functools
import multiprocessing.connection
import os
import queue
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from jaxzoo.errors import InputError
from jaxzoo.storage.orbax_saving import save_by_orbax

SERVE = "from jaxzoo.storage.saving_process import serve; serve()"

_one = threading.Lock()  # the process saves one checkpoint at a time


def save_elsewhere(path: Path, tree: dict[str, Any]) -> None:
    """Has the process save a checkpoint, and waits for it, as `save_by_orbax` does."""
    try:
        with _one:
            connection = _connection()
            connection.send((path, tree))
            error, said = connection.recv()
    except (EOFError, OSError) as lost:
        _connection.cache_clear()  # the next save has a new one
        raise InputError(f"{path}: cannot be written: the process that saves has ended, expected it to stay") from lost
    if error is not None:
        raise InputError(error)
    if said is not None:
        raise RuntimeError(f"{path}: cannot be saved:\n{said}")


@functools.cache
def _connection() -> multiprocessing.connection.Connection:
    """The way to the process, which is started, and ends with this one."""
    here, there = multiprocessing.Pipe()
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}  # the devices are this process's
    with there:
        subprocess.Popen(
            [sys.executable, "-c", SERVE, str(there.fileno())],
            pass_fds=[there.fileno()],
            env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends a run after what is being saved
        )
    return here


def serve() -> None:
    """Saves what comes through the file descriptor of the first argument, until nobody is there any more."""
    connection = multiprocessing.connection.Connection(int(sys.argv[1]))
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                tasks.put(connection.recv())
        finally:
            os._exit(0)  # in the middle of a save, too: whoever goes on does not find it under way

    threading.Thread(target=listen, daemon=True).start()
    while True:
        path, tree = tasks.get()
        try:
            save_by_orbax(path, tree)
            connection.send((None, None))
        except InputError as error:
            connection.send((str(error), None))
        except Exception:
            connection.send((None, traceback.format_exc()))
