"""The command line in whatever surroundings a user has: no such platform, cut pipes, no home, signals of schedulers."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from populations import write_digits_config

from jaxzoo.storage.zoo_folder import cohort_folder


def run(*arguments, env=None, **options):
    command = [sys.executable, "-m", "jaxzoo", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, **(env or {})}, **options
    )


@pytest.mark.parametrize("platforms", ["cuda", "tpu", "no-such-platform"])
@pytest.mark.parametrize(
    "verb", ["generate --zoo mnist-seed --data-dir data", "report Z --no-probe", "bench", "twins Z"]
)
def test_a_platform_that_is_not_here_is_one_line_before_anything_is_read(platforms, verb, digits_zoo, tmp_path):
    """It was a stack trace, and `bench` waited for ever. Images of MNIST are missing, too: the platform comes first."""
    arguments = [str(digits_zoo) if each == "Z" else each for each in verb.split()]
    done = run(*arguments, env={"JAX_PLATFORMS": platforms}, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"JAX finds no device (JAX_PLATFORMS is '{platforms}': " in done.stderr


@pytest.mark.parametrize("arguments", ["generate --list", "generate --help", "--help", "datasets --list"])
def test_a_pipe_that_is_cut_ends_quietly(arguments, tmp_path):
    """As `jaxzoo generate --list | head -1`, with a reader that has gone before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "jaxzoo", *arguments.split()]
    env = {**os.environ, "TFDS_DATA_DIR": str(tmp_path)}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, env=env)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # Python itself overlooks it in --help


NO_HOME = """
import os, pwd, sys
def nobody(*_): raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = nobody  # as for a user of a container that no file knows
os.environ.pop("HOME", None)
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
from jaxzoo.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_a_home_folder_what_needs_none_works(digits_zoo, tmp_path):
    def nobody(*arguments):
        command = [sys.executable, "-c", NO_HOME, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)

    made = nobody("generate", "--zoo", "digits", "--models", 1, "--epochs", 1, "--twins", "none")
    assert made.returncode == 0, made.stderr
    assert "Traceback" not in made.stderr
    shown = nobody("report", digits_zoo, "--no-probe")
    assert shown.returncode == 0, shown.stderr
    listed = nobody("datasets", "--list")
    assert listed.returncode == 2
    assert listed.stderr.count("\n") == 1
    assert "~/tensorflow_datasets: could not determine home directory" in listed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "zoos"]


def test_a_home_folder_that_is_not_there_is_done_without(tmp_path):
    env = {"HOME": "/proc/nowhere", "JAX_COMPILATION_CACHE_DIR": ""}
    done = run("generate", "--zoo", "digits", "--models", 1, "--epochs", 1, "--twins", "none", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundle_of_certificates_that_is_not_there_is_one_line(tmp_path):
    """An error in a thread was a stack trace beside the message."""
    done = run(
        "generate", "--zoo", "mnist-seed", "--data-dir", tmp_path / "data", env={"REQUESTS_CA_BUNDLE": "/nope"},
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "invalid path: /nope" in done.stderr


DEFAULT = ("env", "--default-signal=HUP")  # the tests themselves may run under nohup


@contextlib.contextmanager
def begun(tmp_path, *before, **options):
    """A run with a thousand epochs, and the folder of its snapshots. It is killed where it has not ended by itself."""
    config = write_digits_config(tmp_path / "tiny.toml", epochs="1000")
    command = [*before, sys.executable, "-m", "jaxzoo", "generate", "--config", config, "--out", tmp_path]
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process, cohort_folder(tmp_path / "tiny", 0) / "snapshots"
        finally:
            process.kill()


def wait_for(path, process):
    until = time.monotonic() + 200
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert process.poll() is None


ASK_FOR_AN_END = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]


@pytest.mark.parametrize("number", ASK_FOR_AN_END, ids=lambda number: number.name)
def test_a_signal_saves_what_is_finished_and_says_how_to_go_on(number, tmp_path):
    """SLURM warns by what `--signal` names; the last three ended the run at once."""
    with begun(tmp_path, *DEFAULT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as (process, snapshots):
        wait_for(snapshots / "1", process)
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "Run the same command again to go on" in out
    assert "Traceback" not in errors
    assert not list(snapshots.glob("*tmp*"))


def test_under_nohup_a_terminal_that_closes_does_not_end_the_run(tmp_path):
    with begun(tmp_path, "nohup", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as (process, snapshots):
        wait_for(snapshots / "1", process)
        process.send_signal(signal.SIGHUP)
        wait_for(snapshots / "3", process)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_terminal_that_closes_ends_the_run_as_a_signal_does(tmp_path):
    """Output to it is an error from then on, which must not end the run before what is finished is saved."""
    master, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal, "start_new_session": True}
    with begun(tmp_path, *DEFAULT, **streams) as (process, snapshots):
        os.close(terminal)
        wait_for(snapshots / "1", process)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert not list(snapshots.glob("*tmp*"))
