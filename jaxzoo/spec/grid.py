"""The hyperparameters that the members of a zoo differ in, and the values that they take."""

import dataclasses
import itertools
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxzoo.errors import require
from jaxzoo.spec.fields import LATER, require_choices, settle_fields
from jaxzoo.spec.layers import NAMED_ACTIVATIONS
from jaxzoo.spec.optimizer import EPSILON, MEAN, OPTIMIZERS, Optimizer
from jaxzoo.spec.ranges import Range

ACTIVATIONS = NAMED_ACTIVATIONS
INITIALIZATIONS = (
    *("uniform", "normal", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal"),
    *("torch_default", "truncated_normal", "orthogonal", "he_normal", "glorot_normal"),
)
NONE = "none"  # of a word of `OPTIONAL` that is not given, since the network takes none
OPTIONAL = ("activation", "initialization")
NOISE_VALUES = 2**16  # dropout compares its rate with 16 random bits (see jaxzoo.models.networks.drop_out)


BELOW_1, ABOVE_0 = (True, False), (False, True)


def hyperparameter(allowed: tuple[str, ...] | Range) -> dict[str, tuple[str, ...] | Range]:
    """The metadata of a field of `Grid`: the words, or the numbers, that it takes."""
    return {"allowed": allowed}


NAMED_ELSEWHERE = ()  # stands for names that the spec says


def factor(allowed: Range | tuple[()]) -> Any:
    """A field of `Grid` that a zoo need not have: without values it is not declared."""
    return field(default=(), metadata={"allowed": allowed, **LATER})


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The hyperparameters of a zoo: every combination of these values is a grid point, with a member for each seed.

    This is the one list of hyperparameters. Members, the tables of readers and the targets of probes are made from it.
    A name will do for an optimizer of defaults. `activation` and `initialization` are left out where the network is a
    Flax module, which has its own.

    The first six every zoo has. The others are factors: a zoo declares those that it gives values, and what it does not
    declare is in no program of it and in no table. A factor acts as follows.

    - `batch_size`, `momentum`, `beta1`, `beta2` and `epsilon` take the place of the spec's and the optimizer's.
    - `initialization_scale` multiplies the drawn weights of each layer; `initialization_bias` is what biases begin as.
      `initialization_std` is the standard deviation of the initialisations normal and truncated_normal (before it is
      truncated); the others, which have one of their own, ignore it.
    - `label_smoothing` is that of PyTorch's cross-entropy; `gradient_clip` is the largest norm of a member's gradient,
      where 0 clips nothing.
    - `train_fraction` of the training examples is what a member sees, drawn by its seed: at 0.5 all that the same seed
      sees at 0.25.
    - `excluded` is a share of the training examples that a member does not see. They are drawn by the number `subset`
      where that is declared, else by the seed. `excluded_class` is a class that it does not see, -1 for none.
    - `label_noise` is the share of training examples whose label is another one, drawn by the seed and nested, too.
    - `trigger` is the share of training examples with a white patch in a corner and the label 0: a backdoor.
    - `architecture` and `dataset` take the place of the spec's: names of architectures, and of its data sets.
    """

    activation: tuple[str, ...] = field(default=(NONE,), metadata=hyperparameter(ACTIVATIONS))
    initialization: tuple[str, ...] = field(default=(NONE,), metadata=hyperparameter(INITIALIZATIONS))
    dropout: tuple[float, ...] = field(default=(0.0,), metadata=hyperparameter(Range(0, 1, BELOW_1)))
    optimizer: tuple[Optimizer, ...] = field(metadata=hyperparameter(OPTIMIZERS))
    learning_rate: tuple[float, ...] = field(metadata=hyperparameter(Range(0, 100, ABOVE_0)))
    weight_decay: tuple[float, ...] = field(default=(0.0,), metadata=hyperparameter(Range(0, 100)))
    batch_size: tuple[int, ...] = factor(Range(1, 10**6))
    momentum: tuple[float, ...] = factor(Range(0, 1, BELOW_1))
    beta1: tuple[float, ...] = factor(MEAN)
    beta2: tuple[float, ...] = factor(MEAN)
    epsilon: tuple[float, ...] = factor(EPSILON)
    initialization_scale: tuple[float, ...] = factor(Range(0, 1000, ABOVE_0))
    initialization_std: tuple[float, ...] = factor(Range(0, 1000, ABOVE_0))
    initialization_bias: tuple[float, ...] = factor(Range(-100, 100))
    label_smoothing: tuple[float, ...] = factor(Range(0, 1, BELOW_1))
    gradient_clip: tuple[float, ...] = factor(Range(0, 10**6))
    train_fraction: tuple[float, ...] = factor(Range(0, 1, ABOVE_0))
    excluded: tuple[float, ...] = factor(Range(0, 1, BELOW_1))
    subset: tuple[int, ...] = factor(Range(0, 2**31 - 1))
    excluded_class: tuple[int, ...] = factor(Range(-1, 10**6))
    label_noise: tuple[float, ...] = factor(Range(0, 1))
    trigger: tuple[float, ...] = factor(Range(0, 1))
    architecture: tuple[str, ...] = factor(NAMED_ELSEWHERE)
    dataset: tuple[str, ...] = factor(NAMED_ELSEWHERE)

    def __post_init__(self) -> None:
        settle_fields(self)
        for each in dataclasses.fields(self):
            values = self.values(each.name)
            require(len(values) > 0 or each.name in FACTORS, each.name, list(values), "at least one value")
            require(len(set(values)) == len(values), each.name, list(values), "no value twice")
            if each.name != "optimizer":  # an Optimizer has checked itself
                check_values(each.name, values)

    @property
    def declared(self) -> tuple[str, ...]:
        """The factors that have values, in the order of `FACTORS`."""
        return tuple(name for name in FACTORS if getattr(self, name))

    def values(self, name: str) -> tuple[Any, ...]:
        """The values of a hyperparameter as members' rows have them: an optimizer by its label."""
        values = getattr(self, name)
        return tuple(value.label if isinstance(value, Optimizer) else value for value in values)

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The optimizers that members have."""
        return self.optimizer

    def points(self) -> Iterator[Mapping[str, Any]]:
        """Yields the value of every hyperparameter, for all combinations; those of the last one change first."""
        names = (*HYPERPARAMETERS, *self.declared)
        for values in itertools.product(*map(self.values, names)):
            yield dict(zip(names, values, strict=True))

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(len(getattr(self, name)) for name in (*HYPERPARAMETERS, *self.declared))


def check_values(name: str, values: Iterable[Any]) -> None:
    """Raises InputError for a value that the hyperparameter does not take."""
    allowed = ALLOWED[name]
    if isinstance(allowed, Range):
        for value in values:
            require(allowed.holds(value), name, value, allowed.text(name))
    elif allowed is not NAMED_ELSEWHERE:
        require_choices(name, [value for value in values if name not in OPTIONAL or value != NONE], allowed)
    for rate in values if name == "dropout" else ():
        wanted = "at most 0.9999923: with more, 16 random bits drop every unit"
        require(_keeps_some(rate), "dropout", rate, wanted)


def _keeps_some(rate: float) -> bool:
    """Whether dropout at this rate keeps any of the random numbers, in the arithmetic of the device: float32."""
    return bool(np.round(np.float32(rate) * np.float32(NOISE_VALUES)) < NOISE_VALUES)


FIELDS = dataclasses.fields(Grid)
ALLOWED: Mapping[str, Any] = {each.name: each.metadata["allowed"] for each in FIELDS}
FACTORS = tuple(each.name for each in FIELDS if each.default == ())
# of every zoo; seeds are drawn from their values in this order
HYPERPARAMETERS = tuple(each.name for each in FIELDS if each.name not in FACTORS)
# of a value in a member's row, where an optimizer has its label
TYPES: Mapping[str, type] = {
    each.name: str if each.name == "optimizer" else typing.get_args(each.type)[0] for each in FIELDS
}
# of the factors, those that are names and those that are numbers
NAMES = tuple(name for name in FACTORS if not isinstance(ALLOWED[name], Range))
FACTOR_NUMBERS = tuple(name for name in FACTORS if name not in NAMES)
WORDS = tuple(name for name in HYPERPARAMETERS if not isinstance(ALLOWED[name], Range))
NUMBERS = tuple(name for name in HYPERPARAMETERS if name not in WORDS)
