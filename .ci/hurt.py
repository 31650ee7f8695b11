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
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hurt_faults import FAULTS, fill_disk
from hurt_lab import Lab, Tally, compare, count_lost, end, finish, numbers_of, start, wait_until

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from populations import write_digits_config


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
        count_lost(lab, before, numbers_of(out))
        if finished:
            compare(lab, out, "kills")
            moment = moment % 2
        else:
            lab.tally.kills += 1
            yield


def prepare(root: Path) -> Lab:
    """Makes the zoo undisturbed: once to compile, once to know how long it takes."""
    twins = '{ method = "magnitude", epochs = 2 }'
    write_digits_config(root / "tiny.toml", batch_size="60", epochs="4", rate="[3e-3]", twins=twins)
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
            finish(lab, out, fault, hurt(lab, out, draws) or ())
            lab.tally.faults += 1
        kills = kill_at_random(lab, draws)
        for number in range(options.kills):
            next(kills)
            if number % 10 == 9:
                print(lab.tally, flush=True)
        print(lab.tally)
    return 1 if lab.tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
