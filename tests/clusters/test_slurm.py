"""The script that `jaxzoo slurm` prints is what bash and sbatch take; two tasks of it make the zoo of one process."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from populations import assert_same_weights, write_digits_config

import jaxzoo
from jaxzoo.commands.slurm import main
from jaxzoo.reading.zoo import open_zoo

NAME = "it's a $HOME; `zoo`"  # of a folder


def printed(capsys, *arguments):
    """What the command line prints: its lines, and the errors."""
    status = main([*map(str, arguments)])
    out, errors = capsys.readouterr()
    assert (status == 0) == (errors == "")
    return out, errors


@pytest.fixture
def cluster(tmp_path):
    """The environment of a task. `srun` runs its command as one; `scontrol` notes what it is told in a file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in {"srun": 'exec "$@"', "scontrol": f'echo "$@" >> {shlex.quote(str(tmp_path / "queue"))}'}.items():
        (programs / name).write_text(f"#!/bin/bash\n{line}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path), "SLURM_CPUS_PER_TASK": "1"}


def start(script, environment, task):
    numbers = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_JOB_ID": str(100 + task)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(["bash", script], env=environment | numbers, start_new_session=True, **streams)


def test_the_tasks_of_the_script_make_the_zoo_of_one_process(cluster, tmp_path, capsys):
    folder = tmp_path / NAME
    folder.mkdir()
    config = write_digits_config(folder / "tiny.toml", batch_size="60", epochs="2", twins='"none"')
    out, _ = printed(capsys, "--config", config, "--out", folder, "--array", 2, "--cpus-per-task", 1, "--lease", 20)
    script = tmp_path / "tiny.sh"
    script.write_text(out)
    subprocess.run(["bash", "-n", script], check=True)
    tasks = [start(script, cluster, task) for task in range(2)]
    try:
        said = [task.communicate(timeout=200) for task in tasks]
    finally:
        for task in tasks:
            task.kill()
    assert [task.returncode for task in tasks] == [0, 0], said
    (spec,) = jaxzoo.read_config(config)
    assert_same_weights(open_zoo(folder / "tiny"), jaxzoo.generate(spec, tmp_path / "alone"))
    assert not (tmp_path / "queue").exists()


def test_a_task_that_is_warned_saves_what_is_finished_and_is_queued_again(cluster, tmp_path, capsys):
    config = write_digits_config(tmp_path / "tiny.toml", batch_size="60", epochs="1000", twins='"none"')
    out, _ = printed(capsys, "--config", config, "--out", tmp_path, "--array", 1)
    (tmp_path / "tiny.sh").write_text(out)
    task = start(tmp_path / "tiny.sh", cluster, 0)
    try:
        begun, until = tmp_path / "tiny" / "cohorts" / "000" / "snapshots" / "1", time.monotonic() + 200
        while not begun.exists():
            assert task.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        (step,) = subprocess.run(
            ["pgrep", "--parent", str(task.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        os.kill(int(step), signal.SIGUSR1)  # SLURM warns the steps of a job, and not its script
        _, errors = task.communicate(timeout=60)
    finally:
        os.killpg(task.pid, signal.SIGKILL) if task.poll() is None else None
    assert task.returncode == 128 + signal.SIGUSR1, errors
    assert (tmp_path / "queue").read_text() == "requeue 100\n"


def test_what_is_asked_of_slurm_stands_before_the_first_command(capsys):
    asked = {"gres": "gpu:1", "mem": "16G", "time": "1-12:00:00", "partition": "a b", "account": "me"}
    options = [word for name, value in asked.items() for word in (f"--{name}", value)]
    out, _ = printed(capsys, "--zoo", "digits", "--array", 8, *options, "--models", 4)
    head = out.partition("\n\n")[0].splitlines()
    assert head[0] == "#!/bin/bash"
    given = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in head[1:])
    assert given.items() >= {**asked, "partition": "'a b'", "array": "0-7", "requeue": "", "signal": "USR1@120"}.items()
    (command,) = (line for line in out.splitlines() if line.startswith("srun "))
    generate = [sys.executable, "-m", "jaxzoo.generate", "--zoo", "digits", "--models", "4", "--share"]
    assert shlex.split(command)[1:] == generate


BAD = {
    "no array": (("--zoo", "digits"), "the following arguments are required: --array"),
    "no tasks": (("--zoo", "digits", "--array", "0"), "argument --array: got '0', expected a whole number, 1 or more"),
    "an option of nobody": (("--zoo", "digits", "--array", "2", "--arr", "3"), "unrecognized arguments: --arr 3"),
    "generate's": (
        ("--zoo", "digits", "--array", "2", "--epochs", "x"),
        "argument --epochs: got 'x', expected a whole",
    ),
    "no such zoo": (("--zoo", "digit", "--array", "2"), "there is no zoo or dataset 'digit'; nearest: digits"),
    "a list": (("--list", "--array", "2"), "--list and --plan make no zoo, expected neither in an array of tasks"),
    "two lines": (
        ("--zoo", "digits", "--array", "2", "--mem", "1G\nls"),
        "--mem is '1G\\nls', expected a text of one line",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_no_script(arguments, message, capsys):
    out, errors = printed(capsys, *arguments)
    assert out == ""
    assert errors.startswith("jaxzoo slurm: ")
    assert message in errors
    assert errors.count("\n") == 1
