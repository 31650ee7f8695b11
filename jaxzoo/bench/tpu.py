"""Compiles the training epoch for a TPU chip, which this machine need not have, and reads the compiler's estimate."""

import importlib.util
import os
import re
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxzoo.bench.hlo import compile_for, computations_of, executed
from jaxzoo.devices import AXIS
from jaxzoo.errors import InputError
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.plan import CohortKey
from jaxzoo.spec.twin_spec import TwinSpec


class Chip(NamedTuple):
    """A TPU chip: the smallest topology in which libtpu describes it, its memory in GB, its clock in GHz."""

    topology: str
    memory: float
    clock: float


CHIPS = {"v5e": Chip("v5e:2x2", 16.0, 1.5)}


def chip_mesh(name: str) -> tuple[Chip, Mesh]:
    """A chip, and a mesh of one such device to compile for.

    Raises InputError for an unknown chip, and if libtpu is not installed.
    """
    if name not in CHIPS:
        raise InputError(f"--tpu is {name!r}, expected one of: {', '.join(CHIPS)}")
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("--tpu: libtpu is not installed, expected the extra 'tpu' in an environment of its own")
    # or libtpu would look for a TPU, which this machine does not have
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    jax.config.update("jax_platforms", "cpu")
    from jax.experimental import topologies

    chip = CHIPS[name]
    topology = topologies.get_topology_desc(platform="tpu", topology_name=chip.topology)
    return chip, Mesh(np.array(topology.devices[:1]), (AXIS,))


class Operation(NamedTuple):
    """An operation of a compiled program: the shape of its result, of several the number and the first one; where in
    JAX's code it comes from; how often it runs in a training step, and the cycles estimated for all of that.
    """

    name: str
    result: str
    source: str
    times: float
    cycles: float


@pinned_settings()
def estimate(
    key: CohortKey, engine: str, lanes: int, name: str, twin: TwinSpec | None = None
) -> tuple[dict[str, Any], list[Operation]]:
    """A row of the table of estimates, for a program of one engine on one chip, and the program's operations.

    The row has the cycles per training sample, memory in MB, the largest cohort in models (0 if not even one slab
    fits), and the seconds that each model adds to a training epoch. The program trains twins where `twin` is given.
    """
    chip, mesh = chip_mesh(name)
    compiled = compile_for(key, engine, lanes, mesh, twin)
    found = operations(compiled.text, compiled.program.steps)
    cycles = sum(each.cycles for each in found) / compiled.samples
    room = chip.memory * 1e9 - compiled.needs.training  # for the slabs of a cohort that wait while one trains
    row = {
        "precision": key.precision,
        "engine": engine,
        "lanes": lanes,
        "cycles_per_sample": cycles,
        "samples_per_s": chip.clock * 1e9 / cycles,
        "temporaries_MB": compiled.temporaries / 1e6,
        "arguments_MB": compiled.arguments / 1e6,
        "cohort": lanes * (1 + int(room // compiled.needs.waiting)) if room >= 0 else 0,
        "seconds_per_epoch": cycles * key.dataset.train / (chip.clock * 1e9),
        "compile_seconds": compiled.seconds,
    }
    return row, found


def operations(text: str, steps: int) -> list[Operation]:
    """The operations of a training step that the compiler estimates, the costliest first.

    `text` is that of a compiled program of so many steps.
    """
    found = []
    for line, times in executed(computations_of(text), steps):
        cycles = sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', line)))
        if cycles:
            found.append(_operation(line, times, times * cycles))
    return sorted(found, key=lambda operation: -operation.cycles)


def _operation(line: str, times: float, cycles: float) -> Operation:
    """The operation of a line of HLO text, `%name = type opcode(operands), ..., metadata={op_name="source"}`."""
    stated = re.search(r"%?([\w.-]+) = (.*?) [a-z][\w-]*\(", line)
    source = re.search(r'op_name="([^"]*)"', line)
    name, kind = stated.groups() if stated else ("", "")
    shapes = re.findall(r"[a-z]+\d*\[[\d,]*\]", kind)
    result = ", ".join(shapes) if len(shapes) < 2 else f"{len(shapes)} x {shapes[0]}"
    return Operation(name, result, source[1] if source else "", times, cycles)
