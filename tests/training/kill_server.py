"""Kills a run at every one of its storage calls, goes on after each, and compares the numbers in the end.

Forks a process for every run, before JAX has started any thread of its own. In the first run of a pair the process
kills itself at the call whose turn it is; the second run must end with the numbers of an undisturbed one. Prints how
many calls there were, and a line about each thing that is wrong.
"""

import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

from fake_program import run_fake

from jaxzoo.storage.checkpoints import checksum, read_checkpoint
from jaxzoo.storage.snapshots import metrics_epochs, read_metrics, snapshot_epochs
from jaxzoo.storage.zoo_folder import cohort_folder

CALLS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"}


def kill_at(folder, turn):
    """From now on the process counts its storage calls in a folder, and kills itself before number `turn`."""
    counted = [0]

    def count(event, arguments):
        if event not in CALLS or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and arguments[1] in (None, "r", "rb"):
            return  # reading changes nothing
        counted[0] += 1
        if counted[0] == turn:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def in_a_fork(task):
    """The exit status of a task in a process of its own: 0, or that it raised, or the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            task()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def numbers_of(folder):
    """Of every epoch the checksum of its weights, as far as they stay, and of its metrics."""
    cohort = cohort_folder(folder, 0)
    weights = {epoch: read_checkpoint(cohort / "snapshots" / str(epoch), {"params.": slice(None)})["params"]
               for epoch in snapshot_epochs(cohort)}  # fmt: skip
    metrics = {epoch: read_metrics(cohort, epoch) for epoch in metrics_epochs(cohort)}
    return [{epoch: int(checksum(tree)) for epoch, tree in part.items()} for part in (weights, metrics)]


def write_numbers(folder):
    (folder / "numbers").write_text(repr(numbers_of(folder)))


def pair(root, turn, kept):
    """The status of the run that is killed, and what is wrong after the run that goes on."""
    folder = root / str(turn)
    folder.mkdir()

    def killed():
        kill_at(folder, turn)
        run_fake(folder, kept=kept)

    def goes_on():
        before = numbers_of(folder)
        run_fake(folder, kept=kept)
        weights, metrics = (old.items() <= now.items() for old, now in zip(before, numbers_of(folder), strict=True))
        if not metrics or not (weights or kept is not None):
            print(f"call {turn}: epochs of {before} were lost")
        write_numbers(folder)

    status = in_a_fork(killed)
    again = in_a_fork(goes_on)
    wrong = [] if again == 0 else [f"call {turn}: the run that went on ended with {again}"]
    if not wrong and (folder / "numbers").read_text() != (root / "undisturbed" / "numbers").read_text():
        wrong.append(f"call {turn}: other numbers than an undisturbed run")
    return status, wrong


def main(kept):
    warnings.filterwarnings("ignore", message=".*fork")
    with tempfile.TemporaryDirectory() as name:
        root, start = Path(name), time.monotonic()
        undisturbed = root / "undisturbed"
        undisturbed.mkdir()
        assert in_a_fork(lambda: (run_fake(undisturbed, kept=kept), write_numbers(undisturbed))) == 0
        for turn in range(1, 10_000):
            status, wrong = pair(root, turn, kept)
            print("\n".join(wrong), end="\n" if wrong else "")
            if status == 0:
                break
            if status != -signal.SIGKILL:
                print(f"call {turn}: ended with {status}")
        print(f"{turn - 1} calls, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(kept=() if "last" in sys.argv else None)
