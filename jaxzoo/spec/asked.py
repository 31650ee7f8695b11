"""What a spec asks to keep of a cohort besides the weights at the ends of its epochs."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxzoo.spec.plan import CohortKey, Plan, steps_of
from jaxzoo.spec.snapshots import Moment, moment_of_step
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec


class Asked(NamedTuple):
    """What is asked for of a cohort whose epochs have `per_epoch` steps.

    `steps` are those whose state is kept, in ascending order; some may be the ends of epochs. `outputs` has the epochs
    at whose ends the networks' outputs are kept.
    """

    per_epoch: int = 1
    steps: Sequence[int] = ()
    outputs: Sequence[int] = ()

    @property
    def moments(self) -> list[Moment]:
        """The steps that lie within epochs."""
        return [moment for moment in map(self.moment_of, self.steps) if moment.step is not None]

    @property
    def ends(self) -> tuple[int, ...]:
        """The epochs whose end is a step that is asked for."""
        return tuple(moment.epoch for moment in map(self.moment_of, self.steps) if moment.step is None)

    def moment_of(self, step: int) -> Moment:
        """When a step is: within an epoch, or at its end."""
        return moment_of_step(step, self.per_epoch)


def asked_of(spec: ZooSpec, key: CohortKey, twin: TwinSpec | None = None) -> Asked:
    """What the spec asks for of a cohort of that key, or of its twins, of which no steps are kept."""
    per_epoch = steps_of(key)
    none = twin is not None or spec.snapshots is None
    return Asked(
        per_epoch=per_epoch,
        steps=() if none or spec.snapshots is None else spec.snapshots.steps_to(spec.epochs * per_epoch),
        outputs=() if spec.outputs is None else spec.outputs.epochs_to(spec.epochs if twin is None else twin.length),
    )


def kept_with_ends(kept: tuple[int, ...] | None, plan: Plan) -> tuple[int, ...] | None:
    """The kept epochs of a zoo, with those whose ends are steps that its spec asks for; None where all are kept."""
    if kept is None:
        return None
    ends = {end for key in {cohort.key for cohort in plan.cohorts} for end in asked_of(plan.spec, key).ends}
    return tuple(sorted({*kept, *ends}))
