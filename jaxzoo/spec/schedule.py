"""How the learning rate moves while a zoo is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxzoo.errors import InputError
from jaxzoo.spec.fields import LATER, require_choices, settle_fields
from jaxzoo.spec.parameters import Parameter, given_parameters, parameter_label, settle_parameters
from jaxzoo.spec.ranges import Range

MOST_EPOCHS = 10**6

SCHEDULE_PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {
    "constant": {},
    "one-cycle": {},
    "cosine": {"warmup": Parameter(0.0, Range(0, MOST_EPOCHS)), "end": Parameter(0.0, Range(0, 1))},
    "step": {"every": Parameter(None, Range(1, MOST_EPOCHS)), "factor": Parameter(0.1, Range(0, 1, (False, False)))},
}
SCHEDULES = tuple(SCHEDULE_PARAMETERS)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves. The grid's learning rate is its highest.

    `constant` does not move it. `one-cycle` raises and lowers it over all steps, and moves the momentum the other way
    round. `cosine` raises it in a line over `warmup` epochs (a part of an epoch will do; 0 without it), then lowers it
    along half a cosine to the share `end` of it (0 without it), over all steps that are left. `step` multiplies it by
    `factor` (0.1 without it) after each `every` epochs; it does not move within an epoch.

    One cycle and a cosine span all epochs of a zoo, or all those of its twins. Parameters are None for their default.
    The formulas are in jaxzoo.training.schedules.
    """

    kind: str = "constant"
    warmup: float | None = field(default=None, metadata=LATER)
    end: float | None = field(default=None, metadata=LATER)
    every: int | None = field(default=None, metadata=LATER)
    factor: float | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        settle_fields(self)
        require_choices("kind", (self.kind,), SCHEDULES)
        settle_parameters(self, self.kind, SCHEDULE_PARAMETERS[self.kind])
        if self.kind == "step" and self.every is None:
            raise InputError("every is missing, expected the epochs after which the step lowers the rate", ("every",))

    @property
    def label(self) -> str:
        """A text to read: the kind, and what is not at its default."""
        return parameter_label(self, self.kind)

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter that the kind has."""
        defaults = {name: known.default for name, known in SCHEDULE_PARAMETERS[self.kind].items()}
        return defaults | given_parameters(self)

    @property
    def depends_on_length(self) -> bool:
        """Whether the rate at a step depends on how many epochs there are."""
        return self.kind in ("one-cycle", "cosine")

    @property
    def moves_momentum(self) -> bool:
        """Whether the momentum, or Adam's beta 1, is the schedule's and not the spec's."""
        return self.kind == "one-cycle"
