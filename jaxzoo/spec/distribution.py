"""What a hyperparameter is drawn from: by hashing, and so alike on every machine."""

import hashlib
import math
from dataclasses import dataclass

from jaxzoo.errors import require
from jaxzoo.spec.fields import require_choices, settle_fields

KINDS = ("uniform", "log_uniform", "integers", "choice")
DIGITS = 6  # of a drawn number: the last bits of a logarithm differ between machines


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """What a hyperparameter is drawn from. `Uniform`, `LogUniform`, `Integers` and `Choice` build one.

    The kinds "uniform", "log_uniform" and "integers" reach from `low` to `high`; "choice" takes each of its `values`
    equally often.
    """

    kind: str
    low: float | None = None
    high: float | None = None
    values: tuple[float | str, ...] = ()

    def __post_init__(self) -> None:
        require_choices("kind", (self.kind,), KINDS)
        settle_fields(self)
        if self.kind == "choice":
            require(self.low is None and self.high is None, "low", self.low, "none: a choice has values")
            require(len(self.values) > 0, "values", list(self.values), "at least one value")
            require(len({*self.values}) == len(self.values), "values", list(self.values), "no value twice")
            return
        require(not self.values, "values", list(self.values), f"none: {self.kind} has low and high")
        require(self.low is not None, "low", self.low, "a number")
        require(self.high is not None, "high", self.high, "a number")
        assert self.low is not None
        assert self.high is not None
        require(self.low < self.high, "low", self.low, f"a number below high, {self.high}")
        require(self.kind != "log_uniform" or self.low > 0, "low", self.low, "a number above 0")
        for end in ("low", "high") if self.kind == "integers" else ():
            require(float(getattr(self, end)).is_integer(), end, getattr(self, end), "a whole number")

    @property
    def span(self) -> tuple[float | str, ...]:
        """The values of a choice, else the least and the largest number."""
        if self.kind == "choice":
            return self.values
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def value_at(self, share: int) -> float | int | str:
        """The value at a share of the way through the distribution, in units of 2**-64."""
        if self.kind == "choice":
            return self.values[share * len(self.values) >> 64]
        low, high = (float(end) for end in self.span)
        if self.kind == "integers":
            return int(low) + (share * (int(high) - int(low) + 1) >> 64)
        position = share / 2**64
        if self.kind == "uniform":
            drawn = low + position * (high - low)
        else:
            drawn = math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
        return min(max(float(f"{drawn:.{DIGITS}g}"), low), high)

    def drawn(self, origin: str) -> float | int | str:
        """The value that belongs to a text."""
        return self.value_at(int.from_bytes(hashlib.sha256(origin.encode()).digest()[:8], "big"))


def Uniform(low: float, high: float) -> Distribution:  # noqa: N802 - it builds what it is named after
    """The numbers from `low` to `high`, all equally likely, rounded to six significant digits."""
    return Distribution(kind="uniform", low=low, high=high)


def LogUniform(low: float, high: float) -> Distribution:  # noqa: N802
    """The numbers from `low` to `high`, whose logarithms are equally likely, rounded to six significant digits."""
    return Distribution(kind="log_uniform", low=low, high=high)


def Integers(low: int, high: int) -> Distribution:  # noqa: N802
    """The whole numbers from `low` to `high`, both included."""
    return Distribution(kind="integers", low=low, high=high)


def Choice(*values: float | str) -> Distribution:  # noqa: N802
    """One of the values."""
    return Distribution(kind="choice", values=values)
