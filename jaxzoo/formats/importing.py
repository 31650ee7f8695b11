"""Reads a zoo from another format into a zoo of its own, which everything that reads zoos takes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxzoo.errors import InputError, nearest
from jaxzoo.formats.checks import check_twins, checked
from jaxzoo.formats.format import Found, ImportOptions, OnNotice, OnStates, Report
from jaxzoo.formats.formats import FORMATS
from jaxzoo.formats.imported_zoo import write_imported
from jaxzoo.paths import lasting_path
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.spec.config import known_specs
from jaxzoo.spec.dataset_spec import DatasetSpec, same_name
from jaxzoo.spec.imported_spec import ImportedSpec
from jaxzoo.spec.twin_spec import METHODS
from jaxzoo.spec.zoo_spec import dataset_specs
from jaxzoo.storage.files import check_vacant, new_folder
from jaxzoo.storage.zoo_folder import twins_folder


class Source(NamedTuple):
    """A folder in another format, what was found in it, and where it goes."""

    folder: Path
    found: Found
    target: Path


def import_zoo(
    folder: str | Path,
    out: str | Path,
    format: str,
    *,
    name: str | None = None,
    dataset: str | DatasetSpec | None = None,
    twins: Mapping[str, str | Path] | None = None,
    skip_damaged: bool = False,
    on_begin: OnStates = lambda states: None,
    on_states: OnStates = lambda states: None,
    on_notice: OnNotice = lambda text: None,
) -> Zoo:
    """Reads the zoo that lies in `folder` in a format (see docs/formats.md) into the new folder `out`, and opens it.

    The zoo is called `name`, or as its folder is. `dataset` names the images (a dataset of jaxzoo's zoos, or a
    `DatasetSpec`), by which predictions can be made; without it they are not known. `twins` has the folder of sparse
    twins by method, {} for none; without it these are looked for beside `folder`, where `export_zoo` writes them. Twins
    are in the order of their parents.

    The zoo cannot be resumed, and has no digest. A damaged member is an error, or with `skip_damaged` left out. Weights
    are read in portions, and `out` appears when it is whole. Raises InputError for what cannot be read.
    """
    source, target = lasting_path(folder), lasting_path(out)
    if format not in FORMATS or FORMATS[format].read is None:
        readable = [each for each, kind in FORMATS.items() if kind.read is not None]
        raise InputError(f"format is {format!r}, expected one of: {nearest(format, readable)}")
    check_vacant(target)
    report, datasets = Report(on_states, on_notice), _datasets(dataset)
    options = ImportOptions(skip_damaged, tuple(each.size for each in datasets))
    with new_folder(target) as partial:
        sources = [*_sources(source, twins, format, partial, options, report)]
        on_begin(sum(len(each.found.rows) * len(each.found.epochs) for each in sources))
        for each in sources:
            check_twins(each.folder, each.found, sources[0].found)
            write_imported(each.target, each.found, _spec(each.found, name or target.name, datasets), format, report)
    return open_zoo(target)


def _sources(
    folder: Path,
    twins: Mapping[str, str | Path] | None,
    format: str,
    target: Path,
    options: ImportOptions,
    report: Report,
) -> Iterator[Source]:
    read = FORMATS[format].read
    assert read is not None
    yield Source(folder, checked(folder, read(folder, options, report)), target)
    if twins is None:
        exported = {method: folder.with_name(f"{folder.name}-{method}") for method in METHODS}
        twins = {method: path for method, path in exported.items() if path.is_dir()}
    for method, path in twins.items():
        if method not in METHODS:
            raise InputError(f"twins are by {method!r}, expected one of: {', '.join(METHODS)}")
        beside = lasting_path(path)
        found = checked(beside, read(beside, options, report))
        yield Source(beside, found._replace(method=method), twins_folder(target, method))


def _spec(found: Found, name: str, datasets: Sequence[DatasetSpec]) -> ImportedSpec:
    size, _, channels = found.network.image_shape
    fitting = [each for each in datasets if each.image_shape == found.network.image_shape]
    return ImportedSpec(
        name=name,
        architecture=found.network.architecture,
        architectures=found.network.architectures,
        size=size,
        channels=channels,
        classes=found.network.classes,
        epochs=max(found.metrics["epoch"].tolist()),
        batch_size=found.batch_size,
        dataset=(*fitting, *datasets, None)[0],  # one that does not fit is refused, with what it is
    )


def _datasets(given: str | DatasetSpec | None) -> tuple[DatasetSpec, ...]:
    """What the caller's dataset may be: those of that name among the datasets of jaxzoo's zoos. Raises InputError."""
    if given is None or isinstance(given, DatasetSpec):
        return () if given is None else (given,)
    known = dict.fromkeys(dataset_specs(known_specs().values()))
    named = tuple(each for each in known if same_name(each.name, given))
    if not named:
        names = dict.fromkeys(each.name for each in known)
        raise InputError(f"dataset is {given!r}, expected one of: {nearest(given, names)}, or a DatasetSpec")
    return named
