"""`jaxzoo plan`: what zoos take on hardware that need not be here."""

import argparse
from collections.abc import Sequence

from jaxzoo.bench.device_rates import Rate, document_rates, known_rates
from jaxzoo.bench.document import read_document
from jaxzoo.bench.hardware import Hardware, hardware_of
from jaxzoo.bench.planning import layouts_of
from jaxzoo.commands.arguments import Parser, kept_argument, path_argument, positive, run_command
from jaxzoo.commands.listing import EMBEDDED
from jaxzoo.commands.plan_text import Planned, plan_text
from jaxzoo.commands.zoos import usual_zoos, zoos_named
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.twin_spec import METHODS, NO_TWINS
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.retention import ALL, kept_epochs
from jaxzoo.training.checks import check_trainable, choose_twins, restrict

EXAMPLES = """examples:
  jaxzoo plan --on v5e:8                          all published zoos on eight TPU chips
  jaxzoo plan --zoo svhn --on h100:4              the zoos of a dataset on four GPUs
  jaxzoo plan --zoo mnist-seed usps --on cpu:2 --models 64 --epochs 5
  jaxzoo plan --config my_zoo.toml --on v5e:8     zoos of your own
  jaxzoo plan --zoo svhn --on cpu:16 --rates rates.json   at rates that `jaxzoo bench --json rates.json` measured

Nothing is trained, and no device is taken. `jaxzoo generate --plan` measures on the machine that it runs on."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo plan", lambda: _plan(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo plan",
        description="Says what zoos take on given hardware, which need not be here: cohorts, memory, time and disk.",
        examples=EXAMPLES,
    )
    parser.add_argument("--zoo", nargs="+", metavar="NAME", help="zoos, or datasets for all their zoos (all published)")
    parser.add_argument(
        "--config", type=path_argument, metavar="FILE", help="a TOML file of zoos, instead of the published ones"
    )
    parser.add_argument("--on", required=True, metavar="KIND:N", help="v5e, h100, h200 or cpu, and how many, as v5e:8")
    parser.add_argument(
        "--rates",
        nargs="+",
        type=path_argument,
        default=(),
        metavar="FILE",
        help="rates that jaxzoo bench --json wrote, instead of those that are known of the hardware",
    )
    parser.add_argument("--models", type=positive, metavar="N", help="so many models, spread over the grid")
    parser.add_argument("--epochs", type=positive, metavar="N", help="so many epochs")
    parser.add_argument("--twins", choices=(*METHODS, NO_TWINS), help="sparse twins (as the spec says)")
    parser.add_argument(
        "--keep-epochs", type=kept_argument, default=ALL, metavar="KEEP", help="whose weights stay, as for generate"
    )
    return parser.parse_args(arguments)


def _plan(options: argparse.Namespace) -> int:
    hardware = hardware_of(options.on)
    specs = _specs(options)
    rates = _rates(options, hardware)
    print(plan_text([_planned(spec, options, hardware, rates) for spec in specs], hardware))
    return 0


def _specs(options: argparse.Namespace) -> list[ZooSpec]:
    """The zoos to plan, each once. Without names the embedded zoo, which is none of the published ones, is left out."""
    if options.zoo is None:
        named = [spec for name, spec in usual_zoos(options.config).items() if options.config or name != EMBEDDED]
    else:
        named = [spec for name in options.zoo for spec in zoos_named(name, options.config)]
    return [*{spec.name: spec for spec in named}.values()]


def _rates(options: argparse.Namespace, hardware: Hardware) -> list[Rate]:
    if not options.rates:
        return known_rates(hardware)
    own = {} if options.config is None else usual_zoos(options.config)
    documents = {str(path): read_document(path) for path in options.rates}
    return document_rates(documents, hardware, lambda name: own[name] if name in own else load_spec(name))


def _planned(spec: ZooSpec, options: argparse.Namespace, hardware: Hardware, rates: Sequence[Rate]) -> Planned:
    spec = restrict(spec, models=options.models, epochs=options.epochs)
    check_trainable(spec, None)
    twin, kept = choose_twins(spec, options.twins), kept_epochs(options.keep_epochs, spec.epochs)
    return Planned(spec, twin, kept, layouts_of(spec, hardware, rates, twin))
