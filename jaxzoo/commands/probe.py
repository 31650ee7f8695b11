"""`jaxzoo probe`: linear probes of a zoo's weights."""

import argparse
from collections.abc import Sequence

from jaxzoo.analysis.probe import LARGEST_WEIGHT, MOST_EPOCHS, SPLIT_SEEDS, format_results, probe_states, select_states
from jaxzoo.commands.arguments import (
    Parser,
    number_list,
    path_argument,
    positive,
    positive_number,
    run_command,
    write_file,
    zoo_argument,
)
from jaxzoo.reading.zoo import open_zoo

EXAMPLES = """examples:
  jaxzoo probe zoos/digits
  jaxzoo probe zoos/digits --epochs 10,20 --where "optimizer == 'adam'" --csv probe.csv
  jaxzoo probe zoos/digits/twins/variational-dropout

R^2 (of 1) for numbers, accuracy for classes, on models that the probe never saw; mean and standard deviation over
splits into 70 % training, 15 % validation (which picks the penalty) and 15 % test. Splits are by seed where each part
gets ten seeds, else by model. Untrained models (epoch 0) take part only where --epochs names them."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo probe", lambda: _probe(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo probe",
        description="Reads performance and hyperparameters off the weights of a zoo's models by linear probes.",
        examples=EXAMPLES,
    )
    parser.add_argument("zoo", type=zoo_argument, metavar="ZOO", help="the folder of a zoo, or of twins")
    parser.add_argument("--epochs", type=number_list, metavar="A,B", help=f"(up to {MOST_EPOCHS}, spread evenly)")
    parser.add_argument("--where", metavar="CONDITION", help="only such states, as in \"activation == 'tanh'\"")
    parser.add_argument(
        "--max-abs-weight",
        type=positive_number,
        default=LARGEST_WEIGHT,
        metavar="W",
        help=f"without states that have a larger parameter ({LARGEST_WEIGHT:g})",
    )
    parser.add_argument("--seeds", type=positive, default=SPLIT_SEEDS, metavar="N", help=f"splits ({SPLIT_SEEDS})")
    parser.add_argument("--csv", type=path_argument, metavar="FILE", help="the table as CSV, too")
    return parser.parse_args(arguments)


def _probe(options: argparse.Namespace) -> int:
    zoo = open_zoo(options.zoo, partial=True)
    states = select_states(zoo, epochs=options.epochs, where=options.where, max_abs_weight=options.max_abs_weight)
    epochs = ", ".join(map(str, sorted(states.table["epoch"].unique())))
    models = states.table["model"].nunique()
    print(f"{zoo.path}: {len(states):,} states of {models:,} models, epochs {epochs}", flush=True)
    results = probe_states(states, seeds=options.seeds, on_step=lambda text: print(f"  {text}", flush=True))
    print(f"\n{format_results(results)}")
    if options.csv is not None:
        write_file(options.csv, results.to_csv(index=False))
    return 0
