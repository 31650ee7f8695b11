"""An architecture of one's own: layers under a name, each layer named and counted."""

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.fields import require_name, settle_fields
from jaxzoo.spec.layer_words import read_layers, words_of
from jaxzoo.spec.layers import (
    LAYERS,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Layer,
    LayerNorm,
    Layers,
    Named,
    Residual,
    Save,
    each_layer,
    weight_layers,
)

NAME = r"\w[\w.-]*"
LAYER_NAME = r"[A-Za-z]\w*"  # a key of parameters on disk, where a dot would part it
MOST_LAYERS = 1000
CALLED: Mapping[type, str] = {Conv: "conv", Dense: "dense", BatchNorm: "batch_norm", LayerNorm: "layer_norm"}
OF_TWINS = ("_variance", "_log_variance")  # names end so of parameters that the making of twins adds


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network that is written down layer by layer: `layers` are layers, or the words and tables of TOML for them.

    >>> wide = Architecture(name="wide", layers=(Conv(features=16, kernel=3), "flatten", Dense("out", 10)))
    >>> wide.layers[0].name
    'conv1'
    """

    name: str
    layers: Layers

    def __post_init__(self) -> None:
        if not isinstance(self.layers, list | tuple):
            raise InputError(f"layers is of type {type(self.layers).__name__}, expected a list of layers", ("layers",))
        try:
            layers = named_layers(read_layers(self.layers))
        except InputError as error:
            raise InputError(f"layers: {error}", ("layers",)) from error
        object.__setattr__(self, "layers", layers)
        settle_fields(self)
        require_name("name", self.name, NAME, "letters, digits, _, - and dots")
        require(self.name not in LAYERS, "name", self.name, "another than those that are built in")

    def written(self) -> dict[str, Any]:
        """As it stands in zoo.json and in digests, which is also how TOML may have it."""
        return {"name": self.name, "layers": words_of(self.layers)}


def named_layers(layers: Layers) -> Layers:
    """The layers, each that has variables under a name of its own, and dropout layers counted. Raises InputError."""
    every = [*each_layer(layers)]
    require(1 <= len(every) <= MOST_LAYERS, "layers", f"{len(every)} layers", f"1 to {MOST_LAYERS}")
    _check_names(every)
    given = {layer.name for layer in every if isinstance(layer, Named)}
    kinds = {kind: _free_names(word, given) for kind, word in CALLED.items()}
    indices = {layer.index for layer in every if isinstance(layer, Dropout)}
    counted = (index for index in range(MOST_LAYERS) if index not in indices)
    settled = tuple(_settled(layer, kinds, counted) for layer in layers)
    require(len(weight_layers(settled)) > 0, "layers", "no conv and no dense", "at least one layer with weights")
    return settled


def _free_names(word: str, given: set[str]) -> Iterator[str]:
    return (name for number in itertools.count(1) if (name := f"{word}{number}") not in given)


def _settled(layer: Layer, kinds: Mapping[type, Iterator[str]], counted: Iterator[int]) -> Layer:
    if isinstance(layer, Residual):
        chains = (tuple(_settled(each, kinds, counted) for each in chain) for chain in (layer.main, layer.shortcut))
        return Residual(*chains)
    if isinstance(layer, Named) and not layer.name:
        return dataclasses.replace(layer, name=next(kinds[type(layer)]))
    if isinstance(layer, Dropout) and layer.index < 0:
        return Dropout(next(counted))
    return layer


def _check_names(every: list[Layer]) -> None:
    """Raises InputError for a name that no layer can have, or that two have."""
    named = [layer for layer in every if isinstance(layer, Named | Save) and layer.name]
    for name, count in Counter(layer.name for layer in named).items():
        fits = re.fullmatch(LAYER_NAME, name) is not None and len(name) <= 100 and not name.endswith(OF_TWINS)
        wanted = f"letters, digits and _, with a letter first, not ending in {' or '.join(OF_TWINS)}"
        require(fits, "name", name, wanted)
        require(count == 1, "name", name, "a name for each layer, no name twice")
    saved = {layer.name for layer in every if isinstance(layer, Save)}
    for layer in every:
        if isinstance(layer, Add) and layer.name not in saved:
            raise InputError(
                f"add is {layer.name!r}, expected the name of a save: {', '.join(saved) or 'there is none'}"
            )
    indices = [layer.index for layer in every if isinstance(layer, Dropout) and layer.index >= 0]
    require(len({*indices}) == len(indices), "index", indices, "no dropout layer twice")
