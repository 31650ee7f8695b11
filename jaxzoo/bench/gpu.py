"""Compiles the training epoch for an NVIDIA GPU, which this machine need not have, and reads XLA's estimate."""

import importlib.util
import math
import os
import re
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxzoo.bench.hlo import compile_for, computations_of, executed
from jaxzoo.bench.traffic import instruction_of, instructions_of, moved_bytes
from jaxzoo.devices import AXIS
from jaxzoo.errors import InputError
from jaxzoo.settings import pinned_settings
from jaxzoo.spec.plan import CohortKey
from jaxzoo.spec.twin_spec import TwinSpec

PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
COST_FLAG = "--xla_gpu_collect_cost_model_stats=true"
# what stands in a program's text and starts nothing on the device
NO_KERNELS = frozenset(
    ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all")
)


class Card(NamedTuple):
    """A graphics card: its bandwidth in bytes/s, and the description of it that XLA compiles for."""

    bandwidth: float
    description: str


H100 = """gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000
  l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84942979072 registers_per_core_limit: 65536
  registers_per_block_limit: 65536 cuda_compute_capability { major: 9 }
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 } device_description_str: "NVIDIA H100 80GB HBM3"
"""
CARDS = {"h100": Card(3.35232e12, H100)}


class Work(NamedTuple):
    """A training step on a card: kernels and library calls, bytes of memory traffic, XLA's estimate in microseconds.

    XLA estimates nothing for a library call.
    """

    kernels: float
    library_calls: float
    bytes: float
    microseconds: float


def card_mesh(name: str) -> tuple[Card, Mesh]:
    """A card, and a mesh of one such device to compile for.

    Raises InputError for an unknown card, and if JAX's plugin for CUDA is not installed.
    """
    if name not in CARDS:
        raise InputError(f"--gpu is {name!r}, expected one of: {', '.join(CARDS)}")
    if not any(importlib.util.find_spec(plugin) for plugin in PLUGINS):
        missing = "--gpu: JAX's plugin for CUDA is not installed"
        raise InputError(f"{missing}, expected the extra 'gpu-estimate' in an environment of its own")
    # XLA reads it when it first compiles, which no estimate has done before
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {COST_FLAG}"
    jax.config.update("jax_platforms", "cpu")
    from jax.experimental import topologies

    card = CARDS[name]
    topology = topologies.get_topology_desc("", "cuda", topology="1x1x1", target_config=card.description)
    return card, Mesh(np.array(topology.devices[:1]), (AXIS,))


@pinned_settings()
def estimate(key: CohortKey, engine: str, lanes: int, name: str, twin: TwinSpec | None = None) -> dict[str, Any]:
    """A row of the table of estimates, for a program of one engine on one card, of twins if asked for.

    A program with library calls has no rate: XLA estimates nothing for them.
    """
    card, mesh = card_mesh(name)
    compiled = compile_for(key, engine, lanes, mesh, twin)
    work = work_of(compiled.text, compiled.program.steps)
    moved, modelled = work.bytes / compiled.samples, work.microseconds / compiled.samples * 1e3
    return {
        "precision": key.precision,
        "engine": engine,
        "lanes": lanes,
        "kernels": work.kernels,
        "library_calls": work.library_calls,
        "bytes_per_sample": moved,
        "ns_by_bandwidth": moved / card.bandwidth * 1e9,
        "ns_by_model": modelled,
        "samples_per_s": 1e9 / modelled if not work.library_calls else math.nan,
        "memory_MB": (compiled.temporaries + compiled.arguments) / 1e6,
        "compile_seconds": compiled.seconds,
    }


def work_of(text: str, steps: int) -> Work:
    """The work of a training step, by the text of a program that makes so many steps."""
    computations = computations_of(text)
    shapes = {one.name: one.shape for lines in computations.values() for one in instructions_of(lines)}
    total = np.zeros(len(Work._fields))
    for line, times in executed(computations, steps):
        one = instruction_of(line)
        if one is None or one.opcode in NO_KERNELS:
            continue
        called = one.opcode == "custom-call"
        total += times * np.array(
            [not called, called, moved_bytes(one, computations, shapes), _model_microseconds(line)]
        )
    return Work(*total.tolist())


def _model_microseconds(line: str) -> float:
    """XLA's own estimate of a kernel: the one without a name. Another, `sol`, is of a second model."""
    for cost in re.findall(r"\{([^{}]*)\}", line.partition('"reification_cost":')[2]):
        if '"name":""' in cost:
            found = re.search(r'"exec_time_us":([\d.e+-]+)', cost)
            return float(found[1]) if found else 0.0
    return 0.0
