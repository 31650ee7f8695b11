"""How the learning rate moves while a zoo is trained."""

from dataclasses import dataclass

from jaxzoo.spec.fields import require_choices, settle_fields

SCHEDULES = ("constant", "one-cycle")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves: `constant`, or `one-cycle` with the grid's learning rate as its peak.

    One cycle spans all steps of a zoo, or all steps of its twins. The momentum moves the other way round (see
    jaxzoo.training.schedules).
    """

    kind: str = "constant"

    def __post_init__(self) -> None:
        settle_fields(self)
        require_choices("kind", (self.kind,), SCHEDULES)

    @property
    def depends_on_length(self) -> bool:
        """Whether the rate at a step depends on how many epochs there are."""
        return self.kind != "constant"
