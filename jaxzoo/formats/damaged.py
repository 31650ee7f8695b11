"""Members of another format's zoo that are damaged: an error, or left out where the caller asked for that."""

from collections.abc import Callable
from typing import TypeVar

from jaxzoo.errors import InputError
from jaxzoo.formats.format import ImportOptions, Report

Read = TypeVar("Read")


def attempt(read_one: Callable[[], Read], options: ImportOptions, report: Report) -> Read | None:
    """What a reader of one member gives; None, with a notice, where it is damaged and may be left out."""
    try:
        return read_one()
    except InputError as error:
        if not options.skip_damaged:
            raise InputError(f"{error}; --skip-damaged (skip_damaged=True) leaves damaged members out") from error
        report.notice(f"left out: {error}")
        return None
