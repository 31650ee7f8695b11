"""Which steps within epochs are kept on disk, beside the ends of epochs, and with what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxzoo.errors import InputError, require
from jaxzoo.spec.fields import settle_fields

LAST_STEP = 10**9 - 1  # a step is the name of a folder
MOST_LOG_SPACED = 1000
HELDOUT = 1000  # examples


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """Steps to keep besides the ends of epochs: `every` so many, a list of `steps`, or so many `log_spaced` ones.

    Steps count through the whole training, from 1 on; the last step of an epoch is that epoch's end. Log-spaced steps
    go from 1 to the last step of the zoo, are rounded, and count once where several are rounded to the same.

    At each of them, and at the end of every epoch, loss and accuracy are measured on a fixed held-out subset: on the
    first `examples` of the validation split, or of the test split where validation is empty; on fewer where there are
    fewer. `keep_optimizer` also keeps the optimizer's state, at the kept steps and at the end of every epoch; it may be
    asked for alone.
    """

    every: int | None = None
    steps: tuple[int, ...] = ()
    log_spaced: int | None = None
    keep_optimizer: bool = False
    examples: int = HELDOUT

    def __post_init__(self) -> None:
        settle_fields(self)
        given = {"every": self.every is not None, "steps": bool(self.steps), "log_spaced": self.log_spaced is not None}
        names = [name for name, there in given.items() if there]
        if len(names) > 1:
            raise InputError(f"{names[1]} is given beside {names[0]}, expected one of the two", (names[1],))
        if not names and not self.keep_optimizer:
            raise InputError("every, steps or log_spaced is missing, expected one of them, or keep_optimizer = true")
        require(self.every is None or self.every >= 1, "every", self.every, "1 or more steps")
        known = self.log_spaced is None or 2 <= self.log_spaced <= MOST_LOG_SPACED
        require(known, "log_spaced", self.log_spaced, f"2 to {MOST_LOG_SPACED} steps")
        for step in self.steps:
            require(1 <= step <= LAST_STEP, "steps", step, f"1 or more, at most {LAST_STEP}")
        require(len({*self.steps}) == len(self.steps), "steps", list(self.steps), "no step twice")
        require(self.examples >= 1, "examples", self.examples, "1 or more examples")

    @property
    def asked(self) -> bool:
        """Whether any steps are asked for, and not the optimizer's state alone."""
        return self.every is not None or bool(self.steps) or self.log_spaced is not None

    def steps_to(self, last: int) -> Sequence[int]:
        """The steps that are asked for of a training whose last step is `last`, in ascending order."""
        if self.every is not None:
            return range(self.every, last + 1, self.every)
        if self.log_spaced is None:
            return sorted(self.steps)
        return sorted({_rounded_power(last, index, self.log_spaced - 1) for index in range(self.log_spaced)})


class Moment(NamedTuple):
    """The end of an epoch, or, where `step` is given, the state after a step in the middle of that epoch."""

    epoch: int
    step: int | None = None


def moment_of_step(step: int, per_epoch: int) -> Moment:
    """When a step is, in epochs of so many steps.

    >>> moment_of_step(250, per_epoch=100), moment_of_step(300, per_epoch=100)
    (Moment(epoch=3, step=250), Moment(epoch=3, step=None))
    """
    epoch, rest = divmod(step, per_epoch)
    return Moment(epoch) if rest == 0 else Moment(epoch + 1, step)


def _rounded_power(base: int, numerator: int, denominator: int) -> int:
    """The power base ** (numerator / denominator), rounded to the nearest whole number, halves up.

    In whole numbers throughout: the last bit of a power in floating point differs between machines.
    """
    wanted = 2**denominator * base**numerator  # (2 x) ** denominator of the exact power x
    guess = round(base ** (numerator / denominator))
    while (2 * guess + 1) ** denominator <= wanted:
        guess += 1
    while (2 * guess - 1) ** denominator > wanted:
        guess -= 1
    return guess
