"""A zoo made on a real Ray of this machine, with a node that is lost on the way; what is wrong is one line."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from populations import assert_same_weights, write_digits_config

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.training.events import EpochSaved, Trained

pytest.importorskip("ray")

SCRIPT = Path(__file__).with_name("ray_cluster.py")
SETTINGS = {"batch_size": "60", "epochs": "15", "twins": '{ method = "magnitude", epochs = 2 }'}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """2 optimizers x 2 seeds in two cohorts, with twins."""
    return write_digits_config(tmp_path_factory.mktemp("config") / "tiny.toml", **SETTINGS)


@pytest.fixture(scope="module")
def spec(config):
    (spec,) = jaxzoo.read_config(config)
    return spec


@pytest.fixture(scope="module")
def alone(spec, tmp_path_factory):
    """The zoo, made by one process."""
    return jaxzoo.generate(spec, tmp_path_factory.mktemp("alone") / "tiny", form="none")


class Cluster:
    """A cluster in a process of its own, as JAX does not like to be forked."""

    def __init__(self):
        settings = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}  # the tasks have them, too
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        self.process = subprocess.Popen([sys.executable, SCRIPT], env=os.environ | settings, **streams)
        self.address = self.process.stdout.readline().strip()

    def lose(self):
        """Ends the second node, without a word to the first."""
        self.process.stdin.write("lose\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "lost\n"


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each; the second is the one that is lost."""
    cluster = Cluster()
    with cluster.process:  # which ends when nobody wishes any more
        assert cluster.address
        yield cluster


def test_a_command_that_is_stopped_and_a_node_that_is_lost_change_no_bit(spec, config, alone, cluster, tmp_path):
    """The command line begins the zoo and hears Ctrl-C; a call goes on, and loses a node with the task that it runs."""
    begin = [sys.executable, "-m", "jaxzoo", "generate", "--config", config, "--out", tmp_path, "--form", "none"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*begin, "--ray", cluster.address, "--per-task", "CPU=1"], **streams) as command:
        wait_for(tmp_path / "tiny" / "cohorts" / "000" / "snapshots" / "1", command)
        command.send_signal(signal.SIGINT)
        out, errors = command.communicate(timeout=100)
    assert command.returncode == 128 + signal.SIGINT, errors
    assert "Run the same command again to go on" in out
    assert "Traceback" not in errors
    heard: list = []
    begun = threading.Event()

    def hear(event):
        heard.append(event)
        if isinstance(event, EpochSaved):
            begun.set()

    def lose():
        begun.wait(200)
        cluster.lose()

    losing = threading.Thread(target=lose)
    losing.start()
    try:
        made = jaxzoo.generate_on_ray(spec, tmp_path / "tiny", address=cluster.address, form="none", on_event=hear)
    finally:
        begun.set()
        losing.join()
    assert_same_weights(made, alone)
    told = [event for event in heard if isinstance(event, Trained)]
    assert sum(event.samples for event in told) == 4 * 1257 * (15 + 2)
    assert {(event.cohort, event.twins) for event in told} == {(0, False), (0, True), (1, False), (1, True)}


def wait_for(path, process):
    until = time.monotonic() + 200
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_error_of_a_task_is_the_one_that_its_process_raised(cluster, spec, tmp_path):
    with pytest.raises(InputError, match="lanes is 0, expected 1 or more"):
        jaxzoo.generate_on_ray(spec, tmp_path / "tiny", address=cluster.address, lanes=0)
    with pytest.raises(InputError, match="dataset 'svhn' is not prepared and cannot be downloaded"):
        jaxzoo.generate_on_ray(
            jaxzoo.load_spec("svhn-seed"), tmp_path / "zoo", address=cluster.address, data_dir=tmp_path / "images"
        )


BAD = {
    "nobody": (
        ("--ray", "127.0.0.1:9"),
        "Ray at 127.0.0.1:9: does not answer (Connection refused), expected a Ray cluster",
    ),
    "no address": (("--ray", "here"), "Ray at here: cannot be reached (Invalid address format: here)"),
    "no amount": (
        ("--ray", "--per-task", "GPU"),
        "argument --per-task: got 'GPU', expected names and numbers as in GPU=1",
    ),
    "no Ray": (("--per-task", "GPU=1"), "--per-task: expected --ray, too"),
    "two ways": (("--ray", "--coordinator", "auto"), "--ray and --coordinator: expected one of them"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(arguments, message, tmp_path):
    start = time.monotonic()
    begun = [sys.executable, "-m", "jaxzoo", "generate", "--zoo", "digits", "--out", str(tmp_path / "zoos")]
    done = subprocess.run([*begun, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("jaxzoo generate: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert time.monotonic() - start < 60
    assert not (tmp_path / "zoos").exists()
