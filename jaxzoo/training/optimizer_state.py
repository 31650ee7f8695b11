"""An optimizer's state in plain names, as it lies in snapshots: `{"count": ..., "mu": ..., "nu": ...}` for Adam."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import optax


def named_state(state: optax.OptState, models: int) -> dict[str, Any]:
    """The state of an optimizer of Optax on the host, by the names of its parts; leaves (models, ...).

    A chain's parts stand side by side; a name that comes again is followed by its number. A number that all models
    share, such as a count of steps, is repeated for each.
    """
    named: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    for name, value in _parts(state):
        plain = _plain(value, models)
        if isinstance(plain, dict) and not plain:
            continue  # a part of a chain that keeps nothing
        counts[name] += 1
        named[name if counts[name] == 1 else f"{name}_{counts[name]}"] = plain
    return named


def _parts(state: Any) -> Iterator[tuple[str, Any]]:
    """Yields (name, value) of every field of the states that a chain is made of."""
    if hasattr(state, "_fields"):
        yield from zip(state._fields, state, strict=True)
    else:
        for inner in state:
            yield from _parts(inner)


def _plain(value: Any, models: int) -> Any:
    if hasattr(value, "_fields") or isinstance(value, tuple):  # a state inside of a state
        return named_state(value, models)
    if isinstance(value, dict):
        return {name: _plain(inner, models) for name, inner in value.items()}
    return np.broadcast_to(value, (models,)) if np.ndim(value) == 0 else np.asarray(value)
