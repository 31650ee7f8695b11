"""The script of a SLURM job array whose tasks share the folder of a zoo."""

import shlex
import signal
import sys
from collections.abc import Mapping, Sequence

from jaxzoo.errors import InputError, shown

WARNING = 120  # seconds before a task's time is up; an epoch is finished in them, or begins anew
# what a shell, and srun, say of a process that ended after the warning
WARNED = 128 + signal.Signals["SIGUSR1" if hasattr(signal, "SIGUSR1") else "SIGINT"]

SCRIPT = """#!/bin/bash
{directives}

# {tasks} tasks make the cohorts of one zoo, or of several, in one folder: each takes the next that nobody makes.
# A task that is warned of its end saves what is finished and is queued again; a failed node's tasks are, too.
{settings}srun {command}
status=$?
if [ "$status" -eq {warned} ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


def array_script(name: str, tasks: int, asked: Mapping[str, str], arguments: Sequence[str]) -> str:
    """The script, for `sbatch`. Each task runs `python -m jaxzoo.generate` with the arguments.

    `asked` has what else sbatch is to be told, by the names of its options. Raises InputError for texts that are no
    line.
    """
    directives = {
        "job-name": name,
        "array": f"0-{tasks - 1}",
        **asked,
        "requeue": None,
        "signal": f"USR1@{WARNING}",
        "open-mode": "append",  # a task that is queued again goes on in its file
        "output": "%x-%A_%a.out",
    }
    # srun takes the cores of a task from a variable of its own
    cores = 'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"\n' if "cpus-per-task" in asked else ""
    return SCRIPT.format(
        directives="\n".join(f"#SBATCH {_directive(option, value)}" for option, value in directives.items()),
        tasks=tasks,
        settings=cores,
        command=shlex.join([sys.executable, "-m", "jaxzoo.generate", *arguments]),
        warned=WARNED,
    )


def _directive(option: str, value: str | None) -> str:
    if value is not None and not value.isprintable():  # a line break would begin a command
        raise InputError(f"--{option} is {shown(value)}, expected a text of one line")
    return f"--{option}" if value is None else f"--{option}={shlex.quote(value)}"
