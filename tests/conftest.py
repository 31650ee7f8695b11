"""Two CPU devices, as on a machine with two cores; programs that one process compiled serve the others; no network.

JAX promotes no rank and no type in silence.
"""

import ctypes
import gc
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

# before JAX is imported, and for the command lines that tests start: not in the user's own cache
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxzoo-tests-compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ |= {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}  # nobody listens there
os.environ["no_proxy"] = "127.0.0.1"  # but for servers that tests start

import filelock
import jax
import pytest

import jaxzoo
from jaxzoo.training.programs import build_program

jax.config.update("jax_num_cpu_devices", 2)
if hasattr(os, "sched_getaffinity"):  # so that use_all_cores(), which command lines call, finds them all there
    os.sched_getaffinity = lambda pid: {0, 1}
# as a caller may have it: nothing that users call outside a pinned call may lean on a silent promotion
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# in a gate on two cores these files take minutes each; what began last would leave a core without work
LONGEST = (
    *("sharing", "sparsify", "ray", "compose", "growth", "space"),
    *("resnet", "forms", "engines", "hosts", "kills", "tune"),
)


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files of most tests


def pytest_collection_modifyitems(items):
    """The longest files begin."""
    names = [f"test_{name}.py" for name in LONGEST]
    items.sort(key=lambda item: names.index(item.path.name) if item.path.name in names else len(names))


MOST_MEMORY = 1_500_000_000  # bytes of a worker; above it compiled programs are let go, to be compiled again


@pytest.fixture(autouse=True)
def let_go_of_programs():
    """Compiled programs that earlier tests needed do not fill the memory of a worker for ever."""
    yield
    if sys.platform == "linux" and memory_held() > MOST_MEMORY:
        build_program.cache_clear()
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is freed goes back to the system


def memory_held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def promotions_of_programs():
    """The promotions that our compiled programs allow themselves, for tests that call a part of a program alone."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def digits_zoo(tmp_path_factory):
    """The folder of a small digits zoo with magnitude twins, made once for all workers. Tests only read it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # each worker's own folder lies in that of the run
    folder = shared / "shared" / "zoos" / "digits"  # examples open "zoos/digits"
    with filelock.FileLock(shared / "shared.lock"):
        if not folder.exists():
            few = jaxzoo.TwinSpec(method="magnitude", epochs=2)
            jaxzoo.generate(jaxzoo.load_spec("digits"), folder, models=8, epochs=2, twins=few)
    return folder


@pytest.fixture(scope="session")
def s3_server():
    """The address of an S3 server on loopback, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _answering(f"http://127.0.0.1:{port}")
    finally:
        server.kill()
        server.wait()


def _answering(address):
    for _ in range(300):
        try:
            urllib.request.urlopen(address)
            return address
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


BUCKETS = itertools.count()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """The address of a new bucket, and the environment of somebody who may use it."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"zoos-{next(BUCKETS)}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{name}", method="PUT"))
    return f"s3://{name}"
