"""Writes a zoo in a format that others' code loads."""

import contextlib
from pathlib import Path

import numpy as np

from jaxzoo.errors import InputError, nearest
from jaxzoo.formats.chosen import Chosen, choose, spread
from jaxzoo.formats.format import ExportOptions, Format, OnNotice, OnStates, Report
from jaxzoo.formats.formats import FORMATS
from jaxzoo.formats.splits import write_splits
from jaxzoo.paths import lasting_path
from jaxzoo.reading.choices import Choice
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.storage.files import check_vacant, new_folder


def export_zoo(
    zoo: Zoo | str | Path,
    out: str | Path,
    format: str,
    *,
    epochs: Choice | str = None,
    models: Choice = None,
    where: str | None = None,
    twins: bool = True,
    final_step: int | None = None,
    per_model: bool = False,
    sample: int | None = None,
    licence: str | None = None,
    on_begin: OnStates = lambda states: None,
    on_states: OnStates = lambda states: None,
    on_notice: OnNotice = lambda text: None,
) -> tuple[Path, ...]:
    """Writes a zoo into the new folder `out` in a format (see docs/formats.md), and returns the folders it made.

    Sparse twins go into a folder of their own beside it, `out` with - and the method behind. So do models that a format
    cannot hold in one folder: `modelzoo` parts those without dropout from those with it, where it has to. Beside each
    folder lies `<folder>-splits.json`: numbers of models for training, validation and test, by seed where there are
    three or more. Weights are read in portions of 256 MB, and folders appear when they are whole.

    `epochs` are all that are there, or numbers, or "last"; twins are exported at those of them that twins have.
    `models` and `where` choose models (see `jaxzoo.formats.chosen.choose`). The other options belong to some formats.
    `on_begin` hears how many model states there are, `on_states` how many more are done, `on_notice` what a person
    should know. Raises InputError for a target that is not empty, and for what the format cannot hold.
    """
    source = zoo if isinstance(zoo, Zoo) else open_zoo(zoo)
    target = lasting_path(out)
    options = ExportOptions(final_step, per_model, sample, licence)
    kind = _checked_format(format, options)
    report = Report(on_states, on_notice)
    parts = kind.parts(spread(choose(source, epochs, models, where, mixtures=kind.mixtures), sample))
    jobs: dict[Path, Chosen] = {}
    for ending, part in parts.items():
        folder = target.with_name(target.name + ending)
        jobs |= {folder: part} | (_twin_jobs(folder, part, epochs, kind, on_notice) if twins else {})
    for folder in jobs:
        check_vacant(folder)
    on_begin(sum(chosen.states for chosen in jobs.values()))
    with contextlib.ExitStack() as stack:  # all folders appear at the end
        written = {
            folder: kind.write(chosen, stack.enter_context(new_folder(folder)), options, report)
            for folder, chosen in jobs.items()
        }
    for folder, chosen in written.items():
        write_splits(folder.with_name(f"{folder.name}-splits.json"), chosen)
    return tuple(jobs)


def _checked_format(name: str, options: ExportOptions) -> Format:
    if name not in FORMATS:
        raise InputError(f"format is {name!r}, expected one of: {nearest(name, FORMATS)}")
    given = [each for each, value in options._asdict().items() if value != ExportOptions._field_defaults[each]]
    for each in given:
        if each not in FORMATS[name].options:
            takers = [other for other, kind in FORMATS.items() if each in kind.options]
            raise InputError(f"{each} is an option of the format {', '.join(takers)}, got the format {name}")
    return FORMATS[name]


def _twin_jobs(
    folder: Path, chosen: Chosen, epochs: Choice | str, kind: Format, on_notice: OnNotice
) -> dict[Path, Chosen]:
    """The twins of the chosen models, by the folder beside `folder` that they go into.

    Twins of an earlier epoch go into one of their own name, which an import leaves alone.
    """
    jobs = {}
    for method, twin in chosen.zoo.twins.items():
        held, missing = _twin_epochs(twin, epochs), {*chosen.models} - {*twin.members["model"].tolist()}
        if missing:  # an import takes a twin for each model, or none
            on_notice(f"{twin.path}: has no twin of model {min(missing)}, and is left out")
        elif held:
            own = choose(twin, held, chosen.models, mixtures=kind.mixtures)
            jobs[folder.with_name(f"{folder.name}-{method}")] = own
        else:
            on_notice(f"{twin.path}: its twins have none of the epochs, and are left out")
    return jobs


def _twin_epochs(twin: Zoo, epochs: Choice | str) -> Choice | str:
    """The epochs of a parent that its twins have, too; None for all would mean none here, so all are listed."""
    if epochs is None:
        return list(twin.epochs)
    if isinstance(epochs, str):
        return list(twin.epochs[-1:])
    given = np.ravel(np.asarray(epochs))
    if given.dtype == bool:  # a mask of the parent's epochs says nothing of those of twins
        return []
    return [epoch for epoch in given.tolist() if epoch in twin.epochs]
