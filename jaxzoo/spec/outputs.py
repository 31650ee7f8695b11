"""What is kept of the networks' outputs, example by example."""

from dataclasses import dataclass, field

from jaxzoo.errors import InputError, require
from jaxzoo.spec.dataset_spec import SPLITS
from jaxzoo.spec.fields import require_choices, settle_fields

KINDS = ("logits", "margins")
LAST, ALL = "last", "all"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Outputs on every example of some `splits` ("train", "validation", "test"), in evaluation mode, as float16.

    `kind` is "logits", or "margins": the logit of the true class less the largest other one. `epochs` at whose ends
    they are kept are "last", "all", or a list; twins keep theirs at as many of these as they have.
    """

    splits: tuple[str, ...] = field(metadata={"allowed": SPLITS})
    epochs: str | tuple[int, ...] = LAST
    kind: str = "logits"

    def __post_init__(self) -> None:
        settle_fields(self)
        require(len(self.splits) > 0, "splits", [], f"one or more of: {', '.join(SPLITS)}")
        require_choices("splits", self.splits, SPLITS)
        require(len({*self.splits}) == len(self.splits), "splits", list(self.splits), "no split twice")
        require_choices("kind", (self.kind,), KINDS)
        if isinstance(self.epochs, str):
            require(self.epochs in (LAST, ALL), "epochs", self.epochs, "'last', 'all' or epochs")
            return
        require(len(self.epochs) > 0, "epochs", [], "'last', 'all' or epochs")
        require(min(self.epochs) >= 0, "epochs", min(self.epochs), "0 or more")
        require(len({*self.epochs}) == len(self.epochs), "epochs", list(self.epochs), "no epoch twice")

    def epochs_to(self, last: int) -> tuple[int, ...]:
        """The epochs of 0..`last` at whose ends outputs are kept, in ascending order."""
        if self.epochs == ALL:
            return tuple(range(last + 1))
        if isinstance(self.epochs, str):
            return (last,)
        return tuple(sorted(epoch for epoch in self.epochs if epoch <= last))


def read_outputs_spec(given: object) -> Outputs:
    """The outputs that a split, or a list of splits, stands for. Raises InputError."""
    try:
        return Outputs(splits=given)  # type: ignore[arg-type]  # which settles it, or raises
    except InputError as error:
        raise InputError(f"outputs.{error}", ("outputs", *error.path)) from error
