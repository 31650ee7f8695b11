"""Programs compiled for a device that need not be here: compiling them, and reading their text."""

import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxzoo.spec.plan import CohortKey
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training.memory import Needs, compile_training
from jaxzoo.training.programs import Program, build_program

Computations = dict[str, list[str]]


class Compiled(NamedTuple):
    """A training program, compiled: its text, the bytes it needs, and how long compiling took."""

    program: Program
    text: str
    needs: Needs
    temporaries: int
    arguments: int
    seconds: float

    @property
    def samples(self) -> int:
        """The samples of a training step, over all models."""
        return self.program.key.batch_size * self.program.lanes


def compile_for(key: CohortKey, engine: str, lanes: int, mesh: Mesh, twin: TwinSpec | None = None) -> Compiled:
    """The training epoch of so many models, or of their twins, compiled for the device of a mesh."""
    program = build_program(key, engine, lanes, mesh, twin)
    start = time.monotonic()
    jax.clear_caches()  # or jit would hand back the program of another variant
    compiled, needs = compile_training(program)
    memory: Any = compiled.memory_analysis()
    seconds = time.monotonic() - start
    sizes = memory.temp_size_in_bytes, memory.argument_size_in_bytes
    return Compiled(program, compiled.as_text(), needs, *sizes, seconds)


def computations_of(text: str) -> Computations:
    """The lines of each computation of an HLO module, by the computation's name. The first line is its head."""
    computations: Computations = {}
    name = ""
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line)
        if head:
            name = head[1]
            computations[name] = []
        if name:
            computations[name].append(line)
    return computations


def executed(computations: Computations, steps: int) -> Iterator[tuple[str, float]]:
    """The lines of a program that its device executes, each with its number of times in a training step.

    The loop over training steps makes `steps` trips, a number that is an argument of the program. What stands outside
    of that loop counts by its share of a step. Lines inside of a fusion are not listed.
    """
    entry = next(name for name, lines in computations.items() if lines[0].startswith("ENTRY"))

    def walk(name: str, times: float) -> Iterator[tuple[str, float]]:
        for line in computations[name][1:]:
            yield line, times
            loop = re.search(r" while\(.*condition=%?([\w.-]+), body=%?([\w.-]+)", line)
            if loop:
                trips = _known_trips(line, computations[loop[1]])
                yield from walk(loop[2], times * (steps if trips is None else trips))

    return walk(entry, 1 / steps)


def _known_trips(line: str, condition: list[str]) -> int | None:
    """The trips of a loop: as its line says, else the constant in its condition. None where the number varies."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
    if known:
        return int(known[1])
    constants = re.findall(r" constant\((\d+)\)", "\n".join(condition))
    return max(map(int, constants)) if constants else None
