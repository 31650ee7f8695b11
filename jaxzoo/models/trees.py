"""Variables as nested mappings: their leaves by path, and back."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def each_leaf(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, leaf) of every leaf of nested mappings, in their order."""
    for name, inner in tree.items():
        if isinstance(inner, Mapping):
            yield from each_leaf(inner, (*path, name))
        else:
            yield (*path, name), inner


def nested(leaves: Iterable[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """The nested dictionaries that have these leaves, in their order.

    >>> nested([(("a", "kernel"), 1), (("b",), 2)])
    {'a': {'kernel': 1}, 'b': 2}
    """
    tree: dict[str, Any] = {}
    for (*branches, last), leaf in leaves:
        inner = tree
        for branch in branches:
            inner = inner.setdefault(branch, {})
        inner[last] = leaf
    return tree
