"""The command line of the bench."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from jaxzoo.arguments import Parser, positive, run_command
from jaxzoo.bench.contenders import LARGE_ZOOS, SEED_ZOOS
from jaxzoo.bench.rates import REFERENCE, measure
from jaxzoo.bench.tpu import estimate_all
from jaxzoo.config import load_spec
from jaxzoo.engines import engines_for
from jaxzoo.errors import InputError
from jaxzoo.plan import plan_zoo
from jaxzoo.tune import candidates_for

TPU_ZOOS = SEED_ZOOS | LARGE_ZOOS

EXAMPLES = """examples:
  python -m jaxzoo.bench                                 every way to train, beside each other, on this machine
  python -m jaxzoo.bench --architectures cnn-s --json rates.json
  python -m jaxzoo.bench --tpu v5e --lanes 128,256       compiled for a TPU chip that need not be there"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo.bench", lambda: _run(_parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    table = _estimates(options) if options.tpu else _rates(options)
    print(table.to_string(index=False, float_format=lambda value: f"{value:,.4g}" if value < 100 else f"{value:,.0f}"))
    if options.json:
        options.json.write_text(table.to_json(orient="records", indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m jaxzoo.bench",
        description="Training samples per second of every way to train a population, side by side.",
        examples=EXAMPLES,
    )
    parser.add_argument("--architectures", nargs="+", choices=tuple(TPU_ZOOS), metavar="NAME", help="(all)")
    parser.add_argument("--models", type=positive, default=128, metavar="N", help="models of a population (128)")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="turns of every contender (5)")
    parser.add_argument("--seconds", type=positive, default=5, metavar="N", help="length of a turn (5)")
    parser.add_argument("--tpu", metavar="CHIP", help="estimate for this chip (v5e) instead of measuring here")
    parser.add_argument(
        "--lanes", type=_widths, metavar="N,...", help="lane widths for --tpu (those that --engine auto would try)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the table there")
    return parser.parse_args(arguments)


def _widths(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def _rates(options: argparse.Namespace) -> pd.DataFrame:
    names = options.architectures or list(SEED_ZOOS)
    large = [name for name in names if name in LARGE_ZOOS]
    if large:
        raise InputError(f"--architectures: {large[0]} is for --tpu alone, expected one of: {', '.join(SEED_ZOOS)}")
    sizes = {"models": options.models, "rounds": options.rounds, "seconds": options.seconds}
    with tqdm(disable=not sys.stderr.isatty(), bar_format="{desc}") as line:
        tables = [measure(name, **sizes, on_run=line.set_description_str) for name in names]
    table = pd.concat(tables, ignore_index=True)
    if REFERENCE not in set(table["contender"]):
        print("without PyTorch (extra 'torch') there is no reference: no ratios", file=sys.stderr)
    cores = len(os.sched_getaffinity(0))
    how = f"medians of {options.rounds} turns of {options.seconds} s"
    print(f"{cores} cores; batch 10, Adam, tanh; populations of {options.models} models; {how}")
    return table


def _estimates(options: argparse.Namespace) -> pd.DataFrame:
    names = options.architectures or TPU_ZOOS
    keys = [plan_zoo(load_spec(TPU_ZOOS[name])).cohorts[0].key for name in names]
    candidates = {}
    for key in keys:
        asked = [(engine, lanes) for engine in engines_for(key.architecture) for lanes in options.lanes or ()]
        candidates[key] = asked or candidates_for(key, "tpu")
    return estimate_all(candidates, options.tpu)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
