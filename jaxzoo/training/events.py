"""What a caller hears while a zoo is made."""

from typing import NamedTuple

import numpy as np

Metrics = dict[str, np.ndarray]


class Trained(NamedTuple):
    """So many more training samples are done, in an epoch of one of `cohorts` cohorts, which count from 0.

    `restored` samples were done by an earlier run. `twins` says whether the cohort is one of sparse twins. Epoch 0 has
    none: what is untrained is being evaluated.
    """

    cohort: int
    cohorts: int
    epoch: int
    samples: int
    restored: bool = False
    twins: bool = False


class EpochSaved(NamedTuple):
    """An epoch of a cohort is trained, evaluated and on its way to the disk. Metrics are (models,) each."""

    cohort: int
    epoch: int
    metrics: Metrics
    twins: bool = False


class Notice(NamedTuple):
    """Something that a person should know."""

    text: str


Event = Trained | EpochSaved | Notice


class Interrupted(Exception):
    """`should_stop` asked for an end. Every finished epoch is on disk, and the same call goes on from there."""
