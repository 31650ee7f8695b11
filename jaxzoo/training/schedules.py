"""Schedules: how the learning rate and the momentum change from step to step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxzoo.models.networks import Array
from jaxzoo.spec.schedule import Schedule

PEAK_AT = 0.3  # of all steps
START_DIVISOR = 25.0  # the first rate is the peak divided by this
END_DIVISOR = 1e4  # the last rate is the first rate divided by this
MOST_MOMENTUM, LEAST_MOMENTUM = 0.95, 0.85


class Moment(NamedTuple):
    """The settings of one step: the learning rate as a share of the grid's, and the momentum (for Adam, beta 1).

    The momentum is None where it stays what the spec says.
    """

    rate: jax.Array
    momentum: jax.Array | None


Steps = Array | int  # the same for all members, or (M,)


def moment_at(schedule: Schedule, step: Steps, per_epoch: Steps, steps: Steps | None) -> Moment | None:
    """The moment of a schedule at a step; None where learning rate and momentum stay what the spec says.

    `per_epoch` are the steps of an epoch, so that cohorts with other batches move at the same epochs. `steps` are those
    that the schedule spans. A schedule that does not depend on them takes None.
    """
    values = schedule.values
    if schedule.kind == "constant":
        return None
    if schedule.kind == "step":
        return Moment(step_decay(step, values["every"] * per_epoch, values["factor"]), None)
    assert steps is not None
    if schedule.kind == "cosine":
        return Moment(cosine(step, steps, _warmup_steps(values["warmup"], per_epoch, steps), values["end"]), None)
    return one_cycle(step, steps)


def _warmup_steps(epochs: float, per_epoch: Steps, steps: Steps) -> Steps:
    # rounding could take the last step, too
    if isinstance(per_epoch, int) and isinstance(steps, int):
        return min(round(epochs * per_epoch), steps - 1)
    return jnp.minimum(jnp.round(epochs * per_epoch).astype(int), steps - 1)


def step_decay(step: Steps, every: Steps, factor: float) -> jax.Array:
    """The rate at a step from 0 on, which is multiplied by `factor` after each `every` steps.

    It is `torch.optim.lr_scheduler.StepLR`, stepped once an epoch, where `every` is whole epochs of steps.
    """
    return jnp.power(factor, jnp.asarray(step // every, jnp.result_type(float)))


def cosine(step: Steps, steps: Steps, warmup: Steps, end: float) -> jax.Array:
    """The rate at a step of 0..`steps`-1: a line up over `warmup` steps, then half a cosine down towards `end`.

    The line begins at 1 / (warmup + 1), so that no step is lost on a rate of 0, and step number `warmup` is the first
    at the full rate. The cosine (Loshchilov, Hutter 2017, arXiv 1608.03983) would reach `end` at the step after the
    last. It is `torch.optim.lr_scheduler.LinearLR`, then `CosineAnnealingLR` with T_max = steps - warmup.
    """
    position = jnp.asarray(step, jnp.result_type(float))
    to_go = (steps - position) / (steps - warmup)
    # this is (1 + cos(pi (1 - to_go))) / 2, whose sum would lose the last rates to rounding
    left = jnp.sin(jnp.pi / 2 * to_go) ** 2
    return jnp.where(position < warmup, (position + 1) / (warmup + 1), end + (1 - end) * left)


def one_cycle(step: Steps, steps: Steps) -> Moment:
    """The one-cycle policy (Smith, Topin 2018, arXiv 1708.07120) at a step of 0..`steps`-1.

    It is `torch.optim.lr_scheduler.OneCycleLR` with its defaults. The rate rises from 1/25 to 1 over the first 30 % of
    the steps and then falls to 1/250,000, both along half a cosine. The momentum goes from 0.95 to 0.85 and back.
    """
    peak, last = PEAK_AT * steps - 1, steps - 1  # as in PyTorch the peak may fall between two steps
    position = jnp.asarray(step, jnp.result_type(float))
    rising = position <= peak
    to_go = jnp.where(rising, _share_to_go(position, peak), (last - position) / (last - peak))
    # this is (1 - cos(pi x)) / 2, whose difference would lose the last rates to rounding
    left = jnp.sin(jnp.pi / 2 * to_go) ** 2
    start, end = 1 / START_DIVISOR, 1 / (START_DIVISOR * END_DIVISOR)
    rate = jnp.where(rising, 1 + (start - 1) * left, end + (1 - end) * left)
    momentum = LEAST_MOMENTUM + (MOST_MOMENTUM - LEAST_MOMENTUM) * jnp.where(rising, left, 1 - left)
    return Moment(rate, momentum)


def _share_to_go(position: jax.Array, peak: Array | float) -> jax.Array | float:
    """How much of the way to the peak is left; so few steps that the peak would come before them have no way."""
    if isinstance(peak, float):
        return (peak - position) / peak if peak > 0 else 0.0
    return jnp.where(peak > 0, (peak - position) / jnp.where(peak > 0, peak, 1.0), 0.0)
