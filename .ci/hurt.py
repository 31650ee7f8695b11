"""Hurts `jaxzoo generate` while it runs, runs the same command again, and compares the numbers in the end.

    .venv/bin/python .ci/hurt.py                  every fault, and 100 kills at random moments
    .venv/bin/python .ci/hurt.py --kills 0        every fault once

A small zoo with twins is made undisturbed first. Every hurt zoo must end with its numbers; no epoch that was whole may
change or be lost on the way; nothing may print a stack trace. Exit status 1 where one of these does not hold.
"""

import argparse
import contextlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxzoo.errors import InputError
from jaxzoo.storage.checkpoints import DamagedError, checksum, read_whole_checkpoint

CONFIG = """
[dataset]
name = "digits"
classes = 10
train = 1_257
validation = 180
test = 360
size = 28
channels = 1

[zoos.hurt]
architecture = "cnn-s"
batch_size = 60
epochs = 4
twins = { method = "magnitude", epochs = 2 }
seeds = { first = 1, last = 2 }

[zoos.hurt.grid]
activation = ["tanh"]
initialization = ["kaiming_uniform"]
optimizer = ["adam", "sgd"]
learning_rate = [0.003]
"""

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
    wanted: dict[str, int]
    seconds: float

    def command(self, out: Path, *options: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "jaxzoo",
            "generate",
            "--config",
            str(self.root / "hurt.toml"),
            "--out",
            str(out),
            *options,
        ]


Numbers = dict[str, int]


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


def finish(lab: Lab, out: Path, name: str, *options: str) -> None:
    """Runs the same command to its end, and compares."""
    before = numbers_of(out)
    end(lab, start(lab.command(out, *options)), (0,))
    compare(lab, out, before, name)


def compare(lab: Lab, out: Path, before: Numbers, name: str) -> None:
    after = numbers_of(out)
    lost = {path for path, number in before.items() if after.get(path) != number and path in lab.wanted}
    wanted = {path: number for path, number in lab.wanted.items() if path in after or "--keep-epochs" not in name}
    lab.tally.lost += len(lost) if "--keep-epochs" not in name else 0
    if after != wanted:
        lab.tally.differing += 1
        print(f"   {name}: {len(set(after.items()) ^ set(wanted.items()))} numbers differ")
    shutil.rmtree(out)


def wait_until(reached: Callable[[], object], run: subprocess.Popen[str]) -> None:
    while not reached() and run.poll() is None:
        time.sleep(0.002)


def kill_at_random(lab: Lab, draws: random.Random) -> Iterator[None]:
    """Kills a zoo again and again until it is finished. Every second time in the middle of a save."""
    out, moment = lab.root / "killed", 0
    while True:
        before = numbers_of(out)
        run = start(lab.command(out))
        if moment % 2:
            saves = draws.randrange(12)
            seen: set[Path] = set()

            def saving(seen: set[Path] = seen, saves: int = saves) -> bool:
                for folder, names, _ in os.walk(out):  # unlike a glob it does not mind what goes meanwhile
                    seen.update(Path(folder, each) for each in names if each.endswith(".orbax-checkpoint-tmp"))
                return len(seen) > saves

            wait_until(saving, run)
            time.sleep(draws.uniform(0, 0.02))
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(draws.uniform(0, lab.seconds))
        moment += 1
        finished = run.poll() is not None
        run.kill()
        end(lab, run, (0, -signal.SIGKILL))
        now = numbers_of(out)
        lab.tally.lost += sum(now.get(path) != number for path, number in before.items())
        if finished:
            compare(lab, out, before, "kills")
            moment = moment % 2
        else:
            lab.tally.kills += 1
            yield


def terminate(lab: Lab, out: Path, draws: random.Random) -> None:
    run = start(lab.command(out))
    wait_until((out / "hurt/cohorts/000/snapshots/2").exists, run)
    run.send_signal(signal.SIGTERM)
    assert "Run the same command again to go on" in end(lab, run, (128 + signal.SIGTERM,))


def run_whole(lab: Lab, out: Path, *options: str, patch: str = "", files: int | None = None) -> str:
    return end(lab, start(lab.command(out, *options), patch=patch, files=files), (0, 2))


def hurt_files(lab: Lab, out: Path, draws: random.Random, hurt: Callable[[Path], object]) -> None:
    """Hurts what the last epoch of a cohort goes on from, in an unfinished zoo, and its snapshot."""
    run = start(lab.command(out))
    wait_until((out / "hurt/cohorts/001/snapshots/2").exists, run)
    run.kill()
    end(lab, run, (-signal.SIGKILL, 0))
    part = draws.choice(("snapshots", "resume"))
    last = max(
        (each for each in (out / f"hurt/cohorts/001/{part}").iterdir() if each.name.isdigit()),
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
    said = [end(lab, run, (0, 2)) for run in runs]
    assert any(run.returncode == 0 for run in runs), said


def two_halves(lab: Lab, out: Path, draws: random.Random) -> None:
    runs = [start(lab.command(out, "--cohorts", part)) for part in ("0:1", "1:2")]
    for run in runs:
        end(lab, run, (0,))


def stale_lock(lab: Lab, out: Path, draws: random.Random) -> None:
    run = start(lab.command(out))
    lock = out / "hurt/cohorts/000/.lock"
    wait_until((out / "hurt/cohorts/000/snapshots/1").exists, run)
    run.kill()
    end(lab, run, (-signal.SIGKILL, 0))
    lock.write_text("999999\n")  # the lock of a dead process


def fill_disk(lab: Lab, out: Path, draws: random.Random) -> None:
    """A file system that something else fills while the zoo is made, and that has room again in the end."""
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", out], check=True)
    run = start(lab.command(out))
    wait_until((out / "hurt/cohorts/000/snapshots" / str(draws.randrange(4))).exists, run)
    with contextlib.suppress(OSError), (out / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    said = end(lab, run, (2,))
    print(f"   {[line for line in said.splitlines() if 'expected' in line][-1:]}")
    (out / "ballast").unlink()


def repaired(lab: Lab, out: Path, draws: random.Random) -> None:
    """A finished zoo with damage in the middle, which is made again on request."""
    run_whole(lab, out)
    (out / "hurt/cohorts/000/snapshots/2").rename(out / "gone")
    shutil.rmtree(out / "gone")
    for file in (out / "hurt/twins/magnitude/cohorts/001/snapshots/1").rglob("d/*"):
        flip(file)
    run_whole(lab, out, "--repair")


FAULTS: dict[str, Callable[[Lab, Path, random.Random], object]] = {
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
    "few file handles": lambda lab, out, draws: print(f"   {run_whole(lab, out, files=48).splitlines()[-1:]}"),
    "a removal that fails once": lambda lab, out, draws: run_whole(
        lab, out, "--keep-epochs", "last", patch=RMTREE_FAILS_ONCE
    ),
    "a full disk": fill_disk,
}


def prepare(root: Path) -> Lab:
    """Makes the zoo undisturbed: once to compile, once to know how long it takes."""
    (root / "hurt.toml").write_text(CONFIG)
    lab = Lab(root, Tally(), {}, 0.0)
    for _ in range(2):
        shutil.rmtree(root / "undisturbed", ignore_errors=True)
        begin = time.monotonic()
        end(lab, start(lab.command(root / "undisturbed")), (0,))
    return lab._replace(wanted=numbers_of(root / "undisturbed"), seconds=time.monotonic() - begin)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="the faults whose names hold this")
    options = parser.parse_args()
    draws = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="hurt") as name:
        lab = prepare(Path(name))
        print(f"undisturbed: {len(lab.wanted)} epochs in {lab.seconds:.1f} s", flush=True)
        for fault, hurt in FAULTS.items():
            if options.only and options.only not in fault:
                continue
            if hurt is fill_disk and os.geteuid() != 0:
                print("a full disk: only the superuser can mount a small one", flush=True)
                continue
            print(fault, flush=True)
            out = lab.root / "faults"
            hurt(lab, out, draws)
            lab.tally.faults += 1
            if hurt is fill_disk:
                shutil.copytree(out, lab.root / "copy")
                subprocess.run(["umount", out], check=True)
                shutil.rmtree(out)
                (lab.root / "copy").rename(out)
            if "removal" in fault:
                finish(lab, out, "--keep-epochs", "--keep-epochs", "last")
            else:
                finish(lab, out, fault)
        kills = kill_at_random(lab, draws)
        for number in range(options.kills):
            next(kills)
            if number % 10 == 9:
                print(lab.tally, flush=True)
        print(lab.tally)
    return 1 if lab.tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
