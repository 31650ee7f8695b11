"""The hyperparameters that the members of a zoo differ in, and the values that they take."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from jaxzoo.errors import require
from jaxzoo.spec.fields import require_choices, settle_fields

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "sigmoid", "silu", "gelu")
INITIALIZATIONS = ("uniform", "normal", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal")
OPTIMIZERS = ("adam", "sgd", "rms_prop")
NOISE_VALUES = 2**16  # dropout compares its rate with 16 random bits (see jaxzoo.models.networks.drop_out)


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; an end that is not `included` is left out."""

    low: float
    high: float
    included: tuple[bool, bool] = (True, True)

    def holds(self, value: float) -> bool:
        """Whether the number is one of them."""
        above = self.low <= value if self.included[0] else self.low < value
        below = value <= self.high if self.included[1] else value < self.high
        return above and below

    def text(self, name: str) -> str:
        """The condition in words, such as 0 <= dropout < 1."""
        signs = ["<=" if included else "<" for included in self.included]
        return f"{self.low} {signs[0]} {name} {signs[1]} {self.high}"


def hyperparameter(allowed: tuple[str, ...] | Range) -> dict[str, tuple[str, ...] | Range]:
    """The metadata of a field of `Grid`: the words, or the numbers, that it takes."""
    return {"allowed": allowed}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The hyperparameters of a zoo: every combination of these values is a grid point, with a member for each seed.

    This is the one list of hyperparameters. Members, the tables of readers and the targets of probes are made from it.
    A hyperparameter that is added later needs a default of one value, which every zoo made before has.
    """

    activation: tuple[str, ...] = field(metadata=hyperparameter(ACTIVATIONS))
    initialization: tuple[str, ...] = field(metadata=hyperparameter(INITIALIZATIONS))
    dropout: tuple[float, ...] = field(default=(0.0,), metadata=hyperparameter(Range(0, 1, (True, False))))
    optimizer: tuple[str, ...] = field(metadata=hyperparameter(OPTIMIZERS))
    learning_rate: tuple[float, ...] = field(metadata=hyperparameter(Range(0, 100, (False, True))))
    weight_decay: tuple[float, ...] = field(default=(0.0,), metadata=hyperparameter(Range(0, 100)))

    def __post_init__(self) -> None:
        settle_fields(self)
        for each in dataclasses.fields(self):
            values, allowed = getattr(self, each.name), each.metadata["allowed"]
            require(len(values) > 0, each.name, list(values), "at least one value")
            require(len(set(values)) == len(values), each.name, list(values), "no value twice")
            if isinstance(allowed, Range):
                for value in values:
                    require(allowed.holds(value), each.name, value, allowed.text(each.name))
            else:
                require_choices(each.name, values, allowed)
        for rate in self.dropout:
            wanted = "at most 0.9999923: with more, 16 random bits drop every unit"
            require(_keeps_some(rate), "dropout", rate, wanted)


def _keeps_some(rate: float) -> bool:
    """Whether dropout at this rate keeps any of the random numbers, in the arithmetic of the device: float32."""
    return bool(np.round(np.float32(rate) * np.float32(NOISE_VALUES)) < NOISE_VALUES)


HYPERPARAMETERS = tuple(each.name for each in dataclasses.fields(Grid))
NUMBERS = tuple(each.name for each in dataclasses.fields(Grid) if isinstance(each.metadata["allowed"], Range))
WORDS = tuple(name for name in HYPERPARAMETERS if name not in NUMBERS)
