"""The error that a user can mend."""

import difflib
from collections.abc import Iterable

MOST_SHOWN = 150  # characters of a value in an error line
MOST_TOLD = 200  # characters of what another library says
FEW_NAMES = 8  # so many are all listed where none is near


class InputError(ValueError):
    """A spec, a path or an argument that jaxzoo cannot work with.

    The message is one line: where and what is wrong, what was got, what was expected. A command line prints the line
    and ends with status 2. Any other exception is a defect of jaxzoo and shows its stack trace. `path` leads to the
    field of a spec that is wrong, the outermost name first; it is empty for everything else.
    """

    def __init__(self, message: str, path: tuple[str, ...] = ()) -> None:
        # what was got may hold line breaks: a file's name, an argument, another library's error
        super().__init__("\\n".join(message.splitlines()))
        self.path = path


def nearest(name: str, known: Iterable[str]) -> str:
    """The at most three known names most like `name`, for the end of an error line; all of few, if none is like it."""
    names = list(known)
    matches = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if not matches and len(names) > FEW_NAMES:
        matches = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    return ", ".join(matches or names)


def require(holds: bool, field: str, got: object, wanted: str) -> None:
    """Raises InputError, which names the field, what it is and what was wanted, unless `holds`."""
    if not holds:
        raise InputError(f"{field} is {shown(got)}, expected {wanted}", tuple(field.split(".")))


def shown(value: object) -> str:
    """A value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, a list of too many levels
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def first_line(error: BaseException) -> str:
    """The first line of what an error of another library says, cut where it is long; its class if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:MOST_TOLD]
