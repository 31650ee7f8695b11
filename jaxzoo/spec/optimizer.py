"""Optimizers: which there are, and the parameters of each."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxzoo.spec.fields import require_choices, settle_fields
from jaxzoo.spec.parameters import Parameter, given_parameters, parameter_label, settle_parameters
from jaxzoo.spec.ranges import Range

MEAN = Range(0, 0.999999)  # of a running mean: nearer to 1 it would be 1 in float32, and a correction divide by 0
EPSILON = Range(1e-30, 1)  # float32 holds it, and no division is by zero
BETAS = {"beta1": Parameter(0.9, MEAN), "beta2": Parameter(0.999, MEAN), "epsilon": Parameter(1e-8, EPSILON)}

# the one list of optimizers, and of what each of them has; what they compute is in jaxzoo.training.optimizers
OPTIMIZER_PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {
    "adam": BETAS,
    # without a momentum of its own sgd has that of the ZooSpec
    "sgd": {"momentum": Parameter(None, Range(0, 1, (True, False))), "nesterov": Parameter(False, None)},
    "rms_prop": {"decay": Parameter(0.99, MEAN), "epsilon": Parameter(1e-8, EPSILON)},
    "adamw": BETAS,
    "nadam": BETAS,
    "lion": {"beta1": Parameter(0.9, MEAN), "beta2": Parameter(0.99, MEAN)},
}
OPTIMIZERS = tuple(OPTIMIZER_PARAMETERS)
CYCLED = ("momentum", "beta1")  # what a one-cycle schedule moves, of an optimizer that has it


@dataclass(frozen=True, kw_only=True, repr=False)
class Optimizer:
    """An optimizer and its parameters, each None for its default. A parameter that it does not have is an error.

    `momentum` and `nesterov` are of sgd, whose momentum without its own is that of the ZooSpec. `beta1` and `beta2` are
    the means of Adam and its kin, and of Lion. `decay` is the mean of RMSprop, alpha in PyTorch.

    >>> Optimizer(name="adam", beta1=0.5, beta2=0.999).label
    'adam(beta1=0.5)'
    """

    name: str = field(metadata={"allowed": OPTIMIZERS})
    momentum: float | None = None
    nesterov: bool | None = None
    beta1: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    decay: float | None = None

    def __post_init__(self) -> None:
        settle_fields(self)
        require_choices("name", (self.name,), OPTIMIZERS)
        settle_parameters(self, self.name, OPTIMIZER_PARAMETERS[self.name])

    def __repr__(self) -> str:
        given = {"name": self.name, **given_parameters(self)}
        return f"Optimizer({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    @classmethod
    def of_word(cls, field: str, word: str) -> "Optimizer":
        """The optimizer of that name with its defaults. Raises InputError, which names the field that has the word."""
        require_choices(field, (word,), OPTIMIZERS)
        return cls(name=word)

    @property
    def label(self) -> str:
        """What members' rows say of it: its name, and what is not at its default. It is for reading and comparing."""
        return parameter_label(self, self.name)

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter that it has; sgd's momentum is None where the ZooSpec says it."""
        defaults = {name: known.default for name, known in OPTIMIZER_PARAMETERS[self.name].items()}
        return defaults | given_parameters(self)

    def written(self) -> str | dict[str, Any]:
        """As it stands in zoo.json and in digests: its name alone where all is at its default."""
        given = given_parameters(self)
        return {"name": self.name, **given} if given else self.name


@functools.lru_cache(maxsize=16)  # a plan asks once for each member
def optimizers_by_label(optimizers: tuple[Optimizer, ...]) -> Mapping[str, Optimizer]:
    """The optimizers by the labels that members' rows have."""
    return {optimizer.label: optimizer for optimizer in optimizers}
