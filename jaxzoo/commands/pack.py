"""`jaxzoo pack`: writes a zoo into one zip file, which is read where it lies. The library call is `jaxzoo.pack_zoo`."""

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from jaxzoo.commands.arguments import Parser, path_argument, run_command, zoo_argument
from jaxzoo.storage.packing import pack_zoo

EXAMPLES = """examples:
  jaxzoo pack zoos/digits                       writes zoos/digits.zip
  jaxzoo pack zoos/digits --out drive/digits.zip
  jaxzoo report drive/digits.zip                every verb that reads a zoo reads the file

For Google Drive, the Hugging Face Hub and Zenodo, which are slow with many files. Nothing is compressed."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo pack", lambda: _pack(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="jaxzoo pack", description="Writes a zoo and its twins into one zip file.", examples=EXAMPLES)
    parser.add_argument("zoo", type=zoo_argument, metavar="ZOO", help="the folder of a zoo, or its address")
    parser.add_argument("--out", type=path_argument, metavar="FILE", help="(beside the folder) a new file, NAME.zip")
    return parser.parse_args(arguments)


def _pack(options: argparse.Namespace) -> int:
    with tqdm(desc="pack", unit=" checkpoints", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:
        path = pack_zoo(options.zoo, options.out, on_packed=bar.update)
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")
    return 0
