"""Architectures that are drawn: chains of convolutions, each of which has a width and a kernel of its own."""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.architecture import named_layers
from jaxzoo.spec.distribution import Distribution
from jaxzoo.spec.fields import require_choices, settle_fields
from jaxzoo.spec.layer_words import words_of
from jaxzoo.spec.layers import (
    MEMBERS_OWN,
    NAMED_ACTIVATIONS,
    Activation,
    Add,
    Conv,
    Dense,
    Layer,
    Layers,
    MeanPool,
    Save,
)

MOST_DEPTH, MOST_WIDTH, MOST_KERNEL = 100, 10_000, 99
NAME_DIGITS = 10  # of a drawn architecture's name, in hexadecimal


@dataclass(frozen=True, kw_only=True)
class ChainDraw:
    """Chains of `depth` convolutions, the mean over all positions, and a linear layer, as CNN Wild Park has them.

    The depth is drawn for each chain, and a `width` (channels), a `kernel` and an `activation` for each of its
    convolutions. These have stride 1, and kernel // 2 zeros on each side. An activation of "" is that of the member.
    With `skips`, a convolution gets nothing, or the values that an earlier one gave, all of them equally likely: but
    those just before it, which it reads anyway. They are added before the activation, to the channels that both have.
    """

    depth: int | Distribution
    width: int | Distribution
    kernel: int | Distribution
    activation: str | Distribution = MEMBERS_OWN
    skips: bool = False

    def __post_init__(self) -> None:
        settle_fields(self)
        for name, most in (("depth", MOST_DEPTH), ("width", MOST_WIDTH), ("kernel", MOST_KERNEL)):
            for value in _whole_numbers(name, getattr(self, name)):
                require(1 <= value <= most, name, value, f"1 to {most}")
        words = self.activation.span if isinstance(self.activation, Distribution) else (self.activation,)
        if isinstance(self.activation, Distribution):
            require(self.activation.kind == "choice", "activation", self.activation.kind, "a choice")
        require_choices("activation", [str(word) for word in words], (MEMBERS_OWN, *NAMED_ACTIVATIONS))

    def layers(self, origin: str) -> Layers:
        """The layers of a draw, which depend on the origin alone."""

        def drawn(name: str, given: Any) -> Any:
            return given.drawn(f"{origin} {name}") if isinstance(given, Distribution) else given

        layers: list[Layer] = []
        depth = int(drawn("depth", self.depth))
        sources = [_source(origin, number) if self.skips else None for number in range(depth)]
        for number in range(depth):
            kernel = int(drawn(f"kernel {number}", self.kernel))
            width = int(drawn(f"width {number}", self.width))
            source, activation = sources[number], str(drawn(f"activation {number}", self.activation))
            layers.append(Conv("", kernel, width, padding=kernel // 2))
            layers += [] if source is None else [Add(_saved(source), "common")]
            layers.append(Activation(activation))
            layers += [Save(_saved(number))] if number in sources else []
        return named_layers((*layers, MeanPool(), Dense("", None)))


def chain_name(layers: Layers) -> str:
    """The name of a drawn architecture: its depth, and a hash that tells apart all that differ."""
    digest = hashlib.sha256(json.dumps(words_of(layers)).encode()).hexdigest()
    depth = sum(isinstance(layer, Conv) for layer in layers)
    return f"chain{depth}-{digest[:NAME_DIGITS]}"


@functools.lru_cache(maxsize=100_000)  # a plan asks for each member, and a spec is built many times
def drawn_chain(draw: ChainDraw, origin: str) -> tuple[str, Layers]:
    """The name and the layers of a draw."""
    layers = draw.layers(origin)
    return chain_name(layers), layers


def _source(origin: str, number: int) -> int | None:
    """The convolution whose values this one gets, None for none of them."""
    before = max(0, number - 1)
    share = int.from_bytes(hashlib.sha256(f"{origin} skip {number}".encode()).digest()[:8], "big")
    choice = share * (1 + before) >> 64
    return None if choice == 0 else choice - 1


def _saved(number: int) -> str:
    return f"after_conv{number + 1}"


def _whole_numbers(name: str, given: int | Distribution) -> Iterator[int]:
    """The value, or the ends or the values of what it is drawn from. Raises InputError for what is no whole number."""
    if isinstance(given, int):
        yield given
        return
    if given.kind not in ("integers", "choice"):
        raise InputError(f"{name}.kind is {given.kind!r}, expected integers or choice", (name, "kind"))
    for value in given.span:
        whole = not isinstance(value, str) and float(value).is_integer()
        require(whole, name, value, "a whole number")
        yield int(value)
