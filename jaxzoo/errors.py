"""The one error that is the user's to mend."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A spec, a path or an argument that jaxzoo cannot work with.

    Its message is one line: what, where, got, wanted. A command line prints that line and ends with status 2;
    any other exception is a defect of jaxzoo and shows its stack trace.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names most like `name`, for the end of an error line."""
    names = list(known)
    matches = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return ", ".join(matches or names)
