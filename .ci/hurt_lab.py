"""Where zoos are hurt: runs are started and ended, and the numbers of what they leave are compared."""

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxzoo.errors import InputError
from jaxzoo.storage.checkpoints import DamagedError, checksum, read_whole_checkpoint

Numbers = dict[str, int]  # the checksum of the weights and metrics of an epoch, by its path


class Tally:
    """What was done, and what went wrong."""

    def __init__(self) -> None:
        self.kills = self.faults = self.traces = self.lost = self.differing = self.failed = 0

    @property
    def wrong(self) -> int:
        return self.traces + self.lost + self.differing + self.failed

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.faults} other faults; whole epochs lost {self.lost}, zoos whose numbers differ "
            f"{self.differing}, runs that did not go on {self.failed}, stack traces {self.traces}"
        )


class Lab(NamedTuple):
    """Where zoos are hurt: a folder, the numbers of an undisturbed zoo, the seconds that it takes, and the tally."""

    root: Path
    tally: Tally
    wanted: Numbers
    seconds: float

    def command(self, out: Path, *options: str) -> list[str]:
        """The command line that makes the zoo into a folder, or goes on with it."""
        config = str(self.root / "tiny.toml")
        return [sys.executable, "-m", "jaxzoo", "generate", "--config", config, "--out", str(out), *options]


def numbers_of(out: Path) -> Numbers:
    """The checksum of the weights and metrics of every epoch that is whole."""
    numbers = {}
    for folder in out.glob("**/snapshots/*"):
        if folder.name.isdigit():
            with contextlib.suppress(DamagedError, InputError):
                tree, _ = read_whole_checkpoint(folder)
                tree.pop("identity")
                numbers[str(folder.relative_to(out))] = int(checksum(tree))
    return numbers


def start(command: Sequence[str], *, patch: str = "", files: int | None = None) -> subprocess.Popen[str]:
    """Starts a run, with a patch that it imports first, or with few file handles."""
    env = dict(os.environ)
    if patch:
        folder = Path(tempfile.mkdtemp(prefix="patch"))
        (folder / "sitecustomize.py").write_text(patch)
        env["PYTHONPATH"] = os.pathsep.join([str(folder), env.get("PYTHONPATH", "")])

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    return subprocess.Popen(
        command, env=env, preexec_fn=limit, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(lab: Lab, run: subprocess.Popen[str], expected: Sequence[int]) -> str:
    """Waits for a run, and notes a stack trace and an exit status that was not expected. Returns what it printed."""
    out, errors = run.communicate(timeout=600)
    lines = [line for line in errors.splitlines() if "Traceback" in line or re.match(r"\w*(Error|Exception)", line)]
    if lines:
        lab.tally.traces += 1
        print(f"   a trace: {errors[-1500:]}")
    if run.returncode not in expected:
        lab.tally.failed += 1
        print(f"   ended with {run.returncode}, expected {expected}: {errors[-800:]}")
    return out + errors


def finish(lab: Lab, out: Path, fault: str, options: Sequence[str]) -> None:
    """Runs the same command to its end, and compares."""
    before = numbers_of(out)
    end(lab, start(lab.command(out, *options)), (0,))
    count_lost(lab, before, numbers_of(out), lets_go="--keep-epochs" in options)
    compare(lab, out, fault, lets_go="--keep-epochs" in options)


def count_lost(lab: Lab, before: Numbers, after: Numbers, *, lets_go: bool = False) -> None:
    """Notes whole epochs that are gone, unless they are let go, or that are others now."""
    for path, number in before.items():
        lab.tally.lost += after.get(path, number if lets_go else None) != number


def compare(lab: Lab, out: Path, fault: str, *, lets_go: bool = False) -> None:
    """Holds a finished zoo to the undisturbed one, where it lets epochs go in those that both have; removes it."""
    after = numbers_of(out)
    wanted = {path: number for path, number in lab.wanted.items() if path in after or not lets_go}
    if after != wanted:
        lab.tally.differing += 1
        print(f"   {fault}: {len(set(after.items()) ^ set(wanted.items()))} numbers differ")
    shutil.rmtree(out)


def wait_until(reached: Callable[[], object], run: subprocess.Popen[str]) -> None:
    while not reached() and run.poll() is None:
        time.sleep(0.002)
