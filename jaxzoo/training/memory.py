"""The memory that training needs on a device, read off the program, which is compiled ahead of time and not run."""

import math
import os
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxzoo.devices import platform_of
from jaxzoo.errors import InputError
from jaxzoo.training.programs import Program, abstract_arguments


class Needs(NamedTuple):
    """Bytes on a device: of the slab that trains, with images and temporaries, and of each slab that waits its turn."""

    training: int
    waiting: int


def compile_training(program: Program) -> tuple[Any, Needs]:
    """`program.train`, compiled, and the memory it needs. The devices that it is compiled for need not exist."""
    arguments = abstract_arguments(program)
    compiled: Any = program.train.lower(*arguments).compile()
    sizes = compiled.memory_analysis()
    state, _, hyperparameters, *_ = arguments
    leaves = jax.tree.leaves((state, hyperparameters))
    waiting = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves) // program.mesh.size
    return compiled, Needs(sizes.temp_size_in_bytes + sizes.argument_size_in_bytes, waiting)


def compile_to_fit(program: Program) -> tuple[Any, Needs]:
    """As `compile_training`. Raises InputError where the devices have too little memory for one slab."""
    compiled, needs = compile_training(program)
    limit = device_memory(program.mesh, needs.training)
    if needs.training > limit:
        raise InputError(
            f"lanes is {program.lanes}: training needs {needs.training / 1e9:,.1f} GB, "
            f"expected at most the {limit / 1e9:,.1f} GB of this device"
        )
    return compiled, needs


def models_that_fit(program: Program) -> int:
    """The most models that a cohort can have: all stay on the devices. Raises InputError where not one slab fits."""
    _, needs = compile_to_fit(program)
    room = device_memory(program.mesh, needs.training) - needs.training
    return program.width * (1 + room // needs.waiting)


def check_cohort(program: Program, models: int) -> None:
    """Raises InputError where the devices have too little memory for a cohort of so many models."""
    fitting = models_that_fit(program)
    if models > fitting:
        raise InputError(f"a cohort has {models} models, expected at most {fitting}, what the memory here holds")


def device_memory(mesh: Mesh, unknown: int) -> int:
    """Bytes of each device, where a device does not tell `unknown`. The devices of a CPU share its memory."""
    if platform_of(mesh) == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // mesh.size
    return (mesh.devices.flat[0].memory_stats() or {}).get("bytes_limit", unknown)
