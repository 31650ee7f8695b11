"""Which units of a network may change places, and where each of them lies in the variables.

A hidden unit (a channel of a convolution, or a neuron) has no order of its own: a network whose units are permuted,
with everything that leads to them and away from them, computes the same function. Units that are added to others, or
normalised, have to move together; such units make one group.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from jaxzoo.errors import InputError, shown
from jaxzoo.models.variables import Shapes, network_shapes
from jaxzoo.spec.imported_spec import AnySpec
from jaxzoo.spec.layers import Add, BatchNorm, Conv, Dense, LayerNorm, Layers, Residual, Save, module_of

FIXED = ""  # stands for the units that keep their order: the channels of images, and the classes


class WithSpec(Protocol):
    """What is made from a spec, such as an opened zoo."""

    @property
    def spec(self) -> AnySpec: ...

    @property
    def layers(self) -> Layers: ...


class UnitAxis(NamedTuple):
    """An axis of one model's variable along which the units of a group lie.

    The axis has `repeats` entries for each unit: entry r * size + u belongs to unit u, for r in 0..repeats-1. A dense
    layer after a flattening has more than one, because a channel is an input at every position of the image: r is then
    row * width + column.
    """

    collection: str
    path: tuple[str, ...]
    axis: int
    repeats: int = 1


class UnitGroup(NamedTuple):
    """`size` units that can be permuted in any way, if it is done along all of the axes."""

    size: int
    axes: tuple[UnitAxis, ...]


class PermutationSpec(NamedTuple):
    """The groups of a network's units, by name. A group has the name of the first layer whose outputs its units are.

    `shapes` are the shapes of one model's variables, by collection, nested as Flax nests them. `architecture` is the
    name of the layers, "" for layers without one.
    """

    architecture: str
    groups: Mapping[str, UnitGroup]
    shapes: Mapping[str, Shapes]

    def to_json(self) -> dict[str, Any]:
        """The spec as dicts, lists, numbers and strings. The path of a variable is one string, joined by slashes."""
        groups = {
            name: {"size": group.size, "axes": [_axis_to_json(axis) for axis in group.axes]}
            for name, group in self.groups.items()
        }
        return {"architecture": self.architecture, "groups": groups, "shapes": _nested(self.shapes, list)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The spec that `to_json` gave. Raises InputError for anything else."""
        try:
            groups = {
                name: UnitGroup(group["size"], tuple(_axis_from_json(axis) for axis in group["axes"]))
                for name, group in values["groups"].items()
            }
            return cls(values["architecture"], groups, _nested(values["shapes"], tuple))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"got {shown(values)}, expected what PermutationSpec.to_json gives") from error


def permutation_spec(zoo_or_spec: AnySpec | WithSpec) -> PermutationSpec:
    """The groups of units of a zoo's networks. Raises InputError for what is neither a zoo nor a `ZooSpec`.

    >>> from jaxzoo.spec.config import load_spec
    >>> spec = permutation_spec(load_spec("mnist-seed"))
    >>> {name: group.size for name, group in spec.groups.items()}
    {'conv1': 8, 'conv2': 6, 'conv3': 4, 'dense1': 20}
    >>> spec.groups["conv3"].axes[-1]
    UnitAxis(collection='params', path=('dense1', 'kernel'), axis=0, repeats=9)
    """
    spec = zoo_or_spec if isinstance(zoo_or_spec, AnySpec) else getattr(zoo_or_spec, "spec", None)
    if not isinstance(spec, AnySpec):
        raise InputError(f"got a {type(zoo_or_spec).__name__}, expected a zoo, or a ZooSpec")
    layers = zoo_or_spec.layers  # a zoo may be of one of its spec's architectures
    return permutations_of(layers, spec.classes, spec.image_shape)._replace(architecture=spec.architecture_label)


def permutations_of(layers: Layers, classes: int, image: tuple[int, ...]) -> PermutationSpec:
    """The groups of units of the networks of any layers, on images (H, W, C).

    The last layer's outputs keep their order, and so does every unit that is added to one of them, or to an image.
    """
    if module_of(layers) is not None:
        raise InputError("its networks are a Flax module, whose units nobody knows, expected networks of layers")
    shapes = network_shapes(layers, classes, image)
    walk = _Walk(shapes, [], [], {})
    last = walk.follow(layers, FIXED)
    group_of = _merged([units for units, _ in walk.axes], [*walk.ties, (FIXED, last)])
    members: dict[str, list[UnitAxis]] = {}
    for units, axis in walk.axes:
        if group_of[units] != FIXED:
            members.setdefault(group_of[units], []).append(axis)
    return PermutationSpec("", {name: _group(axes, shapes) for name, axes in members.items()}, shapes)


class _Walk(NamedTuple):
    """What a walk through the layers finds: the axes along which units lie, and pairs of units that are added.

    Units are called by the layer whose outputs they are.
    """

    shapes: Mapping[str, Shapes]
    axes: list[tuple[str, UnitAxis]]
    ties: list[tuple[str, str]]
    saved: dict[str, str]

    def follow(self, layers: Layers, units: str) -> str:
        """The units that come out of the layers, where `units` go in."""
        for layer in layers:
            match layer:
                case Conv(name) | Dense(name):
                    self._meet(units, name, "kernel", -2)
                    self._meet(name, name, "kernel", -1)
                    self._meet(name, name, "bias", -1)
                    units = name
                case BatchNorm(name) | LayerNorm(name):
                    for kind in ("scale", "bias", "mean", "var"):
                        self._meet(units, name, kind, -1)
                case Residual(main, shortcut):
                    ends = self.follow(main, units), self.follow(shortcut, units)
                    self.ties.append(ends)
                    units = ends[0]
                case Save(name):
                    self.saved[name] = units
                case Add(name):
                    self._add(units, self.saved[name])
        return units

    def _add(self, units: str, saved: str) -> None:
        """Ties units that are added. Where only the first ones are, no unit of either can change its place."""
        sizes = [self.shapes["params"][name]["kernel"][-1] for name in (units, saved) if name != FIXED]
        if len({*sizes}) > 1:
            self.ties.extend([(FIXED, units), (FIXED, saved)])
        self.ties.append((units, saved))

    def _meet(self, units: str, layer: str, kind: str, axis: int) -> None:
        """Notes that units lie along an axis, counted from the last, of a layer's variable, if the layer has it."""
        for collection, tree in self.shapes.items():
            if kind in tree.get(layer, {}):
                found = UnitAxis(collection, (layer, kind), len(tree[layer][kind]) + axis)
                self.axes.append((units, found))


def _merged(names: Sequence[str], ties: Sequence[tuple[str, str]]) -> dict[str, str]:
    """For each of the units the first of those that they are tied to, directly or through others; FIXED is first."""
    rank = {name: number for number, name in enumerate(dict.fromkeys([FIXED, *names]))}
    first = {name: name for name in rank}
    for pair in ties:
        kept, dropped = sorted((first[name] for name in pair), key=rank.__getitem__)
        first = {name: kept if leader == dropped else leader for name, leader in first.items()}
    return first


def _group(axes: Sequence[UnitAxis], shapes: Mapping[str, Shapes]) -> UnitGroup:
    lengths = [shapes[axis.collection][axis.path[0]][axis.path[1]][axis.axis] for axis in axes]
    # channels are the fastest part of a flattened image, so that what has so many entries repeats them
    size = math.gcd(*lengths)
    repeated = [axis._replace(repeats=length // size) for axis, length in zip(axes, lengths, strict=True)]
    return UnitGroup(size, tuple(repeated))


def _axis_to_json(axis: UnitAxis) -> dict[str, Any]:
    return {
        "collection": axis.collection,
        "parameter": "/".join(axis.path),
        "axis": axis.axis,
        "repeats": axis.repeats,
    }


def _axis_from_json(values: Mapping[str, Any]) -> UnitAxis:
    path = tuple(values["parameter"].split("/"))
    return UnitAxis(values["collection"], path, values["axis"], values["repeats"])


def _nested(tree: Mapping[str, Any], leaf: type) -> dict[str, Any]:
    """Nested mappings with every leaf made a `leaf`."""
    return {name: _nested(inner, leaf) if isinstance(inner, Mapping) else leaf(inner) for name, inner in tree.items()}
