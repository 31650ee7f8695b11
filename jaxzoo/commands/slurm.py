"""`jaxzoo slurm`: prints the script of a SLURM job array that makes zoos."""

import argparse
from collections.abc import Sequence

from jaxzoo.clusters.slurm import array_script
from jaxzoo.commands.arguments import Parser, positive, run_command
from jaxzoo.commands.generate import checks_of, parse
from jaxzoo.errors import InputError

EXAMPLES = """examples:
  jaxzoo slurm --zoo svhn --array 8 --gres gpu:1 --time 12:00:00 > svhn.sh && sbatch svhn.sh
  jaxzoo slurm --config my_zoo.toml --out /scratch/zoos --array 32 --cpus-per-task 8 --mem 16G

All other options are those of `jaxzoo generate`, which every task runs with --share."""

# of sbatch, by the names that it has for them
PASSED_ON = {
    "gres": ("GRES", "generic resources of a task, such as gpu:1"),
    "cpus-per-task": ("N", "cores of a task"),
    "mem": ("SIZE", "memory of a task, such as 16G"),
    "time": ("TIME", "the limit of a task, after which it is queued again, such as 12:00:00"),
    "partition": ("NAME", "where to run"),
    "account": ("NAME", "whom to charge"),
}


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo slurm", lambda: _print(arguments))


def _print(arguments: Sequence[str]) -> int:
    options, others = _parse(arguments)
    given = [*others, "--share"]
    generating = parse(given)
    if generating.list or generating.plan:
        raise InputError("--list and --plan make no zoo, expected neither in an array of tasks")
    for check in checks_of(generating):
        check()  # what is wrong is said here, not by every task
    asked = {option: getattr(options, option.replace("-", "_")) for option in PASSED_ON}
    named = generating.zoo or generating.config.stem
    print(
        array_script(
            f"jaxzoo-{named}",
            options.array,
            {option: value for option, value in asked.items() if value is not None},
            given,
        ),
        end="",
    )
    return 0


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = Parser(
        prog="jaxzoo slurm",
        description="Prints the script of a SLURM job array whose tasks make zoos together, for sbatch.",
        examples=EXAMPLES,
        allow_abbrev=False,  # what is meant for generate is left to it
    )
    parser.add_argument("--array", type=positive, required=True, metavar="N", help="so many tasks")
    for option, (metavar, text) in PASSED_ON.items():
        parser.add_argument(f"--{option}", metavar=metavar, help=text)
    return parser.parse_known_args(arguments)
