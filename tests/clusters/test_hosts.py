"""Processes that JAX brings together make a zoo of the bits that one process makes; what is wrong is one line."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from populations import assert_same_weights, write_digits_config

import jaxzoo
from jaxzoo.clusters.hosts import join_processes
from jaxzoo.errors import InputError
from jaxzoo.reading.zoo import open_zoo

SCRIPT = Path(__file__).with_name("host_process.py")
TWINS = {"batch_size": "60", "epochs": "2", "twins": '{ method = "magnitude", epochs = 2 }'}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def started(*commands, patience=100):
    """A process for each list of arguments; those that have not ended are killed."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOSTS_PATIENCE": str(patience)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    begun = [subprocess.Popen([sys.executable, SCRIPT, *map(str, each)], env=env, **streams) for each in commands]
    try:
        yield begun
    finally:
        for process in begun:
            process.kill()
            process.communicate()


def ended(processes):
    """What all of them printed, after they have ended well."""
    said = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_digits_config(tmp_path_factory.mktemp("config") / "tiny.toml", **TWINS)


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """The zoo, made by one process."""
    (spec,) = jaxzoo.read_config(config)
    return jaxzoo.generate(spec, tmp_path_factory.mktemp("alone") / "tiny")


def command(config, out, port, process, processes=2):
    where = ("--coordinator", f"127.0.0.1:{port}", "--processes", processes, "--process-id", process)
    return ("command", "--config", config, "--out", out, *where)


def test_two_processes_of_which_one_is_killed_make_the_zoo_of_one(config, alone, tmp_path):
    """Each makes one of the two cohorts, on two devices. The first is killed when it has begun; the other goes on."""
    port = free_port()
    commands = [command(config, tmp_path, port, each) for each in range(2)]
    with started(*commands) as processes:
        begun = tmp_path / "tiny" / "cohorts" / "000" / "snapshots" / "0"
        while not begun.exists():
            assert processes[0].poll() is None
            time.sleep(0.05)
        processes[0].kill()
        ((_, second),) = ended(processes[1:])
    with started(*commands) as processes:
        (_, first), _ = ended(processes)
    assert_same_weights(open_zoo(tmp_path / "tiny"), alone)
    for number, errors in enumerate((first, second)):
        assert "Traceback" not in errors
        assert {int(each) for each in re.findall(r"cohort (\d) of 0\.\.1", errors)} == {number}


def test_calls_in_processes_that_are_together_already_share_the_cohorts(config, alone, tmp_path):
    """After jax.distributed.initialize(), `generate` and `make_twins` make the cohorts of their process."""
    port = free_port()
    (tmp_path / "dense.toml").write_text(config.read_text().replace(TWINS["twins"], '"none"'))
    commands = [("call", tmp_path / "dense.toml", tmp_path / "tiny", port, 2, each) for each in range(2)]
    with started(*commands) as processes:
        said = ended(processes)
    assert_same_weights(open_zoo(tmp_path / "tiny"), alone)
    for number, (out, _) in enumerate(said):
        assert f"devices are of process {1 - number}, expected those of process {number}" in out


@pytest.mark.parametrize("process", [0, 1], ids=["the others", "the coordinator"])
def test_whoever_does_not_come_is_not_waited_for_for_ever(process, config, tmp_path):
    port = free_port()
    with started(command(config, tmp_path, port, process), patience=3) as (waiting,):
        out, errors = waiting.communicate(timeout=100)
    assert waiting.returncode == 2, errors
    said = f"--coordinator 127.0.0.1:{port}: the processes have not met after 3 s, expected process 0 there, and all"
    assert errors.startswith(f"jaxzoo generate: {said}")
    assert errors.count("\n") == 1, errors
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_more_processes_than_cohorts_are_one_line_each(config, tmp_path):
    port = free_port()
    with started(*(command(config, tmp_path, port, each, processes=3) for each in range(3))) as processes:
        said = [process.communicate(timeout=100) for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 2
        assert errors == (
            "jaxzoo generate: zoo 'tiny': 3 processes for 2 cohorts, expected at most one process for each\n"
        )
    assert not list(tmp_path.iterdir())


BAD = {
    "no port": (("here", 2, 0), "--coordinator is 'here', expected HOST:PORT, or auto"),
    "a port that is none": (("here:99999", 2, 0), "--coordinator is 'here:99999', expected HOST:PORT, or auto"),
    "no number": (("here:1", None, 0), "--coordinator here:1: expected --processes N and --process-id I, too"),
    "counted from 1": (("here:1", 2, 2), "--process-id is 2, expected 0 to 1 of 2 processes"),
    "auto and a number": (("auto", 2, None), "finds --processes and --process-id itself, expected neither"),
    "auto, nowhere": (
        ("auto",),
        "--coordinator auto: ValueError: coordinator_address should be defined., expected a cl",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_meant_is_one_line(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        join_processes(*arguments)
