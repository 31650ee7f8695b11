"""What a person sees while a zoo is made, and when it is done."""

import functools
import sys
import time
from types import TracebackType
from typing import Self

import numpy as np
from tqdm import tqdm

from jaxzoo.reading.zoo import Zoo
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec
from jaxzoo.training.checks import choose_cohorts
from jaxzoo.training.cohort import EpochSaved, Event, Notice, Trained


class ProgressBar:
    """A bar over all training samples of a run: cohort, epoch, samples/s, accuracy so far, time left.

    Of a zoo (`dense`), of its twins, or of both.
    """

    def __init__(self, spec: ZooSpec, cohorts: range | None, twin: TwinSpec | None, *, dense: bool = True) -> None:
        chosen = choose_cohorts(plan_zoo(spec), cohorts)
        self.trained = 0
        self.seconds = 0.0
        self._spec = spec
        self._start = time.monotonic()
        self._accuracies: dict[int, np.ndarray] = {}
        self._twin_epochs = 0 if twin is None else twin.epochs
        epochs = (spec.epochs if dense else 0) + self._twin_epochs
        self._samples = spec.dataset.train * epochs * sum(len(cohort.members) for cohort in chosen)

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
            case EpochSaved(cohort, _, metrics, twins):
                self._accuracies[cohort] = metrics["test_accuracy"]
                median = float(np.median(np.concatenate([*self._accuracies.values()])))
                words = f"median test accuracy {median:.3f}"
                if twins:
                    words += f", sparsity {float(np.median(metrics['sparsity'])):.3f}"
                self._bar.set_postfix_str(words, refresh=False)
            case Trained(_, _, _, samples, True):
                # done by an earlier run: part of the bar, not of the rate
                self._bar.initial += samples
                self._bar.n += samples
                self._bar.refresh()
            case Trained(cohort, cohorts, epoch, samples, _, twins):
                self.trained += samples
                what, last = ("twins' epoch", self._twin_epochs) if twins else ("epoch", self._spec.epochs)
                where = f"cohort {cohort + 1}/{cohorts} {what} {epoch}/{last}"
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
    if not epochs or epochs[-1] < zoo.record.epochs:
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
    return "\n".join([*lines, *(twins_summary(zoo, twins) for twins in zoo.twins.values())])


def twins_summary(parent: Zoo, twins: Zoo) -> str:
    """How sparse twins became, and what it cost."""
    assert twins.record.twin is not None
    epochs = twins.epochs
    head = f"twins      {twins.record.twin.method} in {twins.path}: "
    if not epochs or epochs[-1] < twins.record.epochs:
        return head + "unfinished"
    final, before = twins.metrics_at(epochs[-1]), parent.metrics_at(parent.record.epochs)
    sparsity, accuracy = final["sparsity"].median(), final["test_accuracy"].median()
    loss = (before["test_accuracy"] - final["test_accuracy"]).median()
    return (
        f"{head}after {epochs[-1]} epochs {sparsity:.1%} zeros and test accuracy {accuracy:.3f}, "
        f"{abs(loss):.3f} {'below' if loss >= 0 else 'above'} the parents' (medians)"
    )
