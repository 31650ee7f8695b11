"""Tables as text for the screen."""

from typing import Any

import pandas as pd

SMALL = 100  # numbers below it have four digits
MISSING = "-"


def table_text(table: pd.DataFrame) -> str:
    """The table, aligned, with separators of thousands. What is missing is a dash, a truth yes or no."""
    return table.astype(object).map(cell_text).to_string(index=False)


def cell_text(value: Any) -> str:
    """
    A value as a table shows it.

    >>> cell_text(1234567), cell_text(1234.56), cell_text(3.14159), cell_text(True), cell_text(float("nan"))
    ('1,234,567', '1,235', '3.142', 'yes', '-')
    """
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return MISSING
    if value is True or value is False:
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < SMALL else f"{value:,.0f}"


def spread_text(median: Any, lowest: Any, highest: Any) -> str:
    """
    Three digits of a number, and its spread.

    >>> spread_text(7.434, 7.2, 1234.5), spread_text(None, None, None)
    ('7.43 (7.20 to 1,234)', '-')
    """
    if median is None or median != median:
        return MISSING
    return f"{three_digits(median)} ({three_digits(lowest)} to {three_digits(highest)})"


def three_digits(value: float | None) -> str:
    """A number with three digits or more, separators among them; a dash for none."""
    if value is None or value != value:
        return MISSING
    decimals = 0 if value >= SMALL else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"
