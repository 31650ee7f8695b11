"""The outputs of a cohort's networks, example by example.

    outputs/<epoch>/        an Orbax checkpoint: logits or margins by split, and identity

Leaves are float16, (models, N, classes) logits or (models, N) margins.
"""

from pathlib import Path

import numpy as np

from jaxzoo.storage.checkpoints import (
    ALL_ROWS,
    Rows,
    Saver,
    Tree,
    checksum,
    read_whole_checkpoint,
    save_checkpoint,
    saved_epochs,
)
from jaxzoo.storage.identity import PART, Identity
from jaxzoo.storage.snapshots import read_part
from jaxzoo.storage.store_paths import AnyPath, PathKind, below


def outputs_epochs(cohort: AnyPath) -> list[int]:
    """The epochs at whose ends a cohort's folder holds outputs, in order."""
    return saved_epochs(cohort / "outputs")


def save_outputs(cohort: Path, epoch: int, outputs: Tree, identity: Identity, *, save: Saver = save_checkpoint) -> None:
    """Saves outputs, by kind and split, whole. Raises InputError where they cannot be written."""
    tree = {**outputs, PART: identity.tree(epoch)}
    save(outputs_path(cohort, epoch), tree | {"checksum": checksum(tree)})


def read_outputs(
    cohort: AnyPath, epoch: int, kind: str, split: str, rows: Rows = ALL_ROWS, identity: Identity | None = None
) -> np.ndarray:
    """The outputs on a split at the end of an epoch. Raises InputError as `read_snapshot` does."""
    stored = read_part(outputs_path(cohort, epoch), (kind, split), rows, identity, epoch)
    return np.asarray(stored)


def read_whole_outputs(cohort: AnyPath, epoch: int, identity: Identity | None) -> Tree:
    """Outputs by kind and split, held to their checksum and identity. Raises as `read_whole_snapshot` does."""
    path = outputs_path(cohort, epoch)
    tree, _ = read_whole_checkpoint(path)
    stored = tree.pop(PART, None)
    if identity is not None:
        identity.check(stored, epoch, path)
    return tree


def outputs_path(cohort: PathKind, epoch: int) -> PathKind:
    """The folder of the outputs at the end of an epoch."""
    return below(cohort, "outputs", str(epoch))
