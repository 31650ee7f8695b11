"""Which epochs, steps and models of a zoo a caller means."""

from collections.abc import Sequence

from jaxzoo.errors import InputError
from jaxzoo.reading.choices import Choice, chosen_epochs, chosen_models, chosen_steps
from jaxzoo.reading.stored import Step, StoredTimes, Time
from jaxzoo.spec.imported_spec import AnySpec
from jaxzoo.spec.outputs import Outputs
from jaxzoo.spec.plan import Member
from jaxzoo.storage.imported import Record
from jaxzoo.storage.store_paths import AnyPath


def keeps_optimizer(record: Record) -> bool:
    """Whether the snapshots of a zoo hold the optimizer's state; those of twins and of imported zoos do not."""
    snapshots = getattr(record.spec, "snapshots", None)
    return snapshots is not None and snapshots.keep_optimizer and record.twin is None


class Asking:
    """Times and models as callers give them, held to what is there. Raises InputError for what is not."""

    def __init__(self, path: AnyPath, stored: StoredTimes, members: Sequence[Member], *, partial: bool) -> None:
        self._path, self._stored, self._partial = path, stored, partial
        self._optimizers = {member.model: member.hyperparameters["optimizer"] for member in members}
        self._numbers = [member.model for member in members]

    def times(self, epoch: Choice, step: Choice) -> list[Time]:
        """One time or several, by their epochs or by their steps."""
        if step is None:
            return [*self.epochs(epoch)]
        if epoch is not None:
            raise InputError(f"{self._path}: both an epoch and a step are given, expected one of the two")
        return [Step(number) for number in chosen_steps(str(self._path), step, self._stored.with_steps)]

    def time(self, epoch: Choice, step: Choice) -> Time:
        """A single time."""
        (time,) = self.times(*(None if given is None else [given] for given in (epoch, step)))
        return time

    def epochs(self, given: Choice, held: Sequence[int] | None = None) -> list[int]:
        """One epoch, or several, as a list; all are `held`, by default those with weights."""
        return chosen_epochs(str(self._path), given, self._stored.with_weights if held is None else held)

    def models(self, given: Choice) -> list[int]:
        """The numbers of some models, in the order given; of all for None."""
        return chosen_models(str(self._path), given, self._numbers)

    def models_at(self, times: Sequence[Time], given: Choice) -> list[int]:
        """The numbers of some models, or of all; each has weights at every one of the times."""
        if given is None and self._partial:
            return self._stored.models_at_all(times)
        numbers = self.models(given)
        self._stored.check_held(times, numbers)
        return numbers

    def models_of_one_optimizer(self, record: Record, time: Time, given: Choice) -> list[int]:
        """As `models_at`, of models that share an optimizer whose state was kept."""
        if not keeps_optimizer(record):
            raise InputError(f"{self._path}: keeps no optimizer's state, expected a zoo of keep_optimizer = true")
        numbers = self.models_at([time], given)
        kinds = [*dict.fromkeys(self._optimizers[number] for number in numbers)]
        if len(kinds) > 1:
            raise InputError(f"{self._path}: the models differ in optimizer ({kinds}), expected models of one of them")
        return numbers

    def outputs(self, spec: AnySpec, split: str) -> Outputs:
        """The outputs that a spec asks for, on that split among others."""
        asked: Outputs | None = getattr(spec, "outputs", None)
        if asked is None:
            raise InputError(f"{self._path}: keeps no outputs, expected a zoo whose spec asks for outputs")
        if split not in asked.splits:
            raise InputError(f"{self._path}: split is {split!r}, expected one with outputs: {', '.join(asked.splits)}")
        return asked

    def models_with_outputs(self, epoch: int, given: Choice) -> list[int]:
        """The numbers of some models, or of all that have outputs at an epoch."""
        there = self._stored.models_with_outputs(epoch)
        numbers = there if given is None else self.models(given)
        missing = {*numbers} - {*there}
        if missing:
            raise InputError(
                f"{self._path}: model {min(missing)} has no outputs at epoch {epoch}, expected one of them"
            )
        return numbers
