"""A call that was checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxzoo.errors import InputError
from jaxzoo.spec.form import Form
from jaxzoo.spec.plan import Cohort, Plan
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.record import ZooRecord
from jaxzoo.storage.snapshots import snapshot_epochs
from jaxzoo.storage.staging import key_of
from jaxzoo.storage.store_paths import AnyPath, zoo_path
from jaxzoo.storage.targets import Target
from jaxzoo.storage.zoo_folder import cohort_folder, twins_folder


class Job(NamedTuple):
    """A call that was checked: the zoo to make in `folder`, the cohorts of it, and how.

    `begun` is the record of the zoo where one was begun in the folder. Where the call wants more models, seeds or
    epochs than that zoo has, it is the record that the zoo is to grow to, and `wanted` is the spec that asks for it;
    else that is None. `plan` is that of `begun`, else of the spec that was asked for. `cohorts` are the numbers of
    those to make, None for all. `twin` says how twins are made, None for no twins; with `anew` those that are there
    were made of an earlier epoch, and make room. `kept` has the epochs whose weights stay on disk besides the last two,
    None for all. With `repair`, missing and damaged epochs are made again. `licence` is what the zoo is to say of its
    licence, None for what it says. `form` is what the call says of that, None for what suits the zoo. `share` has the
    seconds of a lease where several calls make the zoo at the same time, None for one call. Where there is a `target`,
    `folder` is a stage, and the zoo is moved to the target while it is made.
    """

    folder: Path
    plan: Plan
    begun: ZooRecord | None
    cohorts: range | None
    twin: TwinSpec | None
    kept: tuple[int, ...] | None = None
    engine: str | None = None
    lanes: int | None = None
    repair: bool = False
    licence: str | None = None
    wanted: ZooSpec | None = None
    anew: bool = False
    form: Form | None = None
    share: float | None = None
    target: Target | None = None

    @property
    def chosen(self) -> Sequence[Cohort]:
        """The cohorts to make."""
        return choose_cohorts(self.plan, self.cohorts)

    @property
    def zoo_path(self) -> AnyPath:
        """Where the zoo is to be read from, as it is now."""
        return self.folder if self.target is None else zoo_path(str(self.target))

    def held(self, cohort: Cohort, twin: TwinSpec | None) -> list[int]:
        """The epochs of a cohort, or of its twins, that are whole already, in order."""
        if twin is not None and self.anew:
            return []
        zoo = self.folder if twin is None else twins_folder(self.folder, twin.method)
        own = cohort_folder(zoo, cohort.number)
        there = [] if self.target is None else self.target.epochs(f"{key_of(self.folder, own)}/snapshots")
        return sorted({*snapshot_epochs(own), *there})

    def finished(self, cohort: Cohort, twin: TwinSpec | None) -> bool:
        """Whether the last epoch of a cohort, or of its twins, is whole already."""
        return (self.plan.spec.epochs if twin is None else twin.length) in self.held(cohort, twin)


def choose_cohorts(plan: Plan, cohorts: range | None) -> Sequence[Cohort]:
    """The cohorts of a range of numbers, all without one. Raises InputError for numbers that the plan does not have."""
    if cohorts is None:
        return plan.cohorts
    if not cohorts or cohorts.step < 1 or cohorts[0] < 0 or cohorts[-1] >= len(plan.cohorts):
        got = f"{cohorts.start}:{cohorts.stop}" + (f":{cohorts.step}" if cohorts.step != 1 else "")
        raise InputError(f"zoo {plan.spec.name!r}: cohorts are {got}, expected a part of 0:{len(plan.cohorts)}")
    return plan.cohorts[cohorts.start : cohorts.stop : cohorts.step]
