"""`jaxzoo bench`: rates on this machine, or estimates for a TPU chip."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence

import pandas as pd
from tqdm import tqdm

from jaxzoo.bench.contenders import SEED_ZOOS, typical_cohort
from jaxzoo.bench.rates import REFERENCE, Subject, measure, published_subject
from jaxzoo.bench.tpu import estimate
from jaxzoo.commands.arguments import Parser, path_argument, positive, run_command
from jaxzoo.devices import default_devices
from jaxzoo.models.engines import engines_for
from jaxzoo.spec.config import load_spec, read_config
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.zoo_spec import PRECISIONS
from jaxzoo.training.tuning import candidates_for

TPU_ZOOS = (*SEED_ZOOS.values(), "cifar10-resnet18")

EXAMPLES = """examples:
  jaxzoo bench                                 every way to train, beside each other, on this machine
  jaxzoo bench --architectures cnn-s --json rates.json
  jaxzoo bench --zoos small-cnn-zoo-mnist      the network of another zoo
  jaxzoo bench --tpu v5e                       compiled for a TPU chip that need not be there
  jaxzoo bench --tpu v5e --zoos svhn-seed --lanes 128,256"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo bench", lambda: _run(_parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    table = _estimates(options) if options.tpu else _rates(options)
    print(table.to_string(index=False, float_format=lambda value: f"{value:,.4g}" if value < 100 else f"{value:,.0f}"))
    if options.json:
        options.json.write_text(table.to_json(orient="records", indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo bench",
        description="Training samples per second of every way to train a population, side by side.",
        examples=EXAMPLES,
    )
    parser.add_argument("--architectures", nargs="+", choices=tuple(SEED_ZOOS), default=list(SEED_ZOOS))
    parser.add_argument(
        "--contenders", nargs="+", metavar="NAME", help="only these ways to train, as the table calls them (all)"
    )
    parser.add_argument("--models", type=positive, default=128, metavar="N", help="models of a population (128)")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="turns of every contender (5)")
    parser.add_argument("--seconds", type=positive, default=5, metavar="N", help="length of a turn (5)")
    parser.add_argument("--tpu", metavar="CHIP", help="estimate for this chip (v5e) instead of measuring here")
    parser.add_argument(
        "--zoos", nargs="+", metavar="NAME", help="networks of these zoos instead; for --tpu some published ones"
    )
    parser.add_argument("--config", type=path_argument, metavar="FILE", help="a TOML file of zoos that --zoos may name")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="images of a batch, for --zoos (the zoo's)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="for --tpu (float32)")
    parser.add_argument(
        "--candidates", type=positive, metavar="N", help="for --tpu: so many of what --engine auto would try (all)"
    )
    parser.add_argument(
        "--lanes", type=_widths, metavar="N,...", help="lane widths for --tpu (those that --engine auto would try)"
    )
    parser.add_argument("--json", type=path_argument, metavar="FILE", help="write the table to a file, too")
    return parser.parse_args(arguments)


def _widths(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def _rates(options: argparse.Namespace) -> pd.DataFrame:
    default_devices()  # where JAX finds none, this says so before a process is started
    how = {"models": options.models, "rounds": options.rounds, "seconds": options.seconds, "only": options.contenders}
    with tqdm(disable=not sys.stderr.isatty(), bar_format="{desc}") as line:
        tables = [measure(subject, **how, on_run=line.set_description_str) for subject in _subjects(options)]
    table = pd.concat(tables, ignore_index=True)
    if REFERENCE not in set(table["contender"]):
        print("without PyTorch (extra 'torch') there is no reference: no ratios", file=sys.stderr)
    cores = len(os.sched_getaffinity(0))
    turns = f"medians of {options.rounds} turns of {options.seconds} s"
    batches = "batch 10, Adam, tanh" if not options.zoos else f"batch {options.batch_size or 'of the zoo'}"
    print(f"{cores} cores; {batches}; populations of {options.models} models; {turns}")
    return table


def _subjects(options: argparse.Namespace) -> Iterator[Subject]:
    """What is trained: architectures of the published zoos, or the zoos that are named."""
    if not options.zoos:
        yield from map(published_subject, options.architectures)
        return
    own = {} if options.config is None else {spec.name: spec for spec in read_config(options.config)}
    for name in options.zoos:
        spec = own[name] if name in own else load_spec(name)
        if options.batch_size is not None:
            spec = dataclasses.replace(spec, batch_size=options.batch_size)
        yield Subject(name, typical_cohort(spec))


def _estimates(options: argparse.Namespace) -> pd.DataFrame:
    rows = []
    for name in options.zoos or TPU_ZOOS:
        spec = dataclasses.replace(load_spec(name), precision=options.precision)
        key = plan_zoo(spec).cohorts[0].key
        engines = engines_for(key.layers, key.precision)
        asked = [(engine, lanes) for engine in engines for lanes in options.lanes or ()]
        candidates = asked or candidates_for(key, "tpu")[: options.candidates]
        rows += [{"zoo": name, **estimate(key, engine, lanes, options.tpu)} for engine, lanes in candidates]
    return pd.DataFrame(rows)
