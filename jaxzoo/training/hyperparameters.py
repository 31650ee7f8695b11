"""The values that differ between the members of a cohort, as programs take them."""

from typing import NamedTuple

import numpy as np

from jaxzoo.models.networks import Array
from jaxzoo.spec.factors import LIMITING, OF_EXAMPLES, example_numbers
from jaxzoo.spec.grid import NUMBERS
from jaxzoo.spec.plan import Cohort, CohortKey


class Hyperparameters(NamedTuple):
    """The values that differ between the members of a cohort, (M,) each, by name.

    `numbers` are float32. `whole` has the factors of examples as int32: a share of the training examples as their
    count. `codes` has what a program's form takes for each member, as int32: which activation, which optimizer.
    """

    seed: Array
    numbers: dict[str, Array]
    whole: dict[str, Array]
    codes: dict[str, Array]


def number_names(key: CohortKey) -> tuple[str, ...]:
    """The hyperparameters that programs of the key take as float32."""
    return (*NUMBERS, *(name for name in key.factors if name not in OF_EXAMPLES))


def whole_names(key: CohortKey) -> tuple[str, ...]:
    """The factors of examples that programs of the key take."""
    return tuple(name for name in OF_EXAMPLES if name in key.factors)


def limits_examples(key: CohortKey) -> bool:
    """Whether members may see fewer than all training examples."""
    return any(name in LIMITING for name in key.factors)


def hyperparameters_at(cohort: Cohort, epoch: int) -> Hyperparameters:
    """The values in an epoch, (models,) on the host: a partner has those of its base until its change acts."""
    key = cohort.key
    points = [member.point_at(epoch) for member in cohort.members]
    codes = [key.codes(point) for point in points]
    whole = [example_numbers(point, key.factors, key.dataset.train) for point in points]
    return Hyperparameters(
        np.array([member.seed for member in cohort.members], np.uint32),
        {name: np.array([point[name] for point in points], np.float32) for name in number_names(key)},
        {name: np.array([numbers[name] for numbers in whole], np.int32) for name in whole_names(key)},
        {name: np.array([each[name] for each in codes], np.int32) for name in key.form},
    )


def epochs_of_change(cohort: Cohort) -> list[int]:
    """The epochs, counted from 1, from which on members have other values than before; the first is 1."""
    pairs = [member.pair for member in cohort.members if member.pair is not None]
    return sorted({1, *(pair.change_epoch for pair in pairs if pair.change)})
