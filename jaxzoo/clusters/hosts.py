"""Processes that `jax.distributed` brings together: the hosts of a TPU slice, the tasks of a SLURM job, or by hand."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax

from jaxzoo.devices import default_devices
from jaxzoo.errors import MOST_TOLD, InputError

AUTO = "auto"
PATIENCE = 300.0  # seconds; JAX's own
APART = 1.0  # seconds between two meetings at one port: the second must not meet the end of the first
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy")

MEETING = """
import json, sys, jax
jax.config.update("jax_check_proxy_envs", False)
jax.config.update("jax_enable_preemption_service", False)
jax.distributed.initialize(**json.loads(sys.argv[1]))
jax.distributed.shutdown()
"""


def join_processes(
    coordinator: str, processes: int | None = None, process_id: int | None = None, *, patience: float = PATIENCE
) -> None:
    """Brings this process together with others: `jax.process_count()` and `jax.process_index()` then tell them apart.

    `coordinator` is the HOST:PORT at which process 0 answers, and then the other two say how many there are and which
    one this is; or "auto", where the system says all of that, as for `jax.distributed.initialize()`: on Cloud TPUs, and
    under SLURM, Open MPI and Kubernetes.

    Call it before JAX is used. Once all are there, each of them is on its own: no collective follows, and one that ends
    early, or fails, ends no other. Raises InputError where they are not all there in `patience` seconds.
    """
    _check(coordinator, processes, process_id)
    how: dict[str, Any] = {"initialization_timeout": max(1, round(patience))}
    if coordinator != AUTO:
        how |= {"coordinator_address": coordinator, "num_processes": processes, "process_id": process_id}
    jax.config.update("jax_check_proxy_envs", False)
    # its handler of SIGTERM would stand in the place of ours
    jax.config.update("jax_enable_preemption_service", False)
    with _no_proxies():
        _meet(coordinator, how)
        jax.distributed.initialize(**how)
        default_devices()  # while they are together, processes tell each other of their devices
        jax.distributed.shutdown()
    _keep_programs()


def _check(coordinator: str, processes: int | None, process_id: int | None) -> None:
    """Raises InputError for what cannot be meant."""
    if coordinator == AUTO:
        if processes is not None or process_id is not None:
            raise InputError("--coordinator auto: finds --processes and --process-id itself, expected neither")
        return
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--coordinator is {coordinator!r}, expected HOST:PORT, or auto")
    if processes is None or process_id is None:
        raise InputError(f"--coordinator {coordinator}: expected --processes N and --process-id I, too")
    if process_id >= processes:
        raise InputError(f"--process-id is {process_id}, expected 0 to {processes - 1} of {processes} processes")


def _keep_programs() -> None:
    """Lets each process keep its compiled programs on disk: of several in a cluster, JAX lets the first one only."""
    from jax._src import distributed

    state: Any = getattr(distributed, "global_state", None)  # an internal name may be another in other versions of JAX
    if hasattr(state, "process_id"):
        state.process_id = 0


def _meet(coordinator: str, how: dict[str, Any]) -> None:
    """Has a process of each host meet the others first: where one does not come, JAX ends the process that waits.

    Raises InputError where they do not meet.
    """
    command = [sys.executable, "-c", MEETING, json.dumps(how)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode == 0:
        time.sleep(APART)
        return
    if "DEADLINE_EXCEEDED" in done.stderr:
        why = f"the processes have not met after {how['initialization_timeout']} s"
        raise InputError(f"--coordinator {coordinator}: {why}, expected process 0 there, and all others")
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
    wanted = "a cluster that JAX knows, or HOST:PORT" if coordinator == AUTO else "processes that can meet there"
    raise InputError(f"--coordinator {coordinator}: {lines[-1].strip()[:MOST_TOLD]}, expected {wanted}")


@contextlib.contextmanager
def _no_proxies() -> Iterator[None]:
    """Hides the proxies of the Web, at which JAX would look for its own processes."""
    before = {name: os.environ.pop(name) for name in PROXIES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
