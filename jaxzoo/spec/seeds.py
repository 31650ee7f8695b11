"""The seeds of the members: a range that all grid points share, or a draw for each of them."""

from dataclasses import dataclass

from jaxzoo.errors import require
from jaxzoo.spec.fields import settle_fields

SEED_LIMIT = 2**32


@dataclass(frozen=True, kw_only=True)
class SeedRange:
    """The seeds `first` to `last`, both included. All grid points share them."""

    first: int
    last: int

    def __post_init__(self) -> None:
        settle_fields(self)
        require(0 <= self.first < SEED_LIMIT, "first", self.first, f"0 <= first < {SEED_LIMIT}")
        require(
            self.first <= self.last < SEED_LIMIT,
            "last",
            self.last,
            f"{self.first} or more, below {SEED_LIMIT}",
        )


@dataclass(frozen=True, kw_only=True)
class SeedDraw:
    """`count` different seeds in 0..`below`-1 for each grid point, derived from the grid point's values."""

    count: int
    below: int

    def __post_init__(self) -> None:
        settle_fields(self)
        require(self.count >= 1, "count", self.count, "1 or more seeds")
        require(self.count <= self.below <= SEED_LIMIT, "below", self.below, f"{self.count} to {SEED_LIMIT}")
