"""The models and epochs of a zoo that are exported, read in portions."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from jaxzoo.errors import InputError, shown
from jaxzoo.models.networks import Variables
from jaxzoo.reading.choices import Choice, chosen_epochs
from jaxzoo.reading.examples import dataset_of
from jaxzoo.reading.layout import layout_width
from jaxzoo.reading.zoo import Zoo
from jaxzoo.spec.dataset_spec import DatasetSpec

PORTION_BYTES = 256_000_000  # of weights in memory at a time
LAST = "last"


class Portion(NamedTuple):
    """Models at an epoch: their numbers, and their variables with leaves (models, ...)."""

    models: tuple[int, ...]
    variables: Variables


class Chosen(NamedTuple):
    """The `models` of a zoo that are exported, at the `epochs` that are, both in ascending order."""

    zoo: Zoo
    models: tuple[int, ...]
    epochs: tuple[int, ...]

    @property
    def members(self) -> pd.DataFrame:
        """The rows of the models in `zoo.members`, in their order."""
        return self.zoo.members.set_index("model", drop=False).loc[list(self.models)].reset_index(drop=True)

    @property
    def dataset(self) -> DatasetSpec | None:
        """The data set that the models were trained on, None where it is not known. Raises InputError for several."""
        spec = self.zoo.spec
        return None if spec.dataset is None else dataset_of(self.zoo.path, spec, [*map(self.zoo.member, self.models)])

    @property
    def metrics(self) -> pd.DataFrame:
        """The models' metrics at every epoch that the zoo has metrics of, by epoch, then model."""
        table = self.zoo.metrics
        return table[table["model"].isin(self.models)].sort_values(["epoch", "model"], ignore_index=True)

    @property
    def states(self) -> int:
        """How many states there are: models at an epoch."""
        return len(self.models) * len(self.epochs)

    def of_each_architecture(self) -> Iterator["Chosen"]:
        """Yields the models that have one architecture, in a zoo of their own, for every architecture of theirs."""
        wanted = {*self.models}
        for group in self.zoo.groups.values():
            own = sorted(wanted & {*group.numbers_of(None)})
            if own:
                yield self._replace(zoo=group, models=tuple(own))

    def portions(self, epoch: int) -> Iterator[Portion]:
        """Yields all of the models, which have one architecture, at an epoch, as many at a time as make 256 MB."""
        most = max(1, PORTION_BYTES // (4 * layout_width(self.zoo.layout)))
        for first in range(0, len(self.models), most):
            models = self.models[first : first + most]
            yield Portion(models, self.zoo.variables(epoch, list(models)))


def choose(
    zoo: Zoo, epochs: Choice | str = None, models: Choice = None, where: str | None = None, *, mixtures: bool = False
) -> Chosen:
    """What is exported of a zoo: all of it, or some epochs ("last" is the last one) and some models.

    `where` is a condition on the columns of `members` and `metrics` as `zoo.select` takes it; models stay that meet it
    at the last of the epochs. Raises InputError, also where nothing is left, for models of several data sets,
    and for models of several architectures unless these may be `mixtures`.
    """
    if isinstance(epochs, str) and epochs != LAST:
        raise InputError(f"epochs is {shown(epochs)}, expected numbers, a mask, or 'last'")
    if not zoo.epochs:
        raise InputError(f"{zoo.path}: holds no epoch of all models yet, expected one or more")
    given: Any = zoo.epochs if epochs is None else zoo.epochs[-1] if isinstance(epochs, str) else epochs
    held = sorted({*chosen_epochs(str(zoo.path), given, zoo.epochs)})
    numbers = {*zoo.numbers_of(models)}
    if where is not None:
        numbers &= {*zoo.select(epochs=held[-1], where=where).table["model"].tolist()}
    if not numbers:
        raise InputError(f"{zoo.path}: no model is left to export, expected one or more")
    own = zoo if mixtures else zoo.of_one(sorted(numbers))
    chosen = Chosen(own, tuple(sorted(numbers)), tuple(held))
    _ = chosen.dataset  # raises for several
    return chosen


def spread(chosen: Chosen, count: int | None) -> Chosen:
    """So many of the chosen models, spread evenly over them, the first and the last among them; all of them for None.

    Raises InputError for a count below 1.
    """
    if count is None:
        return chosen
    if count < 1:
        raise InputError(f"sample is {shown(count)}, expected 1 or more models")
    have = len(chosen.models)
    if count >= have:
        return chosen
    rows = [row * (have - 1) // max(1, count - 1) for row in range(count)]  # no two alike: each is 1 or more ahead
    return chosen._replace(models=tuple(chosen.models[row] for row in rows))
