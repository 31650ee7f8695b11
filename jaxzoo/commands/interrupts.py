"""Ctrl-C and the signals that ask for an end, while a zoo is made."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

# SLURM warns by the user's signals of a time that runs out; SIGHUP is a terminal that closes
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


@contextlib.contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Signals are noted in the list and end the run at the next segment; a second one acts at once.

    SIGHUP is left alone where it is ignored at the start, as under nohup.
    """
    caught: list[int] = []
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])
        if number == getattr(signal, "SIGHUP", None):
            _leave(terminals)
        print("\nstopping; what is being saved is finished first ...", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in _signals()}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    here = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]  # Windows has but two of them
    hangup = getattr(signal, "SIGHUP", None)
    return [number for number in here if number != hangup or signal.getsignal(number) != signal.SIG_IGN]


def _leave(terminals: list[int]) -> None:
    """Lets output to a terminal that has gone go nowhere: an error of writing would end the run before it is saved."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nowhere, number)
