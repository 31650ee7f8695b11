"""Files that `torch.save` wrote, read without running code from them."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.errors import InputError, first_line
from jaxzoo.storage.files import reason

# what PyTorch raises for files that hold something else
UNREADABLE = (*(pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError),)
STATE_DICT = "state dict, expected tensors by name, nothing else"

State = dict[str, np.ndarray]


def load_plain(path: Path, kind: str) -> Any:
    """What lies in a file, of tensors and plain values alone.

    Raises InputError where it cannot be read, and for a pickle of anything else; `kind` ends that line: what the file
    is not, and what was expected.
    """
    import torch

    try:
        with warnings.catch_warnings():  # of strange pickles, which are refused
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected a file of PyTorch") from error
    except UNREADABLE as error:
        raise InputError(f"{path}: is no plain {kind} ({first_line(error)})") from error


def arrays_of(path: Path, state: Any) -> State:
    """The tensors of a state dict that lay in a file, floats as float32. Raises InputError for anything else."""
    strange = "" if isinstance(state, dict) and state else f"it holds a {type(state).__name__}"
    for name, tensor in () if strange else state.items():
        if not isinstance(name, str):
            strange = f"it has the name {name!r}"
        elif not hasattr(tensor, "is_floating_point"):
            strange = f"it holds a {type(tensor).__name__}"
    if strange:
        raise InputError(f"{path}: is no plain {STATE_DICT} ({strange})")
    return {name: _array(tensor) for name, tensor in state.items()}


def _array(tensor: Any) -> np.ndarray:
    values: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
    return values
