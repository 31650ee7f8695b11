"""A network that is a Flax Linen module of the caller's: what zoo.json says of it, and the module where it is at hand.

Code has no digest. What is known of a module without its code are its name, its settings and the shapes of its
variables; whoever has the module computes with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.fields import require_name, settled

COLLECTIONS = ("params", "batch_stats")  # those of a module's variables that a zoo keeps
WORD = r"[A-Za-z_]\w*"  # the name of a class; and a key of variables on disk, where a dot would part it
MOST_LEAVES = 100_000

Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FlaxModule:
    """A module by the `name` of its class, its `settings` (field, text) and the `shapes` (path, shape) of variables.

    A path begins with the collection. The shapes come in the order in which the module makes its variables. Mappings
    of field to text, and of paths joined by slashes to shapes, are taken, too. `module`
    is None where the description was read from a zoo.json; it is no part of the description, of no digest and of no
    comparison.
    """

    name: str
    settings: tuple[tuple[str, str], ...] = ()
    shapes: tuple[tuple[Path, tuple[int, ...]], ...]
    module: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.settings, Mapping):  # as zoo.json has them
            object.__setattr__(self, "settings", tuple(self.settings.items()))
        if isinstance(self.shapes, Mapping):
            pairs = ((tuple(str(path).split("/")), shape) for path, shape in self.shapes.items())
            object.__setattr__(self, "shapes", tuple(pairs))
        for name, kind in FlaxModule.__annotations__.items():
            if name != "module":
                object.__setattr__(self, name, settled(name, getattr(self, name), kind))
        require_name("name", self.name, WORD, "a class")
        # nothing that a zoo.json holds under this name is a module
        require(self.module is None or hasattr(self.module, "apply"), "module", self.module, "a Flax Linen module")
        paths = [path for path, _ in self.shapes]
        require(0 < len(paths) <= MOST_LEAVES, "shapes", f"{len(paths)} variables", f"1 to {MOST_LEAVES}")
        require(len({*paths}) == len(paths), "shapes", f"{len(paths)} variables", "no path twice")
        for path, shape in self.shapes:
            _check_path(path)
            require(min(shape, default=1) >= 1, "shapes", shape, "sizes of 1 or more")
        require(any(path[0] == "params" for path in paths), "shapes", paths, "parameters among the variables")

    def written(self) -> dict[str, Any]:
        """The description as it stands in zoo.json and in digests."""
        return {
            "name": self.name,
            "settings": dict(self.settings),
            "shapes": {"/".join(path): list(shape) for path, shape in self.shapes},
        }

    @property
    def kernels(self) -> tuple[Path, ...]:
        """The paths, without the collection, of the parameters called kernel with two axes or more."""
        return tuple(path[1:] for path, shape in self.shapes if path[0] == "params" and is_kernel(path, len(shape)))

    @property
    def keeps_statistics(self) -> bool:
        """Whether it keeps running batch statistics."""
        return any(path[0] == "batch_stats" for path, _ in self.shapes)


@dataclass(frozen=True, eq=False)
class ModuleLayer:
    """The one layer of a network that is a module.

    Unlike descriptions, two of them are equal only if their modules are the same object: programs are kept by their
    layers, and must not be those of another module that is described in the same words.
    """

    network: FlaxModule

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModuleLayer):
            return NotImplemented
        return self.network == other.network and self.network.module is other.network.module

    def __hash__(self) -> int:
        return hash(self.network)

    def written(self) -> dict[str, Any]:
        """The layer as it stands in zoo.json and in digests."""
        return {"kind": "FlaxModule", **self.network.written()}


def is_kernel(path: Sequence[str], axes: int) -> bool:
    """Whether a parameter of so many axes is what twins prune and metrics count: biases are not."""
    return path[-1] == "kernel" and axes >= 2


def names_of_layers(kernels: Sequence[Path]) -> tuple[str, ...]:
    """The names that metrics have for the layers of these kernels: the path joined by _, or by / where _ is ambiguous.

    >>> names_of_layers([("Block_0", "Dense_0", "kernel"), ("Dense_0", "kernel")])
    ('Block_0_Dense_0', 'Dense_0')
    """
    names = tuple("_".join(path[:-1] or path) for path in kernels)
    return names if len({*names}) == len(names) else tuple("/".join(path[:-1] or path) for path in kernels)


def _check_path(path: Path) -> None:
    if path[:1] and path[0] not in COLLECTIONS:
        wanted = f"those in {' and '.join(COLLECTIONS)}"
        raise InputError(f"shapes: a variable is in the collection {path[0]!r}, expected {wanted}", ("shapes",))
    require(len(path) >= 2, "shapes", path, "a collection and a name of each variable")
    for name in path:
        require_name("shapes", name, WORD, "letters, digits and _")
