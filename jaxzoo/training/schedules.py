"""Schedules: how the learning rate and the momentum change from step to step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxzoo.spec.schedule import Schedule

PEAK_AT = 0.3  # of all steps
START_DIVISOR = 25.0  # the first rate is the peak divided by this
END_DIVISOR = 1e4  # the last rate is the first rate divided by this
MOST_MOMENTUM, LEAST_MOMENTUM = 0.95, 0.85


class Moment(NamedTuple):
    """The settings of one step: the learning rate as a share of the peak, and the momentum (for Adam, beta 1)."""

    rate: jax.Array
    momentum: jax.Array


def moment_at(schedule: Schedule, step: jax.Array | int, steps: int | None) -> Moment | None:
    """The moment of a schedule at a step; None where learning rate and momentum stay what the spec says.

    `steps` are the steps that the schedule spans. A schedule that does not depend on them takes None.
    """
    if schedule.kind == "constant":
        return None
    assert steps is not None
    return one_cycle(step, steps)


def one_cycle(step: jax.Array | int, steps: int) -> Moment:
    """The one-cycle policy (Smith, Topin 2018, arXiv 1708.07120) at a step of 0..`steps`-1.

    It is `torch.optim.lr_scheduler.OneCycleLR` with its defaults. The rate rises from 1/25 to 1 over the first 30 % of
    the steps and then falls to 1/250,000, both along half a cosine. The momentum goes from 0.95 to 0.85 and back.
    """
    peak, last = PEAK_AT * steps - 1, steps - 1  # as in PyTorch the peak may fall between two steps
    position = jnp.asarray(step, jnp.result_type(float))
    rising = position <= peak
    to_go = jnp.where(rising, (peak - position) / peak if peak > 0 else 0.0, (last - position) / (last - peak))
    # this is (1 - cos(pi x)) / 2, whose difference would lose the last rates to rounding
    left = jnp.sin(jnp.pi / 2 * to_go) ** 2
    start, end = 1 / START_DIVISOR, 1 / (START_DIVISOR * END_DIVISOR)
    rate = jnp.where(rising, 1 + (start - 1) * left, end + (1 - end) * left)
    momentum = LEAST_MOMENTUM + (MOST_MOMENTUM - LEAST_MOMENTUM) * jnp.where(rising, left, 1 - left)
    return Moment(rate, momentum)
