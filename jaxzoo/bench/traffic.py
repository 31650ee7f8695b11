"""The bytes that a kernel of a compiled program moves, read off the program's text.

A kernel is counted to read each of its inputs once and to write each result once: what it reads again comes from a
cache. Of an input that it only cuts pieces from, the pieces count.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxzoo.bench.hlo import Computations

CUTS = ("slice", "dynamic-slice", "gather")
SAME_BYTES = ("bitcast", "reshape")
UPDATE = "dynamic-update-slice"  # in place: only the piece is written


class Instruction(NamedTuple):
    """A line of HLO: `name = shape opcode(operands), ...`. The shape may be a tuple's."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    line: str


Shapes = Mapping[str, str]


def instruction_of(line: str) -> Instruction | None:
    """The instruction on a line; None for a computation's head and end."""
    found = re.match(r"\s+(?:ROOT )?%?([\w.-]+) = (\([^()]*\)|\S+) ([\w-]+)\(([^()]*)\)", line)
    if found is None:
        return None
    name, shape, opcode, operands = found.groups()
    # older versions of XLA write an operand's shape before its name, and comments count operands
    return Instruction(name, shape, opcode, tuple(re.findall(r"%([\w.-]+)", operands)), line)


def instructions_of(lines: Sequence[str]) -> list[Instruction]:
    """The instructions of a computation."""
    return [instruction for line in lines if (instruction := instruction_of(line)) is not None]


def shape_bytes(shape: str) -> int:
    """The bytes of an array, or of all arrays of a tuple."""
    total = 0
    for kind, sizes in re.findall(r"([a-z]+\d*\w*)\[([\d,]*)\]", shape):
        bits = re.match(r"[a-z]+(\d+)", kind)
        count = math.prod(map(int, sizes.split(","))) if sizes else 1
        total += count * (int(bits[1]) if bits else 8) // 8  # a predicate takes a byte
    return total


def moved_bytes(kernel: Instruction, computations: Computations, shapes: Shapes) -> int:
    """The bytes that a kernel reads and writes. `shapes` has the shape of every operand by its name."""
    fused = re.search(r" fusion\(.*calls=%?([\w.-]+)", kernel.line)
    if fused is None:
        return shape_bytes(kernel.shape) + sum(shape_bytes(shapes[name]) for name in kernel.operands)
    inside = instructions_of(computations[fused[1]])
    read = sum(_read_bytes(one, inside) for one in inside if one.opcode == "parameter")
    return read + _written_bytes(inside)


def _read_bytes(value: Instruction, inside: Sequence[Instruction]) -> int:
    """What a fusion reads of a value: all of it at most."""
    total = 0
    for user in inside:
        if value.name not in user.operands:
            continue
        if user.opcode in SAME_BYTES:
            total += _read_bytes(user, inside)
        elif user.opcode in CUTS and user.operands[0] == value.name:
            total += shape_bytes(user.shape)
        elif user.opcode == UPDATE and user.operands[0] == value.name:
            continue  # the rest stays where it is
        else:
            return shape_bytes(value.shape)
    return min(total, shape_bytes(value.shape))


def _written_bytes(inside: Sequence[Instruction]) -> int:
    by_name = {one.name: one for one in inside}
    root = next(one for one in inside if one.line.lstrip().startswith("ROOT"))
    results = [by_name[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return sum(_result_bytes(one, by_name) for one in results)


def _result_bytes(result: Instruction, by_name: Mapping[str, Instruction]) -> int:
    while result.opcode in SAME_BYTES:
        result = by_name[result.operands[0]]
    return shape_bytes(by_name[result.operands[1]].shape if result.opcode == UPDATE else result.shape)
