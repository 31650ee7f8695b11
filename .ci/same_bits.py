"""One zoo made in every way that jaxzoo spreads work by, and held to the bits of one call.

python .ci/same_bits.py            one device, workers that share, processes of jax.distributed, a stage, a bucket
python .ci/same_bits.py --ray      a Ray cluster of this machine, too, where one worker is lost; needs jaxzoo[ray]
"""

import argparse
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from populations import write_digits_config

import jaxzoo

NAME = "tiny"
TWINS = '{ method = "variational-dropout", epochs = 1 }'
ZOO = {"batch_size": "60", "epochs": "2", "cohort_size": "4", "seeds": "{ first = 1, last = 8 }", "twins": TWINS}
LEASE = "3"
RAY_TASK = b"ray::jaxzoo cohort"
PATIENCE = 600  # seconds for any of the ways


def main() -> int:
    """Prints a line for every way, and returns 1 where one of them gives other bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ray", action="store_true", help="make it by Ray, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, bucket_server() as bucket:
        config = write_digits_config(Path(folder) / "zoo.toml", **ZOO)
        ways: dict[str, Callable[[Path, str], object]] = {
            "one call": lambda config, out: run(config, out),
            "one device of two": lambda config, out: run(config, out, "--devices", "1"),
            "three workers that share, of which one is killed twice": share,
            "two processes of jax.distributed": distribute,
            "a stage": lambda config, out: run(config, out, "--stage", f"{out}-stage"),
            "a bucket": lambda config, out: run(config, out, "--stage", f"{folder}/staged"),
        }
        if options.ray:
            ways["Ray, with a worker lost"] = lose_a_worker_of_ray
        found: dict[str, str] = {}
        for way, make in ways.items():
            begun, out = time.monotonic(), bucket if way == "a bucket" else f"{folder}/{len(found)}"
            make(config, out)
            found[way] = digest(out)
            said = "" if found[way] == found["one call"] else "  OTHER BITS"
            print(f"{time.monotonic() - begun:6.1f} s  {found[way][:16]}  {way}{said}", flush=True)
    return int(len({*found.values()}) > 1)


def digest(out: str) -> str:
    """SHA-256 of the weights of all epochs of the zoo among those in a folder, and of its twins."""
    zoo = jaxzoo.open_zoo(f"{out}/{NAME}")
    assert len(zoo.twins) == 1, f"{out}: has no twins"
    total = hashlib.sha256()
    for part in (zoo, *zoo.twins.values()):
        assert part.epochs == tuple(range(part.record.epochs + 1)), f"{part.path}: holds {part.epochs}"
        for epoch in part.epochs:
            total.update(part.weights(epoch).tobytes())
    return total.hexdigest()


def start(config: Path, out: str, *options: str) -> subprocess.Popen[str]:
    """`jaxzoo generate` in a process of its own."""
    command = [sys.executable, "-m", "jaxzoo.generate", "--config", str(config), "--out", out, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end(*processes: subprocess.Popen[str]) -> None:
    """Waits for processes, and holds them to have ended well."""
    for process in processes:
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said


def run(config: Path, out: str, *options: str) -> None:
    """`jaxzoo generate`, to its end."""
    end(start(config, out, *options))


def share(config: Path, out: str) -> None:
    """Three workers; the second is killed twice while it trains, and begun again."""
    shared = ("--share", "--lease", LEASE)
    others = [start(config, out, *shared)]
    for _ in range(2):
        killed = start(config, out, *shared)
        while not holds(out, killed.pid) and killed.poll() is None:
            time.sleep(0.2)
        time.sleep(1.0)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    others += [start(config, out, *shared) for _ in range(2)]
    end(*others)


def holds(out: str, pid: int) -> bool:
    """Whether a process holds a cohort."""
    try:
        workers = jaxzoo.zoo_status(f"{out}/{NAME}", watch=False)["worker"].dropna()
    except jaxzoo.InputError:  # not begun yet
        return False
    return any(f"-{pid}-" in worker for worker in workers)


def distribute(config: Path, out: str) -> None:
    """Two processes, each with the CPU devices of this machine, meet on loopback."""
    meeting = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2")
    end(*(start(config, out, *meeting, "--process-id", str(process)) for process in range(2)))


def lose_a_worker_of_ray(config: Path, out: str) -> None:
    """Two workers of one core each; the process of one is killed while it trains."""
    driver = start(config, out, "--ray", "local")
    while not (working := [*processes_named(RAY_TASK)]) and driver.poll() is None:
        time.sleep(0.2)
    time.sleep(5.0)
    for pid in working[:1]:
        os.kill(pid, signal.SIGKILL)
    end(driver)


def processes_named(name: bytes) -> Iterator[int]:
    """The numbers of processes whose command line begins so."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(name):
                yield int(path.parent.name)


@contextlib.contextmanager
def bucket_server() -> Iterator[str]:
    """The address of a bucket on a server of this machine, and the environment of somebody who may use it."""
    port = free_port()
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        os.environ |= {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
        os.environ["AWS_ENDPOINT_URL"] = address = f"http://127.0.0.1:{port}"
        making = urllib.request.Request(f"{address}/zoos", method="PUT")
        for _ in range(300):
            try:
                urllib.request.urlopen(making).close()
                break
            except OSError:  # it does not answer yet
                time.sleep(0.1)
        yield "s3://zoos/all"
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
