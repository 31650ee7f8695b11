"""What the command lines share: errors of one line, and arguments that are checked where they are parsed."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from jaxzoo.errors import InputError
from jaxzoo.paths import local_path
from jaxzoo.storage.files import reason, write_whole
from jaxzoo.storage.retention import ALL, LAST, Keep
from jaxzoo.storage.store_paths import is_address

MOST_NUMBERS = 10**6  # of a range
DEVICES = "so many of the devices here, or those of the indices 0,2 or 4:8 (all)"
BROKEN_PIPE = 13  # the number of SIGPIPE, which Windows lacks


def run_command(program: str, command: Callable[[], int]) -> int:
    """The exit status of a command line: 2 after one line for bad input, 130 for Ctrl-C, 141 where nobody reads on."""
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()  # here, where an error of it is caught
    except BrokenPipeError:
        # the reader has gone, as `| head -1` does; what Python writes at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + BROKEN_PIPE
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while images are prepared, or engines measured; training stops in its own way
        print("\nstopped; nothing half-made is kept", file=sys.stderr)
        return 128 + signal.SIGINT


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are InputErrors: one line, without the usage."""

    def __init__(
        self,
        *,
        prog: str,
        description: str = "",
        examples: str = "",
        add_help: bool = True,
        allow_abbrev: bool = True,
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=add_help,
            allow_abbrev=allow_abbrev,
        )

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(message)


def cohort_range(text: str) -> range:
    """The cohorts of a text like 3:7."""
    first, colon, last = text.partition(":")
    if not (first.isdecimal() and colon and last.isdecimal()):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected two numbers as in 3:7")
    return range(int(first), int(last))


def fraction(text: str) -> float:
    """The number from 0 to 1 that the text stands for."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number from 0 to 1")
    return value


def positive_number(text: str) -> float:
    """The number above 0 that the text stands for."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0")
    return value


def positive(text: str) -> int:
    """The whole number above 0 that the text stands for."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number, 1 or more")
    return int(text)


def whole_number(text: str) -> int:
    """The whole number, 0 or more, that the text stands for."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number, 0 or more")
    return int(text)


def number_list(text: str) -> list[int]:
    """The numbers of a text like 10,20 or 0:64, where the end is left out."""
    numbers: list[int] = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        if not first.isdecimal() or (colon and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers as in 10,20 or 0:64")
        several = range(int(first), int(last) if colon else int(first) + 1)
        if not 0 < len(several) <= MOST_NUMBERS:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected ranges of 1 to {MOST_NUMBERS:,} numbers")
        numbers.extend(several)
    return numbers


def device_choice(text: str) -> int | list[int]:
    """How many devices a text like 2 asks for, or the indices of those that one like 0,2 or 4:8 names."""
    return number_list(text) if "," in text or ":" in text else positive(text)


def kept_argument(text: str) -> Keep:
    """The epochs whose weights stay on disk: all, last, or a list of numbers."""
    return text if text in (ALL, LAST) else tuple(number_list(text))


def amounts(text: str) -> dict[str, float]:
    """The amounts by name of a text like GPU=1,CPU=4."""
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        found = {name: float(amount) for name, _, amount in pairs}
    except ValueError:
        found = {}
    if not found or not all(name and 0 <= amount < float("inf") for name, amount in found.items()):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected names and numbers as in GPU=1,CPU=4")
    return found


def path_argument(text: str) -> Path:
    """The path that the text stands for. A shell leaves the ~ of --out=~/zoos as it is."""
    try:
        return local_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def zoo_argument(text: str) -> Path | str:
    """The path of a zoo that the text stands for, or its address in a bucket."""
    return text if is_address(text) else path_argument(text)


def path_below(place: Path | str, name: str) -> Path | str:
    """The path, or the address, of what lies below one."""
    return place / name if isinstance(place, Path) else f"{place.rstrip('/')}/{name}"


def write_file(path: Path, text: str) -> None:
    """The file appears under its name when it is whole. Raises InputError where it cannot be written."""
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}), expected a file in a folder") from error
