"""How sparse twins of a zoo are made."""

import dataclasses
from dataclasses import dataclass

from jaxzoo.errors import require
from jaxzoo.spec.fields import require_choices, settle_fields

METHODS = ("variational-dropout", "magnitude")
NO_TWINS = "none"
TWIN_EPOCHS = 25  # the original's
SCOPES = ("global", "layer")
MOST_EPOCHS = 10**6


@dataclass(frozen=True, kw_only=True)
class TwinSpec:
    """How sparse twins are made of a zoo: `method` is "variational-dropout" or "magnitude".

    Magnitude pruning reaches `sparsity` (zero weights of all weights) half-way through the epochs and keeps those
    weights at zero. It takes the smallest weights of each layer (`scope` "layer"), or of all layers of a member
    together ("global", which empties most of a layer that was initialised small). Variational dropout uses neither.

    Without `epochs` twins have those of their zoo's spec, or 25, and no more than their zoo if a call cut that short.
    """

    method: str = "variational-dropout"
    epochs: int | None = None
    sparsity: float = 0.8
    scope: str = "layer"

    def __post_init__(self) -> None:
        settle_fields(self)
        require_choices("method", (self.method,), METHODS)
        require(1 <= self.length <= MOST_EPOCHS, "epochs", self.epochs, f"1 or more, at most {MOST_EPOCHS}")
        require(0 <= self.sparsity <= 1, "sparsity", self.sparsity, "0 <= sparsity <= 1")
        require_choices("scope", (self.scope,), SCOPES)

    @property
    def length(self) -> int:
        """How many epochs twins are made by: as said, else 25."""
        return TWIN_EPOCHS if self.epochs is None else self.epochs

    @property
    def used(self) -> "TwinSpec":
        """The settings that the method uses, the others at their defaults: specs of equal `used` make equal twins."""
        twin = dataclasses.replace(self, epochs=self.length)
        return twin if self.method == "magnitude" else TwinSpec(method=self.method, epochs=self.length)
