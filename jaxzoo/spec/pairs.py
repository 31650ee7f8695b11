"""Counterfactual pairs: members that differ from others in exactly one thing."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.fields import require_choices, settle_fields
from jaxzoo.spec.grid import ALLOWED, FACTORS, TYPES, check_values
from jaxzoo.spec.ranges import Range

VARIED = tuple(name for name, allowed in ALLOWED.items() if isinstance(allowed, Range))
AT_THE_BEGINNING = (
    "batch_size",
    "initialization_scale",
    "initialization_std",
    "initialization_bias",
    "subset",
)  # not from an epoch on
# what a base has of a factor that its zoo does not declare: a value at which the factor changes nothing
NEUTRAL: Mapping[str, float] = {
    "initialization_scale": 1.0,
    "initialization_bias": 0.01,
    "label_smoothing": 0.0,
    "gradient_clip": 0.0,
    "train_fraction": 1.0,
    "excluded": 0.0,
    "excluded_class": -1,
    "label_noise": 0.0,
    "trigger": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class Vary:
    """One change: every member gets a partner of the same seed, whose `factor` has this `value` from an epoch on.

    The factor is a number that the zoo's members have, or a factor that they do not declare and that does nothing
    without being declared, such as `label_noise`. Before the epoch `from_epoch`, which counts from 1, the partner is
    trained exactly as its base is.
    """

    factor: str
    value: float
    from_epoch: int = 1

    def __post_init__(self) -> None:
        settle_fields(self)
        require_choices("factor", (self.factor,), VARIED)
        if TYPES[self.factor] is int:
            require(self.value.is_integer(), "value", self.value, f"a whole number for {self.factor}")
        try:
            check_values(self.factor, [self.value])
        except InputError as error:
            raise InputError(f"value: {error}", ("value",)) from error
        require(self.from_epoch >= 1, "from_epoch", self.from_epoch, "1 or more")
        late = self.from_epoch > 1 and self.factor in AT_THE_BEGINNING
        require(not late, "from_epoch", self.from_epoch, f"1 for {self.factor}")

    def written(self) -> dict[str, Any]:
        """As it stands in zoo.json and in digests."""
        return dataclasses.asdict(self)

    @property
    def typed_value(self) -> Any:
        """The value in the factor's own type."""
        return TYPES[self.factor](self.value)


def neutral_values(varied: tuple[Vary, ...], declared: tuple[str, ...]) -> dict[str, Any]:
    """What bases have of the factors that only the changes name. Raises InputError where that is not known."""
    values = {}
    for each in varied:
        if each.factor in FACTORS and each.factor not in declared:
            known = each.factor in NEUTRAL
            require(known, "vary.factor", each.factor, f"a {each.factor} among the hyperparameters, too, for the bases")
            values[each.factor] = TYPES[each.factor](NEUTRAL[each.factor])
    return values
