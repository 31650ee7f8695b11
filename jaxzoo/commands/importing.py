"""`jaxzoo import`: reads a zoo from a layout of others. The library call is `jaxzoo.import_zoo`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxzoo.commands.arguments import Parser, path_argument, run_command
from jaxzoo.commands.progress import StatesBar
from jaxzoo.formats.formats import FORMATS
from jaxzoo.formats.importing import import_zoo
from jaxzoo.spec.twin_spec import METHODS

READABLE = tuple(name for name, kind in FORMATS.items() if kind.read is not None)
EXAMPLES = f"""formats: {", ".join(READABLE)}

examples:
  jaxzoo import tune_zoo_mnist_uniform --format modelzoo --out zoos/published --dataset mnist
  jaxzoo import dense --format modelzoo --out zoos/published --twins variational-dropout=sparse

The zoo can be read, probed, reported, aligned and exported. It cannot be resumed."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo import", lambda: _import(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo import",
        description="Reads a zoo from a layout of others into a zoo that jaxzoo reads.",
        examples=EXAMPLES,
    )
    parser.add_argument("folder", type=path_argument, metavar="DIR", help="the folder of the zoo in that layout")
    parser.add_argument("--format", required=True, choices=READABLE, metavar="NAME", help=", ".join(READABLE))
    parser.add_argument("--out", required=True, type=path_argument, metavar="ZOO", help="a new folder, or an empty one")
    parser.add_argument("--name", metavar="NAME", help="what the zoo is called (as its folder)")
    parser.add_argument("--dataset", metavar="NAME", help="its images, for predictions: a dataset of jaxzoo's zoos")
    parser.add_argument(
        "--twins",
        type=_twins,
        action="append",
        metavar="METHOD=DIR",
        help="sparse twins, in the order of their parents (DIR-METHOD, where export writes them)",
    )
    parser.add_argument("--no-twins", action="store_true", help="without those that lie beside")
    parser.add_argument("--skip-damaged", action="store_true", help="leave damaged members out, and say which")
    return parser.parse_args(arguments)


def _twins(text: str) -> tuple[str, Path]:
    method, _, folder = text.partition("=")
    if method not in METHODS or not folder:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected METHOD=DIR with one of: {', '.join(METHODS)}")
    return method, path_argument(folder)


def _import(options: argparse.Namespace) -> int:
    with StatesBar(options.format) as bar:
        zoo = import_zoo(
            options.folder,
            options.out,
            options.format,
            name=options.name,
            dataset=options.dataset,
            twins={} if options.no_twins else None if options.twins is None else dict(options.twins),
            skip_damaged=options.skip_damaged,
            on_begin=bar.begin,
            on_states=bar.done,
            on_notice=bar.say,
        )
    twins = "".join(f", twins by {method}" for method in zoo.twins)
    print(f"{zoo.path}: {len(zoo.members):,} models of {zoo.spec.architecture_label}, {len(zoo.epochs)} epochs{twins}")
    return 0
