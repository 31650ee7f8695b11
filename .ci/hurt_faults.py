"""The faults, by name. Each leaves a zoo that the same command must finish, with the options that it returns."""

import contextlib
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from hurt_lab import Lab, end, start, wait_until

FEW_FILES = 16

# a module that Python imports at its start: what it patches, the whole run sees
CLOCK_JUMPS = """
import time
before, jumps = time.time, (0, 86_400, -86_400, 3e8, -3e8)
time.time = lambda: before() + jumps[int(time.monotonic() / 2.5) % 5]
time.time_ns = lambda: int(time.time() * 1e9)
"""
RMTREE_FAILS_ONCE = """
import errno, shutil
before, failures = shutil.rmtree, [OSError(errno.EBUSY, "busy")]
def rmtree(path, ignore_errors=False, onerror=None, **options):
    if "cohorts" in str(path) and failures:
        error = failures.pop()
        if not ignore_errors:
            raise error
        return
    before(path, ignore_errors, onerror, **options)
shutil.rmtree = rmtree
"""


def terminate(lab: Lab, out: Path, draws: random.Random) -> None:
    run = start(lab.command(out))
    wait_until((out / "tiny/cohorts/000/snapshots/2").exists, run)
    run.send_signal(signal.SIGTERM)
    end(lab, run, (128 + signal.SIGTERM,))


def run_whole(lab: Lab, out: Path, *options: str, patch: str = "", files: int | None = None) -> None:
    """A run under a fault that it may survive, or be ended by with one line."""
    said = end(lab, start(lab.command(out, *options), patch=patch, files=files), (0, 2))
    print(f"   {[line for line in said.splitlines() if 'expected' in line][-1:] or 'survived'}")


def hurt_files(lab: Lab, out: Path, draws: random.Random, hurt: Callable[[Path], object]) -> None:
    """Hurts what the last epoch of a cohort goes on from, in an unfinished zoo, and its snapshot."""
    run = start(lab.command(out))
    wait_until((out / "tiny/cohorts/001/snapshots/2").exists, run)
    run.kill()
    end(lab, run, (-signal.SIGKILL, 0))
    part = draws.choice(("snapshots", "resume"))
    last = max(
        (each for each in (out / f"tiny/cohorts/001/{part}").iterdir() if each.name.isdigit()),
        key=lambda each: int(each.name),
    )
    for file in [each for each in last.rglob("*") if each.is_file()]:
        hurt(file)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    if data:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


def two_writers(lab: Lab, out: Path, draws: random.Random) -> None:
    runs = [start(lab.command(out)), start(lab.command(out))]
    end(lab, runs[0], (0, 2))
    end(lab, runs[1], (0, 2) if runs[0].returncode == 0 else (0,))


def two_halves(lab: Lab, out: Path, draws: random.Random) -> None:
    runs = [start(lab.command(out, "--cohorts", part)) for part in ("0:1", "1:2")]
    for run in runs:
        end(lab, run, (0,))


def stale_lock(lab: Lab, out: Path, draws: random.Random) -> None:
    run = start(lab.command(out))
    lock = out / "tiny/cohorts/000/.lock"
    wait_until((out / "tiny/cohorts/000/snapshots/1").exists, run)
    run.kill()
    end(lab, run, (-signal.SIGKILL, 0))
    lock.write_text("999999\n")  # the lock of a dead process


def fill_disk(lab: Lab, out: Path, draws: random.Random) -> None:
    """A file system that something else fills while the zoo is made, and that has room again in the end."""
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", out], check=True)
    run = start(lab.command(out))
    wait_until((out / "tiny/cohorts/000/snapshots" / str(draws.randrange(4))).exists, run)
    with contextlib.suppress(OSError), (out / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    said = end(lab, run, (2,))
    print(f"   {[line for line in said.splitlines() if 'expected' in line][-1:]}")
    (out / "ballast").unlink()
    shutil.copytree(out, lab.root / "copy")
    subprocess.run(["umount", out], check=True)
    out.rmdir()
    (lab.root / "copy").rename(out)


def fail_to_remove(lab: Lab, out: Path, draws: random.Random) -> Sequence[str]:
    """Of a zoo that lets epochs go."""
    options = ("--keep-epochs", "last")
    run_whole(lab, out, *options, patch=RMTREE_FAILS_ONCE)
    return options


def repaired(lab: Lab, out: Path, draws: random.Random) -> None:
    """A finished zoo with damage in the middle, which is made again on request."""
    run_whole(lab, out)
    (out / "tiny/cohorts/000/snapshots/2").rename(out / "gone")
    shutil.rmtree(out / "gone")
    for file in (out / "tiny/twins/magnitude/cohorts/001/snapshots/1").rglob("d/*"):
        flip(file)
    run_whole(lab, out, "--repair")


FAULTS: dict[str, Callable[[Lab, Path, random.Random], Sequence[str] | None]] = {
    "SIGTERM": terminate,
    "flipped bytes": lambda *lab: hurt_files(*lab, flip),
    "truncated files": lambda *lab: hurt_files(
        *lab, lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    ),
    "emptied files": lambda *lab: hurt_files(*lab, lambda file: file.write_bytes(b"")),
    "missing files": lambda *lab: hurt_files(*lab, Path.unlink),
    "a middle epoch gone, another damaged": repaired,
    "two writers": two_writers,
    "two halves at once": two_halves,
    "a stale lock": stale_lock,
    "a clock that jumps": lambda lab, out, draws: run_whole(lab, out, patch=CLOCK_JUMPS),
    "few file handles": lambda lab, out, draws: run_whole(lab, out, files=FEW_FILES),
    "a removal that fails once": fail_to_remove,
    "a full disk": fill_disk,
}
