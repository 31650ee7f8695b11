"""The progress bar while a zoo is made, and the summary when it is done."""

import functools
import sys
import time
from types import TracebackType
from typing import Self

import numpy as np
from tqdm import tqdm

from jaxzoo.reading.zoo import Zoo
from jaxzoo.training.events import EpochSaved, Event, Notice, Trained
from jaxzoo.training.job import Job


class ProgressBar:
    """A bar over all training samples of a job: cohort, epoch, samples/s, accuracy so far, time left.

    The job is that of a zoo (`dense`), with its twins or without, or that of twins alone.
    """

    def __init__(self, job: Job, *, dense: bool = True) -> None:
        spec, twin = job.plan.spec, job.twin
        self.trained = 0
        self.seconds = 0.0
        self._spec = spec
        self._start = time.monotonic()
        self._accuracies: dict[int, np.ndarray] = {}
        self._twin_epochs = 0 if twin is None else twin.length
        epochs = (spec.epochs if dense else 0) + self._twin_epochs
        self._samples = epochs * sum(cohort.samples for cohort in job.chosen)

    @functools.cached_property
    def _bar(self) -> tqdm:
        """The bar, which is drawn at the first event, so that an error before it stands alone on the screen."""
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
        """Closes the bar, which stays on the screen."""
        self.seconds = time.monotonic() - self._start
        if "_bar" in vars(self):
            self._bar.close()

    def show(self, event: Event) -> None:
        """Shows an event of `generate`."""
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
                # samples of an earlier run are part of the bar, but not of the rate
                self._bar.initial += samples
                self._bar.n += samples
                self._bar.refresh()
            case Trained(cohort, cohorts, epoch, samples, _, twins):
                self.trained += samples
                what, last = ("twins' epoch", self._twin_epochs) if twins else ("epoch", self._spec.epochs)
                doing = f"{what} {epoch}/{last}" if epoch > 0 else "evaluating before training"
                where = f"cohort {cohort} of 0..{cohorts - 1}, {doing}"
                self._bar.set_description(f"{self._spec.name}: {where}", refresh=False)
                self._bar.update(samples)


def tell(event: Event) -> None:
    """Prints what a person should know, while there is no bar."""
    if isinstance(event, Notice):
        print(event.text, file=sys.stderr)


def summary(zoo: Zoo, progress: ProgressBar) -> str:
    """A text for the screen: what was made, how fast, how good it is, and where it lies."""
    epochs = zoo.epochs
    rate = f"{progress.trained / progress.seconds:,.0f} training samples/s" if progress.trained else "all was there"
    lines = [
        f"zoo        {zoo.spec.name} in {zoo.path}",
        f"models     {len(zoo.members):,}, {len(zoo.members) * len(epochs):,} states",
        f"time       {progress.seconds:,.1f} s, {rate}",
    ]
    if not epochs or epochs[-1] < zoo.record.epochs:
        lines.append("unfinished some cohorts are still to be made")
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
    """A text for the screen: how sparse twins became, and how much accuracy they lost."""
    assert twins.record.twin is not None
    epochs = twins.epochs
    head = f"twins      {twins.record.twin.method} in {twins.path}: "
    if not epochs or epochs[-1] < twins.record.epochs:
        return head + "unfinished"
    last = parent.record.epochs if twins.record.parent is None else twins.record.parent.epoch
    final, before = twins.metrics_at(epochs[-1]), parent.metrics_at(last)
    sparsity, accuracy = final["sparsity"].median(), final["test_accuracy"].median()
    loss = (before["test_accuracy"] - final["test_accuracy"]).median()
    return (
        f"{head}after {epochs[-1]} epochs {sparsity:.1%} zeros and test accuracy {accuracy:.3f}, "
        f"{abs(loss):.3f} {'below' if loss >= 0 else 'above'} the parents' (medians)"
    )


class StatesBar:
    """A bar over the model states that an export or an import goes through.

    It is drawn when the first of them are done, so that an error before it stands alone on the screen.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._states = 0

    @functools.cached_property
    def _bar(self) -> tqdm:
        interval = 0.2 if sys.stderr.isatty() else 10
        return tqdm(
            total=self._states,
            desc=self._name,
            unit=" states",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=interval,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the bar, which stays on the screen."""
        if "_bar" in vars(self):
            self._bar.close()

    def begin(self, states: int) -> None:
        """There are so many states."""
        self._states = states

    def done(self, count: int) -> None:
        """So many states more are done."""
        self._bar.update(count)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(text, file=sys.stderr)
