"""What reading a zoo of 1,000 CNN-s moves, from a bucket on this machine and from one file: `python .ci/buckets.py`.

The figures of docs/elsewhere.md. Weights are drawn instead of trained. Needs 2 GB of disk and two minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import tensorstore as ts
from populations import small_spec, store_zoo

import jaxzoo
from jaxzoo.storage.mirror import Mirror
from jaxzoo.storage.targets import target_of

ADDRESS = "http://127.0.0.1:5959"


def bytes_read() -> int:
    found = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/s3/bytes_read")
    return sum(each["value"] for metric in found for each in metric["values"])


def timed(what: str, call: Callable[[], Any]) -> Any:
    before, started = bytes_read(), time.monotonic()
    result = call()
    print(
        f"{what}: {time.monotonic() - started:.2f} s, {(bytes_read() - before) / 1e6:.2f} MB from the bucket",
        flush=True,
    )
    return result


def read(address: Path | str) -> None:
    zoo = timed(f"open {address}", lambda: jaxzoo.open_zoo(address))
    timed("  the weights of an epoch", lambda: zoo.weights(20))
    timed("  a model at all epochs", lambda: zoo.weights(zoo.epochs, [7]))
    zoo = jaxzoo.open_zoo(address)
    timed("  the metrics of all epochs", lambda: zoo.metrics)


def main(folder: Path) -> None:
    store_zoo(folder / "z", small_spec(seeds=1000, epochs=50))
    packed = timed("pack", lambda: jaxzoo.pack_zoo(folder / "z"))
    shutil.copytree(folder / "z", folder / "stage")
    with Mirror(folder / "stage", target_of("s3://zoos/z")) as mirror:
        mirror.describe()
        mirror.fetch(folder / "stage" / "cohorts" / "000")
    for _ in range(2):
        for address in (folder / "z", packed, "s3://zoos/z"):
            read(address)


if __name__ == "__main__":
    os.environ |= {"AWS_ENDPOINT_URL": ADDRESS, "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", "5959"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(8)
        urllib.request.urlopen(urllib.request.Request(f"{ADDRESS}/zoos", method="PUT"))
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
    finally:
        server.kill()
        server.wait()
