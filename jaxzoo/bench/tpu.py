"""Compiles the training epoch for a TPU chip, which this machine need not have, and reads the compiler's estimate."""

import importlib.util
import os
import re
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxzoo.devices import AXIS
from jaxzoo.errors import InputError
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.plan import CohortKey
from jaxzoo.training.memory import compile_training
from jaxzoo.training.programs import build_program


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


@pinned_settings()
def estimate(key: CohortKey, engine: str, lanes: int, name: str) -> dict[str, Any]:
    """A row of the table of estimates, for a program of one engine on one chip.

    It has the cycles per training sample, memory in MB, the largest cohort in models (0 if not even one slab fits), and
    the seconds that each model adds to a training epoch.
    """
    chip, mesh = chip_mesh(name)
    program = build_program(key, engine, lanes, mesh)
    start = time.monotonic()
    jax.clear_caches()  # or jit would hand back the program of another variant
    compiled, needs = compile_training(program)
    memory = compiled.memory_analysis()
    cycles = estimated_cycles(compiled.as_text(), program.steps) / (program.steps * key.batch_size * lanes)
    room = chip.memory * 1e9 - needs.training  # for the slabs of a cohort that wait while one trains
    return {
        "precision": key.precision,
        "engine": engine,
        "lanes": lanes,
        "cycles_per_sample": cycles,
        "samples_per_s": chip.clock * 1e9 / cycles,
        "temporaries_MB": memory.temp_size_in_bytes / 1e6,
        "arguments_MB": memory.argument_size_in_bytes / 1e6,
        "cohort": lanes * (1 + int(room // needs.waiting)) if room >= 0 else 0,
        "seconds_per_epoch": cycles * key.dataset.train / (chip.clock * 1e9),
        "compile_seconds": time.monotonic() - start,
    }


def estimated_cycles(text: str, steps: int) -> int:
    """The sum of `estimated_cycles` over a compiled program's operations, each times the trips of the loops around it.

    The number of a loop's trips is the constant in its condition. The loop over training steps has no such constant,
    since the number is an argument of the program; it makes `steps` trips.
    """
    computations = _computations(text)
    entry = next(name for name, lines in computations.items() if lines[0].startswith("ENTRY"))

    def cycles(name: str) -> int:
        total = 0
        for line in computations[name][1:]:
            total += sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', line)))
            loop = re.search(r" while\(.*condition=%?([\w.-]+), body=%?([\w.-]+)", line)
            if loop:
                constants = re.findall(r" constant\((\d+)\)", "\n".join(computations[loop[1]]))
                total += cycles(loop[2]) * (max(map(int, constants)) if constants else steps)
        return total

    return cycles(entry)


def _computations(text: str) -> dict[str, list[str]]:
    """The lines of each computation of an HLO module, by the computation's name. The first line is its head."""
    computations: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line)
        if head:
            name = head[1]
            computations[name] = []
        if name:
            computations[name].append(line)
    return computations
