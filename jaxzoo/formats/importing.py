"""Reads a zoo from another format into a zoo of its own, which everything that reads zoos takes."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxzoo.errors import InputError, nearest
from jaxzoo.formats.format import Found, ImportOptions, OnNotice, OnStates, Report
from jaxzoo.formats.formats import FORMATS
from jaxzoo.models.networks import Variables
from jaxzoo.models.sparsity import sparsity_metrics
from jaxzoo.models.variables import each_leaf, network_shapes
from jaxzoo.paths import lasting_path
from jaxzoo.reading.stored import METRICS
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.spec.config import published_specs
from jaxzoo.spec.dataset_spec import DatasetSpec, same_name
from jaxzoo.spec.imported_spec import ImportedSpec
from jaxzoo.spec.layers import weight_layers
from jaxzoo.spec.plan import Member
from jaxzoo.spec.zoo_spec import METHODS, TwinSpec
from jaxzoo.storage.checkpoints import Tree
from jaxzoo.storage.files import check_vacant, new_folder
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.imported import ImportedRecord, imported_members
from jaxzoo.storage.record import Maker
from jaxzoo.storage.snapshots import save_metrics, save_snapshot
from jaxzoo.storage.zoo_folder import cohort_folder, members_digest, members_file, twins_folder
from jaxzoo.version import __version__

COHORT_BYTES = 256_000_000  # of a cohort's weights, which are in memory at once
MOST_MODELS = 1024  # of a cohort


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
    twins by method; without it these are looked for beside `folder`, where `export_zoo` writes them. Twins are in the
    order of their parents.

    The zoo cannot be resumed, and has no digest. A damaged member is an error, or with `skip_damaged` left out. Weights
    are read in portions, and `out` appears when it is whole. Raises InputError for what cannot be read.
    """
    source, target = lasting_path(folder), lasting_path(out)
    if format not in FORMATS or FORMATS[format].read is None:
        readable = [each for each, kind in FORMATS.items() if kind.read is not None]
        raise InputError(f"format is {format!r}, expected one of: {nearest(format, readable)}")
    check_vacant(target)
    report = Report(on_states, on_notice)
    with new_folder(target) as partial:
        sources = [*_sources(source, twins, format, partial, ImportOptions(skip_damaged), report)]
        parent = sources[0].found
        on_begin(sum(len(each.found.rows) * len(each.found.epochs) for each in sources))
        for each in sources:
            _check_twins(each, parent)
            spec = _spec(each.found, name or target.name, dataset)
            _write(each, spec, format, report)
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
    yield Source(folder, read(folder, options, report), target)
    if twins is None:
        beside = {method: folder.with_name(f"{folder.name}-{method}") for method in METHODS}
        twins = {method: path for method, path in beside.items() if path.is_dir()}
    for method, path in twins.items():
        if method not in METHODS:
            raise InputError(f"twins are by {method!r}, expected one of: {', '.join(METHODS)}")
        found = read(lasting_path(path), options, report)
        yield Source(lasting_path(path), found._replace(method=method), twins_folder(target, method))


def _check_twins(source: Source, parent: Found) -> None:
    """Raises InputError for twins that are not, model by model, those of their parents."""
    got, wanted = ([row["seed"] for row in found.rows] for found in (source.found, parent))
    if got != wanted or source.found.network != parent.network:
        raise InputError(
            f"{source.folder}: its {len(got)} models are not twins of the {len(wanted)} parents, expected one for "
            "each, of the same network and seed"
        )


def _spec(found: Found, name: str, dataset: str | DatasetSpec | None) -> ImportedSpec:
    size, _, channels = found.network.image_shape
    return ImportedSpec(
        name=name,
        architecture=found.network.architecture,
        size=size,
        channels=channels,
        classes=found.network.classes,
        epochs=max(*found.metrics["epoch"].tolist(), *found.epochs, 0),
        batch_size=found.batch_size,
        dataset=_dataset(dataset, found) if isinstance(dataset, str) else dataset,
    )


def _dataset(name: str, found: Found) -> DatasetSpec:
    """The dataset of that name among those of jaxzoo's zoos, as the networks take its images. Raises InputError."""
    known = dict.fromkeys(spec.dataset for spec in published_specs().values())
    named = [each for each in known if same_name(each.name, name)]
    fitting = [each for each in named if each.image_shape == found.network.image_shape]
    if not named:
        names = dict.fromkeys(each.name for each in known)
        raise InputError(f"dataset is {name!r}, expected one of: {nearest(name, names)}, or a DatasetSpec")
    return (fitting or named)[0]  # one that does not fit is refused with its shape


def _write(source: Source, spec: ImportedSpec, format: str, report: Report) -> None:
    """Writes the zoo, zoo.json last."""
    found, folder = source.found, source.target
    shapes = network_shapes(spec.layers, spec.classes, spec.image_shape)
    width = sum(int(np.prod(shape)) for _, shape in each_leaf(shapes))
    members = imported_members(found.rows, max(1, min(MOST_MODELS, COHORT_BYTES // (4 * width))))
    metrics = _indexed(source)
    record = ImportedRecord(
        spec=spec,
        imported=format,
        cohorts=members[-1].cohort + 1,
        weights=found.epochs,
        metrics=tuple(sorted({*metrics.index.get_level_values("epoch").tolist()})),
        made=Maker(versions={"jaxzoo": __version__}),
        members=members_digest(members),
        twin=None if found.method is None else TwinSpec(method=found.method, epochs=max(1, spec.epochs)),
    )
    for number in range(record.cohorts):
        cohort = [member for member in members if member.cohort == number]
        _write_cohort(folder, record, cohort, found, metrics, shapes, report)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
    (folder / "members.msgpack").write_bytes(members_file(members))
    (folder / "README.md").write_text(_card(spec, len(members), format), encoding="utf-8")
    (folder / "zoo.json").write_text(record.to_json(), encoding="utf-8")


def _write_cohort(
    folder: Path,
    record: ImportedRecord,
    cohort: Sequence[Member],
    found: Found,
    metrics: pd.DataFrame,
    shapes: Mapping[str, object],
    report: Report,
) -> None:
    path, models = cohort_folder(folder, cohort[0].cohort), [member.model for member in cohort]
    identity = identity_of(record, cohort[0].cohort, cohort, {})
    for epoch in record.metrics:
        table = metrics.loc[[(epoch, model) for model in models]]
        if epoch not in found.epochs:
            tree = _stored_metrics(table, np.ones(len(models), bool)) | _unknown_sparsity(record, len(models))
            save_metrics(path, epoch, tree, identity.tree(epoch))
            continue
        variables = found.read(epoch, models)
        _check_shapes(variables, shapes, len(models), epoch)
        tree = _stored_metrics(table, _finite(variables["params"], len(models)))
        if found.method is not None:
            tree |= {name: share.astype(np.float32) for name, share in sparsity_metrics(variables["params"]).items()}
        save_snapshot(path, epoch, variables, tree, identity)
        report.states(len(models))


def _stored_metrics(table: pd.DataFrame, finite: np.ndarray) -> Tree:
    """The metrics of some models at an epoch, as a snapshot has them: (models,) each.

    `finite` says whether their parameters are. Where the source says nothing, a model is finite if these and its
    training loss are, which may not be known for any.
    """
    tree: Tree = {name: table[name].to_numpy(np.float32) for name in METRICS if name != "finite"}
    if not table["train_loss"].isna().all():
        finite = finite & np.isfinite(tree["train_loss"])
    tree["finite"] = table["finite"].where(table["finite"].notna(), finite).to_numpy(bool)
    return tree


def _unknown_sparsity(record: ImportedRecord, models: int) -> Tree:
    """The sparsity of twins at an epoch without weights."""
    if record.twin is None:
        return {}
    names = ("sparsity", *(f"sparsity_{layer.name}" for layer in weight_layers(record.spec.layers)))
    return {name: np.full(models, np.nan, np.float32) for name in names}


def _indexed(source: Source) -> pd.DataFrame:
    """The metrics by epoch and model, with every column that a zoo has. Raises InputError where some are missing."""
    found = source.found
    table = found.metrics.reindex(columns=["epoch", "model", *METRICS]).set_index(["epoch", "model"]).sort_index()
    epochs = {*table.index.get_level_values("epoch"), *found.epochs}
    wanted = pd.MultiIndex.from_product([sorted(epochs), range(len(found.rows))])
    missing = [each for each in wanted if each not in table.index]
    if len(missing) or len(table) != len(wanted):
        epoch, model = missing[0] if len(missing) else table.index[table.index.duplicated()][0]
        got = "missing" if len(missing) else "there twice"
        raise InputError(
            f"{source.folder}: the metrics of model {model} at epoch {epoch} are {got}, expected them once"
        )
    return table


def _finite(params: Tree, models: int) -> np.ndarray:
    leaves = [np.isfinite(leaf).reshape(models, -1).all(axis=1) for _, leaf in each_leaf(params)]
    return np.logical_and.reduce(leaves)


def _check_shapes(variables: Variables, shapes: Mapping[str, object], models: int, epoch: int) -> None:
    wanted = {path: (models, *shape) for path, shape in each_leaf(shapes)}
    got = {path: np.shape(leaf) for path, leaf in each_leaf(variables)}
    for path in (*wanted, *got):
        if got.get(path) != wanted.get(path):
            raise InputError(
                f"epoch {epoch}: {'/'.join(path)} is {got.get(path, 'missing')}, expected {wanted.get(path, 'nothing')}"
            )


def _card(spec: ImportedSpec, models: int, format: str) -> str:
    images = "images that are not known" if spec.dataset is None else spec.dataset.name
    return f"""# {spec.name}

A model zoo of {models:,} models of {spec.architecture} on {images}, imported by jaxzoo from the format {format}.

```python
import jaxzoo

zoo = jaxzoo.open_zoo("{spec.name}")
zoo.members  # a row per model
zoo.metrics  # a row per (model, epoch)
zoo.weights(epoch={spec.epochs})  # (models, D) float32
```

zoo.json holds what is known of it. It cannot be resumed.
"""
