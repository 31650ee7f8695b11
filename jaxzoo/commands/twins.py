"""`jaxzoo twins`: makes sparse twins of a finished zoo. The library call is `jaxzoo.make_twins`."""

import argparse
from collections.abc import Sequence

from jaxzoo.commands.arguments import (
    DEVICES,
    Parser,
    cohort_range,
    device_choice,
    fraction,
    path_argument,
    positive,
    run_command,
    zoo_argument,
)
from jaxzoo.commands.interrupts import caught_signals
from jaxzoo.commands.progress import ProgressBar, twins_summary
from jaxzoo.compilation import use_compilation_cache
from jaxzoo.datasets import images_at_hand
from jaxzoo.devices import model_mesh, some_devices, use_all_cores
from jaxzoo.errors import InputError
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.twin_spec import METHODS, SCOPES, TwinSpec
from jaxzoo.training.checks import check_make_twins
from jaxzoo.training.events import Interrupted
from jaxzoo.training.zoo import run_make_twins

EXAMPLES = """examples:
  jaxzoo twins zoos/digits --method magnitude                   to 80 % zeros in every layer
  jaxzoo twins zoos/digits --method magnitude --scope global --sparsity 0.9
  jaxzoo twins zoos/digits --method variational-dropout

`generate` makes twins by itself (--twins). Running a command again goes on where it stopped."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo twins", lambda: _make(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo twins",
        description="Makes sparse twins of a finished zoo, all members at once, every epoch on disk.",
        examples=EXAMPLES,
    )
    default = TwinSpec()
    parser.add_argument("zoo", type=zoo_argument, metavar="ZOO", help="the folder of a finished zoo")
    parser.add_argument("--method", choices=METHODS, default=default.method, help=f"({default.method})")
    parser.add_argument("--sparsity", type=fraction, metavar="S", help=f"of magnitude ({default.sparsity})")
    parser.add_argument("--scope", choices=SCOPES, help=f"of magnitude ({default.scope})")
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help=f"so many epochs (as the zoo's spec says, or {default.length})"
    )
    parser.add_argument(
        "--data-dir", type=path_argument, metavar="DIR", help="the datasets (TFDS_DATA_DIR, ~/tensorflow_datasets)"
    )
    parser.add_argument("--stage", type=path_argument, metavar="DIR", help="make twins there, and move them to the zoo")
    parser.add_argument("--devices", type=device_choice, metavar="N", help=DEVICES)
    parser.add_argument("--repair", action="store_true", help="read every epoch; make missing and damaged ones again")
    parser.add_argument("--cohorts", type=cohort_range, metavar="A:B", help="only the cohorts A to B - 1")
    return parser.parse_args(arguments)


def _twin_spec(options: argparse.Namespace) -> TwinSpec:
    given = {name: getattr(options, name) for name in ("sparsity", "scope") if getattr(options, name) is not None}
    if given and options.method != "magnitude":
        raise InputError(f"--{next(iter(given))} is of --method magnitude, got --method {options.method}")
    return TwinSpec(method=options.method, epochs=options.epochs, **given)


def _make(options: argparse.Namespace) -> int:
    job = check_make_twins(
        options.zoo, _twin_spec(options), options.cohorts, stage=options.stage, repair=options.repair
    )
    use_all_cores()
    use_compilation_cache()
    mesh = model_mesh(some_devices(options.devices))
    images = {dataset: images_at_hand(dataset, options.data_dir) for dataset in job.plan.spec.every_dataset}
    try:
        with caught_signals() as caught, ProgressBar(job, dense=False) as progress:
            twins = run_make_twins(job, images, mesh, on_event=progress.show, should_stop=lambda: bool(caught))
    except Interrupted as interrupted:
        print(f"{interrupted}; all epochs before it are saved. Run the same command again to go on.")
        return 128 + caught[0]
    print(f"time       {progress.seconds:,.1f} s\n{twins_summary(open_zoo(options.zoo), twins)}")
    return 0
