"""The error that a user can mend."""

import difflib
from collections.abc import Iterable

MOST_SHOWN = 150  # characters of a value in an error line


class InputError(ValueError):
    """A spec, a path or an argument that jaxzoo cannot work with.

    The message is one line: where and what is wrong, what was got, what was expected. A command line prints the line
    and ends with status 2. Any other exception is a defect of jaxzoo and shows its stack trace.
    """

    def __init__(self, message: str) -> None:
        # what was got may hold line breaks: a file's name, an argument, another library's error
        super().__init__("\\n".join(message.splitlines()))


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names most like `name`, or all of them if none is, for the end of an error line."""
    names = list(known)
    matches = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return ", ".join(matches or names)


def require(holds: bool, field: str, got: object, wanted: str) -> None:
    """Raises InputError, which names the field, what it is and what was wanted, unless `holds`."""
    if not holds:
        raise InputError(f"{field} is {shown(got)}, expected {wanted}")


def shown(value: object) -> str:
    """A value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, a list of too many levels
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
