"""Which models, or which epochs, a caller means: a number, several numbers, or a mask."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AnySet
from typing import Any

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, shown

MOST_LISTED = 60
Choice = Any  # int | Sequence[int] | a mask: NumPy, pandas, JAX and lists are taken alike


def chosen_models(where: str, given: Choice, held: Sequence[int]) -> list[int]:
    """The numbers of some of the models that are `held`, in the order given; of all for None. Raises InputError."""
    if given is None:
        return [*held]
    numbers = _numbers(f"{where}: models", given, held, f"models are {_listed(held)}")
    known = {*held}
    for number in numbers:
        if number not in known:
            raise InputError(f"{where}: model is {number}, expected {'one of ' if _gaps(held) else ''}{_listed(held)}")
    return numbers


def chosen_epochs(where: str, given: Choice, held: Sequence[int]) -> list[int]:
    """One epoch, or several, as a list. Raises InputError unless all are among the epochs that are `held`."""
    known = "one that all cohorts hold; there is none yet, and open_zoo(path, partial=True) opens what is there"
    if held:
        known = f"one of {_listed(held)}; 0 is untrained, and zoo.epochs[-1] the last one"
    wanted = _numbers(f"{where}: epoch", given, held, f"here {known}")
    strangers = [epoch for epoch in wanted if epoch not in held]
    if strangers or not wanted:
        raise InputError(f"{where}: epoch is {strangers[0] if strangers else 'none'}, expected {known}")
    return wanted


def chosen_steps(where: str, given: Choice, held: Sequence[int]) -> list[int]:
    """One step, or several, as a list. Raises InputError unless all are among the steps that are `held`."""
    known = f"one of zoo.steps: {_listed(held)}" if held else "an epoch: no steps are there that all cohorts hold"
    wanted = _numbers(f"{where}: step", given, held, f"here {known}")
    strangers = [step for step in wanted if step not in held]
    if strangers or not wanted:
        raise InputError(f"{where}: step is {strangers[0] if strangers else 'none'}, expected {known}")
    return wanted


def _listed(numbers: Sequence[int]) -> str:
    """The numbers as 0..20, or, where there are gaps, one by one; of many the first ones and the last."""
    if not _gaps(numbers):
        return f"{numbers[0]}..{numbers[-1]}"
    shown_first = numbers if len(numbers) <= MOST_LISTED else numbers[: MOST_LISTED - 1]
    cut = "" if len(numbers) <= MOST_LISTED else f" ... {numbers[-1]}"
    return ", ".join(map(str, shown_first)) + cut


def _gaps(numbers: Sequence[int]) -> bool:
    return len(numbers) < numbers[-1] - numbers[0] + 1


def is_one(given: Choice) -> bool:
    """Whether a single number is given, of Python or NumPy."""
    return np.ndim(given) == 0 if isinstance(given, np.ndarray | np.generic) else not isinstance(given, Iterable)


def _numbers(name: str, given: Choice, known: Iterable[int], meaning: str) -> list[int]:
    """The numbers that `given` stands for, in its order, which need not be among the `known`.

    A mask has a truth value for each of the known numbers, and stands for those where it is true; a pandas mask is
    brought into the order of its index. Floats must be whole. Raises InputError for anything else; its line ends in
    `meaning`, which says what the numbers are.
    """
    known = list(known)
    wanted = f"a whole number, several, or a mask of {len(known)} truth values; {meaning}"
    if isinstance(given, str | bytes | Mapping | AnySet | pd.DataFrame):
        raise InputError(f"{name} is {shown(given)}, expected {wanted}")
    values = _as_array(given)
    if values is None or values.ndim > 1:
        raise InputError(f"{name} is {shown(given)}, expected {wanted}")
    if values.dtype == bool:
        return _under_mask(name, given, values, known)
    if not values.size:
        return []
    if values.dtype.kind not in "iuf" or not (np.isfinite(values) & (values == np.trunc(values))).all():
        raise InputError(f"{name} is {shown(given)}, expected {wanted}")
    return [int(value) for value in values.reshape(-1).tolist()]


def _as_array(given: Choice) -> np.ndarray | None:
    """The values as an array, None where they are of no one kind: [True, 2] is neither a mask nor numbers."""
    items = given if is_one(given) or hasattr(given, "dtype") else [*given]
    if isinstance(items, list) and len({isinstance(item, bool | np.bool_) for item in items}) > 1:
        return None
    try:
        values = np.asarray(items)
        return np.asarray(values.tolist()) if values.dtype == object else values  # pandas' types that know "missing"
    except (TypeError, ValueError, OverflowError):  # lists of different lengths
        return None


def _under_mask(name: str, given: Choice, mask: np.ndarray, known: list[int]) -> list[int]:
    if mask.shape != (len(known),):
        raise InputError(f"{name} is a mask of shape {mask.shape}, expected a truth value for each of {len(known)}")
    if isinstance(given, pd.Series):
        if {*given.index} != {*range(len(known))}:
            raise InputError(f"{name} is a mask whose index is not 0..{len(known) - 1}, expected that of zoo.members")
        mask = mask[np.argsort(given.index.to_numpy())]
    return [number for number, kept in zip(known, mask.tolist(), strict=True) if kept]
