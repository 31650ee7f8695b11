"""What a person sees while a zoo is made, and when it is done."""

import functools
import sys
import time
from types import TracebackType
from typing import Self

import numpy as np
from tqdm import tqdm

from jaxzoo.compose import EpochSaved, Event, Notice, Trained, choose_cohorts
from jaxzoo.plan import plan_zoo
from jaxzoo.spec import ZooSpec
from jaxzoo.zoo import Zoo


class ProgressBar:
    """A bar over all training samples of a run: cohort, epoch, samples/s, accuracy so far, time left."""

    def __init__(self, spec: ZooSpec, cohorts: range | None) -> None:
        plan = plan_zoo(spec)
        chosen = choose_cohorts(plan, cohorts)
        self.trained = 0
        self.seconds = 0.0
        self._spec = spec
        self._cohorts = len(plan.cohorts)
        self._start = time.monotonic()
        self._accuracies: dict[int, np.ndarray] = {}
        self._samples = spec.dataset.train * spec.epochs * sum(len(cohort.members) for cohort in chosen)

    @functools.cached_property
    def _bar(self) -> tqdm:
        """Drawn with the first event: an error before that stands alone on the screen."""
        return tqdm(
            total=self._samples,
            desc=self._spec.name,
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 10,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the bar as it is on the screen."""
        self.seconds = time.monotonic() - self._start
        if "_bar" in vars(self):
            self._bar.close()

    def show(self, event: Event) -> None:
        """Takes an event of `generate`."""
        match event:
            case Notice(text):
                self._bar.write(text, file=sys.stderr)
            case EpochSaved(cohort, _, metrics):
                self._accuracies[cohort] = metrics["test_accuracy"]
                median = float(np.median(np.concatenate([*self._accuracies.values()])))
                self._bar.set_postfix_str(f"median test accuracy {median:.3f}", refresh=False)
            case Trained(_, _, samples, True):
                # done by an earlier run: part of the bar, not of the rate
                self._bar.initial += samples
                self._bar.n += samples
                self._bar.refresh()
            case Trained(cohort, epoch, samples, _):
                self.trained += samples
                where = f"cohort {cohort + 1}/{self._cohorts} epoch {epoch}/{self._spec.epochs}"
                self._bar.set_description(f"{self._spec.name}: {where}", refresh=False)
                self._bar.update(samples)


def summary(zoo: Zoo, progress: ProgressBar) -> str:
    """What was made, how fast, how good, and where it lies."""
    epochs = zoo.epochs
    rate = f"{progress.trained / progress.seconds:,.0f} training samples/s" if progress.trained else "all was there"
    lines = [
        f"zoo        {zoo.spec.name} in {zoo.path}",
        f"models     {len(zoo.members):,}, {len(zoo.members) * len(epochs):,} states",
        f"time       {progress.seconds:,.1f} s, {rate}",
    ]
    if not epochs or epochs[-1] < zoo.spec.epochs:
        lines.append("unfinished some cohorts are not there yet")
        return "\n".join(lines)
    final = zoo.metrics_at(epochs[-1])
    lowest, lower, median, upper, highest = np.quantile(final["test_accuracy"], [0, 0.25, 0.5, 0.75, 1])
    lines.append(
        f"accuracy   test, after {epochs[-1]} epochs: quartiles {lower:.3f} {median:.3f} {upper:.3f}, "
        f"from {lowest:.3f} to {highest:.3f}"
    )
    diverged = int((~final["finite"].astype(bool)).sum())
    if diverged:
        lines.append(f"diverged   {diverged} models; kept, `finite` is false in the metrics")
    return "\n".join(lines)
