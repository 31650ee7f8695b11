"""A state of a zoo as a state dict of PyTorch, which is imported here when it is needed and not before."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.models.networks import Variables
from jaxzoo.models.torch_names import TorchEntry, counts_dropout, state_of_variables, torch_entries
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.imported_spec import AnySpec
from jaxzoo.spec.layers import Layers, module_of
from jaxzoo.storage.imported import Record

if TYPE_CHECKING:
    import torch


def import_torch(caller: str) -> Any:
    """The module `torch`. Raises InputError where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise InputError(
            f"{caller}: PyTorch is not installed, expected it after: pip install 'jaxzoo[torch]'"
        ) from error
    return torch


def member_entries(layers: Layers, spec: AnySpec, dropout: float) -> tuple[TorchEntry, ...]:
    """The tensors of a member that has this dropout rate."""
    module = module_of(layers)
    if module is not None:
        raise InputError(f"its networks are the module {module.name}, expected networks of layers for PyTorch")
    counted = counts_dropout(layers, dropout)
    return torch_entries(layers, spec.classes, spec.image_shape, counts_dropout=counted)


def steps_per_epoch(spec: AnySpec, dataset: DatasetSpec | None) -> int:
    """The training steps of an epoch, 0 where they are not known."""
    if dataset is None or spec.batch_size is None:
        return 0
    return -(-dataset.train // spec.batch_size)


def batches_until(record: Record, dataset: DatasetSpec | None, epoch: int) -> int:
    """Training steps up to an epoch. Twins go on from their parents, whose steps count, too."""
    begun = 0 if record.parent is None else record.parent.epoch
    return (begun + epoch) * steps_per_epoch(record.spec, dataset)


def torch_state(
    record: Record, dataset: DatasetSpec | None, entries: Sequence[TorchEntry], variables: Variables, epoch: int
) -> "OrderedDict[str, torch.Tensor]":
    """The state dict of a model at an epoch, which has these entries, from its variables (1, ...)."""
    torch = import_torch("to_torch")
    stacked = state_of_variables(entries, variables, batches_until(record, dataset, epoch))
    # every tensor is a copy: one that shared memory with another would change with it, and be saved with all of it
    return OrderedDict((name, torch.tensor(np.array(rows[0], order="C"))) for name, rows in stacked.items())
