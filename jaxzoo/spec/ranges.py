"""Ranges of numbers that fields of specs take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; an end that is not `included` is left out."""

    low: float
    high: float
    included: tuple[bool, bool] = (True, True)

    def holds(self, value: float) -> bool:
        """Whether the number is one of them."""
        above = self.low <= value if self.included[0] else self.low < value
        below = value <= self.high if self.included[1] else value < self.high
        return above and below

    def text(self, name: str) -> str:
        """The condition in words, such as 0 <= dropout < 1."""
        signs = ["<=" if included else "<" for included in self.included]
        return f"{self.low} {signs[0]} {name} {signs[1]} {self.high}"
