"""Writes what was found in another format as a zoo."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jaxzoo.formats.checks import check_shapes
from jaxzoo.formats.format import Found, Report
from jaxzoo.models.sparsity import sparsity_metrics
from jaxzoo.models.variables import each_leaf, network_shapes
from jaxzoo.reading.stored import METRICS
from jaxzoo.spec.imported_spec import ImportedSpec
from jaxzoo.spec.layers import Layers, weight_layers
from jaxzoo.spec.plan import Member
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.checkpoints import Tree
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.imported import ImportedRecord, imported_members
from jaxzoo.storage.record import Maker
from jaxzoo.storage.snapshots import save_metrics, save_snapshot
from jaxzoo.storage.zoo_folder import cohort_folder, members_digest, members_file
from jaxzoo.version import __version__

COHORT_BYTES = 256_000_000  # of a cohort's weights, which are in memory at once
MOST_MODELS = 1024  # of a cohort


def write_imported(folder: Path, found: Found, spec: ImportedSpec, format: str, report: Report) -> None:
    """Writes a zoo that was found in another format into a new folder, zoo.json last.

    Raises InputError where its weights are not those of the network.
    """

    def most(layers: Layers) -> int:
        shapes = network_shapes(layers, spec.classes, spec.image_shape)
        width = sum(int(np.prod(shape)) for _, shape in each_leaf(shapes))
        return max(1, min(MOST_MODELS, COHORT_BYTES // (4 * width)))

    members = imported_members(found.rows, spec, most)
    cohorts: dict[int, list[Member]] = {}
    for member in members:  # of several architectures, those of one cohort do not follow each other
        cohorts.setdefault(member.cohort, []).append(member)
    metrics = found.metrics.reindex(columns=["epoch", "model", *METRICS]).set_index(["epoch", "model"]).sort_index()
    record = ImportedRecord(
        spec=spec,
        imported=format,
        cohorts=len(cohorts),
        weights=found.epochs,
        metrics=tuple(sorted({*metrics.index.get_level_values("epoch").tolist()})),
        made=Maker(versions={"jaxzoo": __version__}),
        members=members_digest(members),
        twin=None if found.method is None else TwinSpec(method=found.method, epochs=max(1, spec.epochs)),
    )
    for cohort in cohorts.values():
        _write_cohort(folder, record, cohort, found, metrics, report)
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
    report: Report,
) -> None:
    path, models = cohort_folder(folder, cohort[0].cohort), [member.model for member in cohort]
    identity = identity_of(record, cohort[0].cohort, cohort, {})
    layers = record.spec.layers_of(cohort[0].hyperparameters)
    shapes = network_shapes(layers, record.spec.classes, record.spec.image_shape)
    for epoch in record.metrics:
        table = metrics.loc[[(epoch, model) for model in models]]
        if epoch not in found.epochs:
            tree = _stored_metrics(table, np.ones(len(models), bool)) | _unknown_sparsity(record, layers, len(models))
            save_metrics(path, epoch, tree, identity.tree(epoch))
            continue
        variables = found.read(epoch, models)
        check_shapes(variables, shapes, len(models), epoch)
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
    says = zip(table["finite"].tolist(), finite.tolist(), strict=True)
    tree["finite"] = np.array([own if isinstance(own, bool) else found for own, found in says], bool)
    return tree


def _unknown_sparsity(record: ImportedRecord, layers: Layers, models: int) -> Tree:
    """The sparsity of twins at an epoch without weights."""
    if record.twin is None:
        return {}
    names = ("sparsity", *(f"sparsity_{layer.name}" for layer in weight_layers(layers)))
    return {name: np.full(models, np.nan, np.float32) for name in names}


def _finite(params: Tree, models: int) -> np.ndarray:
    leaves = [np.isfinite(leaf).reshape(models, -1).all(axis=1) for _, leaf in each_leaf(params)]
    return np.logical_and.reduce(leaves)


def _card(spec: ImportedSpec, models: int, format: str) -> str:
    images = "images that are not known" if spec.dataset is None else spec.dataset.name
    weights = f"zoo.weights(epoch={spec.epochs})  # (models, D) float32"
    if spec.architecture is None:
        weights = f"zoo.groups  # a zoo of each architecture\nzoo.weights({spec.epochs}, models=[0])  # (1, D) float32"
    return f"""# {spec.name}

A model zoo of {models:,} models of {spec.architecture_label} on {images}, imported by jaxzoo from the format {format}.

```python
import jaxzoo

zoo = jaxzoo.open_zoo("{spec.name}")
zoo.members  # a row per model
zoo.metrics  # a row per (model, epoch)
{weights}
```

zoo.json holds what is known of it. It cannot be resumed.
"""
