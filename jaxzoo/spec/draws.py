"""Hyperparameters that are drawn: so many points, each from distributions, by hashing and so alike on every machine."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.fields import require_choices, settle_fields, settled
from jaxzoo.spec.grid import FACTORS, HYPERPARAMETERS, TYPES, check_values
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.spec.seeds import SEED_LIMIT

KINDS = ("uniform", "log_uniform", "integers", "choice")
MOST_DRAWS = 10**6
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


@dataclass(frozen=True, kw_only=True)
class Draws:
    """`models` points, each hyperparameter of which is drawn, or is the value given (see `Grid` for what they mean).

    A draw depends on `seed`, on its number and on the hyperparameter's name alone: the first 100 of 500 are the first
    100 of 1,000, and another hyperparameter changes none of the others.
    """

    models: int
    seed: int = 0
    activation: str | Distribution
    initialization: str | Distribution
    dropout: float | Distribution = 0.0
    optimizer: str | Distribution
    learning_rate: float | Distribution
    weight_decay: float | Distribution = 0.0
    batch_size: int | Distribution | None = None
    momentum: float | Distribution | None = None
    beta1: float | Distribution | None = None
    beta2: float | Distribution | None = None
    epsilon: float | Distribution | None = None
    initialization_scale: float | Distribution | None = None
    initialization_bias: float | Distribution | None = None
    label_smoothing: float | Distribution | None = None
    gradient_clip: float | Distribution | None = None
    train_fraction: float | Distribution | None = None
    excluded: float | Distribution | None = None
    subset: int | Distribution | None = None
    excluded_class: int | Distribution | None = None
    label_noise: float | Distribution | None = None
    trigger: float | Distribution | None = None

    def __post_init__(self) -> None:
        settle_fields(self)
        require(1 <= self.models <= MOST_DRAWS, "models", self.models, f"1 to {MOST_DRAWS}")
        require(0 <= self.seed < SEED_LIMIT, "seed", self.seed, f"0 <= seed < {SEED_LIMIT}")
        for name in (*HYPERPARAMETERS, *self.declared):
            origin = getattr(self, name)
            if isinstance(origin, Distribution):
                _check_kind(name, origin)
            check_values(name, self.values(name))

    @property
    def declared(self) -> tuple[str, ...]:
        """The factors that are drawn or given, in the order of `FACTORS`."""
        return tuple(name for name in FACTORS if getattr(self, name) is not None)

    def values(self, name: str) -> tuple[Any, ...]:
        """What a hyperparameter may be: the values of a choice, the ends of a range, or the one value given."""
        origin = getattr(self, name)
        span = origin.span if isinstance(origin, Distribution) else (origin,)
        return tuple(TYPES[name](value) for value in span)

    def points(self) -> Iterator[Mapping[str, Any]]:
        """Yields the value of every hyperparameter, draw by draw."""
        names = (*HYPERPARAMETERS, *self.declared)
        for number in range(self.models):
            yield {name: self._drawn(number, name) for name in names}

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The optimizers that members may have."""
        return tuple(Optimizer(name=name) for name in self.values("optimizer"))

    @property
    def size(self) -> int:
        """How many points there are."""
        return self.models

    def _drawn(self, number: int, name: str) -> Any:
        origin = getattr(self, name)
        if not isinstance(origin, Distribution):
            return origin
        digest = hashlib.sha256(f"{self.seed} {number} {name}".encode()).digest()
        return TYPES[name](origin.value_at(int.from_bytes(digest[:8], "big")))


def _check_kind(name: str, origin: Distribution) -> None:
    """Raises InputError for a distribution of numbers where words are wanted, and the like."""
    whole, words = TYPES[name] is int, TYPES[name] is str
    kinds = ("choice",) if words else ("choice", "integers") if whole else KINDS
    if origin.kind not in kinds:
        raise InputError(f"{name}.kind is {origin.kind!r}, expected {' or '.join(kinds)}", (name, "kind"))
    for value in origin.values:
        settled(name, value, TYPES[name])
