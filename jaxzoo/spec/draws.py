"""Hyperparameters that are drawn: so many points, each from distributions, by hashing and so alike on every machine."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.chains import ChainDraw, drawn_chain
from jaxzoo.spec.distribution import KINDS, Distribution
from jaxzoo.spec.fields import settle_fields, settled
from jaxzoo.spec.grid import FACTORS, HYPERPARAMETERS, NONE, TYPES, check_values
from jaxzoo.spec.layers import Layers
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.spec.seeds import SEED_LIMIT

MOST_DRAWS = 10**6
ARCHITECTURE_KINDS = {"kind": Distribution, "depth": ChainDraw}  # by a key that only tables of one kind have


@dataclass(frozen=True, kw_only=True)
class Draws:
    """`models` points, each hyperparameter of which is drawn, or is the value given (see `Grid` for what they mean).

    A draw depends on `seed`, on its number and on the hyperparameter's name alone: the first 100 of 500 are the first
    100 of 1,000, and another hyperparameter changes none of the others. `architecture` may draw the layers, too.
    """

    models: int
    seed: int = 0
    activation: str | Distribution = NONE
    initialization: str | Distribution = NONE
    dropout: float | Distribution = 0.0
    optimizer: str | Distribution
    learning_rate: float | Distribution
    weight_decay: float | Distribution = 0.0
    batch_size: int | Distribution | None = None
    momentum: float | Distribution | None = None
    beta1: float | Distribution | None = None
    beta2: float | Distribution | None = None
    epsilon: float | Distribution | None = None
    initialization_scale: float | Distribution | None = None
    initialization_std: float | Distribution | None = None
    initialization_bias: float | Distribution | None = None
    label_smoothing: float | Distribution | None = None
    gradient_clip: float | Distribution | None = None
    train_fraction: float | Distribution | None = None
    excluded: float | Distribution | None = None
    subset: int | Distribution | None = None
    excluded_class: int | Distribution | None = None
    label_noise: float | Distribution | None = None
    trigger: float | Distribution | None = None
    architecture: str | Distribution | ChainDraw | None = field(default=None, metadata={"kinds": ARCHITECTURE_KINDS})
    dataset: str | Distribution | None = None

    def __post_init__(self) -> None:
        settle_fields(self)
        require(1 <= self.models <= MOST_DRAWS, "models", self.models, f"1 to {MOST_DRAWS}")
        require(0 <= self.seed < SEED_LIMIT, "seed", self.seed, f"0 <= seed < {SEED_LIMIT}")
        for name in (*HYPERPARAMETERS, *self.declared):
            origin = getattr(self, name)
            if isinstance(origin, Distribution):
                _check_kind(name, origin)
            check_values(name, self.values(name))

    @property
    def declared(self) -> tuple[str, ...]:
        """The factors that are drawn or given, in the order of `FACTORS`."""
        return tuple(name for name in FACTORS if getattr(self, name) is not None)

    def values(self, name: str) -> tuple[Any, ...]:
        """What a hyperparameter may be: the values of a choice, the ends of a range, or the one value given."""
        origin = getattr(self, name)
        if isinstance(origin, ChainDraw):
            return tuple(self.chains)
        span = origin.span if isinstance(origin, Distribution) else (origin,)
        return tuple(TYPES[name](value) for value in span)

    def points(self) -> Iterator[Mapping[str, Any]]:
        """Yields the value of every hyperparameter, draw by draw."""
        names = (*HYPERPARAMETERS, *self.declared)
        for number in range(self.models):
            yield {name: self._drawn(number, name) for name in names}

    @functools.cached_property
    def chains(self) -> Mapping[str, Layers]:
        """The layers of the architectures that are drawn, by name."""
        if not isinstance(self.architecture, ChainDraw):
            return {}
        return dict(
            drawn_chain(self.architecture, self._origin(number, "architecture")) for number in range(self.models)
        )

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The optimizers that members may have."""
        return tuple(Optimizer(name=name) for name in self.values("optimizer"))

    @property
    def size(self) -> int:
        """How many points there are."""
        return self.models

    def _drawn(self, number: int, name: str) -> Any:
        origin = getattr(self, name)
        if isinstance(origin, ChainDraw):
            return drawn_chain(origin, self._origin(number, name))[0]
        if not isinstance(origin, Distribution):
            return origin
        return TYPES[name](origin.drawn(self._origin(number, name)))

    def _origin(self, number: int, name: str) -> str:
        return f"{self.seed} {number} {name}"


def _check_kind(name: str, origin: Distribution) -> None:
    """Raises InputError for a distribution of numbers where words are wanted, and the like."""
    whole, words = TYPES[name] is int, TYPES[name] is str
    kinds = ("choice",) if words else ("choice", "integers") if whole else KINDS
    if origin.kind not in kinds:
        raise InputError(f"{name}.kind is {origin.kind!r}, expected {' or '.join(kinds)}", (name, "kind"))
    for value in origin.values:
        settled(name, value, TYPES[name])
