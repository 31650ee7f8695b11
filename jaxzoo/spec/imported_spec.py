"""What is known of an imported zoo: its networks, and where it is known, its images."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.dataset_spec import MOST_CLASSES, MOST_PIXELS, DatasetSpec
from jaxzoo.spec.fields import LATER, require_choices, require_name, settle_fields
from jaxzoo.spec.layers import LAYERS, Layers
from jaxzoo.spec.shapes import check_shapes
from jaxzoo.spec.twin_spec import MOST_EPOCHS
from jaxzoo.spec.zoo_spec import ZOO_NAME, ZooSpec

MOST_CHANNELS = 10_000


@dataclass(frozen=True, kw_only=True)
class ImportedSpec:
    """The networks of a zoo that others made, or that came back from another format.

    Unlike a `ZooSpec` it does not determine the weights, so it has no digest and no zoo can be made of it. Its members
    are what its members.msgpack says. `epochs` is the last one; `dataset` is None where nobody said what the images
    are; `batch_size` None where it is not known.

    `architecture` is a name of `jaxzoo.spec.layers.LAYERS`, or that of the one in `architectures`. It is None where
    members have several: each then has the name of one of the `architectures` among its hyperparameters.
    """

    name: str
    architecture: str | None = field(metadata={"allowed": tuple(LAYERS)})
    architectures: tuple[Architecture, ...] = field(default=(), metadata=LATER)
    size: int
    channels: int
    classes: int
    epochs: int
    batch_size: int | None = None
    dataset: DatasetSpec | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        settle_fields(self)
        require_name("name", self.name, ZOO_NAME, "letters, digits, spaces, _, -, + and dots, not with a dot first")
        self._check_names()
        require(1 <= self.size <= MOST_PIXELS, "size", self.size, f"1 to {MOST_PIXELS} pixels")
        require(1 <= self.channels <= MOST_CHANNELS, "channels", self.channels, f"1 to {MOST_CHANNELS}")
        require(2 <= self.classes <= MOST_CLASSES, "classes", self.classes, f"2 to {MOST_CLASSES}")
        batch = self.batch_size
        require(batch is None or batch >= 1, "batch_size", batch, "1 or more images")
        require(0 <= self.epochs <= MOST_EPOCHS, "epochs", self.epochs, f"0 to {MOST_EPOCHS}")
        require_choices("precision", (self.precision,), ("float32",))
        for name in self.architecture_names:
            try:
                check_shapes(self.layers_named(name), self.image_shape, self.classes)
            except InputError as error:
                raise InputError(f"size: {name}: {error}", ("size",)) from error
        if self.dataset is not None:
            shape, classes = self.dataset.image_shape, self.dataset.classes
            fits = (shape, classes) == (self.image_shape, self.classes)
            wanted = f"images of shape {self.image_shape} in {self.classes} classes, as its networks take"
            require(fits, "dataset", f"{self.dataset.name}: {shape} in {classes} classes", wanted)

    def _check_names(self) -> None:
        names = [each.name for each in self.architectures]
        require(len(self._own) == len(names), "architectures", names, "no name twice")
        if self.architecture is None:
            require(len(names) > 1, "architecture", None, "a name, or several architectures")
        else:
            require_choices("architecture", (self.architecture,), names or LAYERS)
            require(len(names) < 2, "architecture", self.architecture, f"none beside {len(names)} architectures")

    @functools.cached_property
    def _own(self) -> Mapping[str, Layers]:
        return {each.name: each.layers for each in self.architectures}

    @property
    def layers(self) -> Layers:
        """The layers of the members' networks. Raises InputError where members differ in them."""
        if self.architecture is None:
            count = len(self.architectures)
            raise InputError(f"zoo {self.name!r}: has {count} architectures, expected one: zoo.groups has each")
        return self.layers_named(self.architecture)

    @property
    def architecture_names(self) -> tuple[str, ...]:
        """The names of the architectures that members have."""
        return tuple(self._own) if self.architecture is None else (self.architecture,)

    @property
    def architecture_label(self) -> str:
        """A text to read: the architecture, or how many there are."""
        return f"{len(self.architectures)} architectures" if self.architecture is None else self.architecture

    def layers_named(self, name: str) -> Layers:
        """The layers of one of its architectures."""
        return self._own[name] if name in self._own else LAYERS[name]

    def layers_of(self, point: Mapping[str, Any]) -> Layers:
        """The layers of a member that has these hyperparameters."""
        return self.layers_named(point["architecture"]) if self.architecture is None else self.layers

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, C) of an image, as the members' networks take it."""
        return self.size, self.size, self.channels


AnySpec = ZooSpec | ImportedSpec  # both say what the networks are, and on which images
