"""The states of a selection as a data set of PyTorch, which is imported with this file and nowhere else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxzoo.errors import InputError

try:
    import torch
    from torch.utils.data import Dataset
except ImportError as error:
    raise InputError("PyTorch cannot be imported, expected it to be there: pip install 'jaxzoo[torch]'") from error

Item = tuple[torch.Tensor, dict[str, torch.Tensor]]


class StateDataset(Dataset[Item]):
    """Item i is the state of row i of a selection's table: its weights (D,) float32, and its labels, () each.

    Labels are float32, int64 or bool. Weights of as many states as may be held are read when the data set is made, so
    that forked workers of a DataLoader find them in memory, which they share. Spawned workers are sent no weights: each
    of them reads its own copy when it is asked for the first item. Weights of more states are read batch by batch.
    """

    def __init__(
        self, read: Callable[[np.ndarray], np.ndarray], labels: Mapping[str, np.ndarray], *, states: int, held: int
    ) -> None:
        """`read` gives the weights (rows, D) of some rows; `labels` are columns (states,)."""
        self._read = read
        self._labels = {name: _label(name, column) for name, column in labels.items()}
        self._states = states
        self._fits = states <= held
        self._held: torch.Tensor | None = None
        self._weights_of([])  # not in the workers: a forked one cannot read a zoo that was read before

    def __len__(self) -> int:
        return self._states

    def __getitem__(self, index: int) -> Item:
        if not -self._states <= index < self._states:
            raise IndexError(f"item is {index}, expected 0..{self._states - 1}")  # by which Python ends an iteration
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """The items of a batch, for which every epoch is read once. A DataLoader calls it instead of `__getitem__`."""
        weights = self._weights_of(indices)
        labels = {name: column[indices] for name, column in self._labels.items()}
        return [(row, {name: column[index] for name, column in labels.items()}) for index, row in enumerate(weights)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_held": None}  # 1 GB would be sent to every worker

    def _weights_of(self, indices: Sequence[int]) -> torch.Tensor:
        rows = np.asarray(indices, int)
        if not self._fits:
            return torch.from_numpy(self._read(rows))
        if self._held is None:
            self._held = torch.from_numpy(self._read(np.arange(self._states)))
        return self._held[torch.from_numpy(rows)]


def _label(name: str, column: np.ndarray) -> torch.Tensor:
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}
    if column.dtype.kind not in kinds:
        raise InputError(f"the label {name!r} is of type {column.dtype}, expected a column of numbers for PyTorch")
    return torch.from_numpy(column.astype(kinds[column.dtype.kind]))
