"""`jaxzoo bench`: rates on this machine, hours of whole zoos, checks of a device, or estimates for a TPU or a GPU."""

import argparse
import dataclasses
import importlib.util
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pandas as pd
from jax.sharding import Mesh
from tqdm import tqdm

from jaxzoo.bench.candidates import candidate_rates
from jaxzoo.bench.contenders import SEED_ZOOS, typical_cohort
from jaxzoo.bench.document import build_document, document_text, merged_hours, merged_rates, read_document
from jaxzoo.bench.here import check_company, check_values, cpu_mesh, ways_here
from jaxzoo.bench.hours import zoo_hours
from jaxzoo.bench.rates import Subject, measure, published_subject, quick_contenders
from jaxzoo.commands.arguments import Parser, path_argument, positive, run_command, write_file
from jaxzoo.commands.bench_text import candidates_text, checks_text, hours_text, rates_text
from jaxzoo.commands.estimates import add_options, estimates
from jaxzoo.commands.listing import EMBEDDED
from jaxzoo.commands.tables import table_text
from jaxzoo.devices import default_devices, model_mesh, use_all_cores
from jaxzoo.errors import InputError, require
from jaxzoo.spec.config import load_spec, published_specs, read_config
from jaxzoo.spec.zoo_spec import ZooSpec

HERE = ("cnn-s", "cnn-l")  # what a device is checked with

Tables = Mapping[str, pd.DataFrame]  # by the names that a document has for them

EXAMPLES = """examples:
  jaxzoo bench                                 every way to train, beside each other, and the hours of whole zoos
  jaxzoo bench --quick                         CNN-s alone, within a minute
  jaxzoo bench --here                          a first run on a device: right numbers, law 3, the fastest width
  jaxzoo bench --architectures cnn-s --json rates.json
  jaxzoo bench --merge rates.json other.json   the documents of several machines in one table
  jaxzoo bench --zoos small-cnn-zoo-mnist      the network of another zoo
  jaxzoo bench --tpu v5e                       compiled for a TPU chip that need not be there
  jaxzoo bench --tpu v5e --zoos svhn-hyp-10-f --lanes 1024 --kinds --twins variational-dropout
  jaxzoo bench --tpu v5e --zoos svhn-seed --lanes 1024 --kernels 20   where the cycles go
  jaxzoo bench --gpu h100 --zoos mnist-seed    compiled for an NVIDIA GPU that need not be there"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status: 1 where a check of the device fails."""
    return run_command("jaxzoo bench", lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    options = _settled(_parse(arguments))
    if options.merge:
        return _merge(options)
    find = _here if options.here else _estimates if options.tpu or options.gpu else _rates
    tables = find(options)
    if options.json:
        command = shlex.join(["jaxzoo", "bench", *arguments])
        write_file(options.json, document_text(build_document(model_mesh(), command, vars(options), tables)))
    return 0 if "checks" not in tables or tables["checks"]["passed"].all() else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo bench",
        description="Training samples per second of every way to train a population, side by side.",
        examples=EXAMPLES,
    )
    parser.add_argument("--architectures", nargs="+", choices=tuple(SEED_ZOOS), help="of the published CNN zoos (all)")
    parser.add_argument(
        "--contenders", nargs="+", metavar="NAME", help="only these ways to train, as the table calls them (all)"
    )
    parser.add_argument("--models", type=positive, default=128, metavar="N", help="models of a population (128)")
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of every contender (5)")
    parser.add_argument("--seconds", type=positive, metavar="N", help="length of a turn (5; 1 for --quick and --here)")
    parser.add_argument("--quick", action="store_true", help="CNN-s alone, few ways, short turns: within a minute")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--here", action="store_true", help="check this device's numbers and law 3, and time what --engine auto tries"
    )
    kinds.add_argument("--merge", nargs="+", type=path_argument, metavar="FILE", help="what --json wrote, as one table")
    kinds.add_argument("--tpu", metavar="CHIP", help="estimate for this chip (v5e) instead of measuring here")
    kinds.add_argument("--gpu", metavar="CARD", help="estimate for this card (h100) instead of measuring here")
    parser.add_argument(
        "--zoos", nargs="+", metavar="NAME", help="networks of these zoos instead; for estimates published ones"
    )
    parser.add_argument("--config", type=path_argument, metavar="FILE", help="a TOML file of zoos that --zoos may name")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="images of a batch, for --zoos (the zoo's)")
    add_options(parser)
    parser.add_argument("--json", type=path_argument, metavar="FILE", help="write all of it to a file, too")
    return parser.parse_args(arguments)


def _settled(options: argparse.Namespace) -> argparse.Namespace:
    """The options with what was not said. Raises InputError for what does not go together, before anything is timed."""
    if options.here and options.zoos:
        raise InputError("--here takes no --zoos, expected --architectures")
    if options.merge and options.json:
        raise InputError("--merge takes no --json: it writes nothing")
    if options.json and not options.json.parent.is_dir():
        raise InputError(f"--json: {options.json.parent} is no folder, expected one to write a file in")
    every = HERE if options.here else tuple(SEED_ZOOS)
    options.architectures = options.architectures or list(every[:1] if options.quick else every)
    options.rounds = options.rounds or (3 if options.here and options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick or options.here else 5)
    return options


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Shows on the screen, where there is one, what is being done."""
    with tqdm(disable=not sys.stderr.isatty(), bar_format="{desc}") as line:
        yield line.set_description_str


def _rates(options: argparse.Namespace) -> Tables:
    use_all_cores()
    default_devices()  # where JAX finds none, this says so before a process is started
    specs = _named(options)
    subjects = [Subject(spec.name, typical_cohort(spec)) for spec in specs]
    subjects = subjects or [published_subject(architecture) for architecture in options.architectures]
    how = {"models": options.models, "rounds": options.rounds, "seconds": options.seconds}
    tables = []
    with _progress() as show:
        for subject in subjects:
            only = options.contenders or (quick_contenders(subject) if options.quick else None)
            tables.append(measure(subject, **how, only=only, on_run=show))
    rates = pd.concat(tables, ignore_index=True)
    if importlib.util.find_spec("torch") is None:
        print("without PyTorch (extra 'torch') there is no reference: no ratios", file=sys.stderr)
    print(rates_text(rates, options))
    published = [spec for name, spec in published_specs().items() if name != EMBEDDED]
    hours, left_out = zoo_hours(specs or published, subjects, rates)
    print(f"\n{hours_text(hours, left_out)}")
    return {"rates": rates, "zoos": hours}


def _named(options: argparse.Namespace) -> list[ZooSpec]:
    """The zoos that are named, with the batch size that is asked for."""
    own = {} if options.config is None else {spec.name: spec for spec in read_config(options.config)}
    specs = [own[name] if name in own else load_spec(name) for name in options.zoos or ()]
    if options.batch_size is None:
        return specs
    return [dataclasses.replace(spec, batch_size=options.batch_size) for spec in specs]


def _here(options: argparse.Namespace) -> Tables:
    use_all_cores()
    mesh: Mesh = model_mesh()
    cpu_mesh()  # where it cannot be used, this says so before anything is compiled
    checks, rates = [], []
    with _progress() as show:
        for architecture in options.architectures:
            ways = ways_here(architecture, mesh, quick=options.quick)
            checks.append(check_values(architecture, mesh, ways, show))
            checks.append(check_company(architecture, mesh, ways, show))
    found = pd.concat(checks, ignore_index=True)
    print(checks_text(found, mesh), flush=True)  # before what may fail
    with _progress() as show:
        how = {"rounds": options.rounds, "seconds": options.seconds}
        rates = [candidate_rates(each, mesh, **how, on_run=show) for each in options.architectures]
    timed = pd.concat(rates, ignore_index=True)
    print(f"\n{candidates_text(timed, options)}")
    return {"checks": found, "rates": timed}


def _estimates(options: argparse.Namespace) -> Tables:
    table = estimates(options)
    print(table_text(table.drop(columns="chip")))
    return {"estimates": table}


def _merge(options: argparse.Namespace) -> int:
    paths = options.merge
    for path in paths:
        require(paths.count(path) == 1, "--merge", str(path), "each file once")
    short = len({path.name for path in paths}) == len(paths)
    names = [path.name if short else str(path) for path in paths]
    documents = dict(zip(names, map(read_document, paths), strict=True))
    rates, hours = merged_rates(documents), merged_hours(documents)
    require(len(rates) > 0, "--merge", [*map(str, paths)], "rates or estimates in one of them")
    print(table_text(rates))
    if len(hours):
        print(f"\nhours for whole zoos with their twins, by jaxzoo\n{table_text(hours)}")
    return 0
