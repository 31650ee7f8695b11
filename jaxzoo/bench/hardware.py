"""Hardware that need not be here: kinds of devices, how many of them, and how many share a machine."""

import re
from typing import NamedTuple

from jaxzoo.errors import InputError

MOST_DEVICES = 10**5


class Kind(NamedTuple):
    """A kind of device: its platform as JAX calls it, its name, its memory in bytes (None for a share of a machine's).

    A machine has up to `machine` of them; where there are more machines than one, each has `of_several`.
    """

    platform: str
    name: str
    memory: float | None
    machine: int
    of_several: int


# a slice of v5e chips is one machine of 1, 4 or 8 chips, or several machines of 4
KINDS = {
    "v5e": Kind("tpu", "TPU v5e chip", 16e9, 8, 4),
    "h100": Kind("gpu", "NVIDIA H100", 80e9, 8, 8),
    "h200": Kind("gpu", "NVIDIA H200", 141e9, 8, 8),
    "cpu": Kind("cpu", "CPU core", None, MOST_DEVICES, MOST_DEVICES),
}


class Hardware(NamedTuple):
    """So many devices of a kind, which `word` names, in machines of `machine` devices each."""

    word: str
    kind: Kind
    devices: int
    machine: int

    @property
    def layouts(self) -> tuple[int, ...]:
        """The devices that a cohort may be spread over: all of a machine, or one."""
        return (self.machine,) if self.machine == 1 else (self.machine, 1)

    @property
    def text(self) -> str:
        """What it is, to be read by a person."""
        machines = self.devices // self.machine
        several = f" in {machines:,} machines of {self.machine}" if machines > 1 else ""
        return f"{self.devices:,} x {self.kind.name}{several}"


def hardware_of(text: str) -> Hardware:
    """The hardware of a text such as v5e:8. Raises InputError.

    >>> hardware_of("v5e:256").text
    '256 x TPU v5e chip in 64 machines of 4'
    """
    word, _, number = text.partition(":")
    if word not in KINDS:
        raise InputError(f"--on is {text!r}, expected one of {', '.join(KINDS)}, and how many, as in v5e:8")
    if ":" not in text:
        number = "1"
    if not re.fullmatch("[0-9]{1,6}", number) or not 1 <= int(number) <= MOST_DEVICES:
        raise InputError(f"--on is {text!r}, expected 1 to {MOST_DEVICES:,} devices, as in {word}:8")
    kind, devices = KINDS[word], int(number)
    if devices <= kind.machine:
        return Hardware(word, kind, devices, devices)
    if devices % kind.of_several:
        most = f"at most {kind.machine}, what a machine has"
        raise InputError(f"--on is {text!r}, expected {most}, or a multiple of {kind.of_several}")
    return Hardware(word, kind, devices, kind.of_several)
