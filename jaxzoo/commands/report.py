"""`jaxzoo report`: writes a zoo as a page, and its charts as pictures."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxzoo.commands.arguments import Parser, path_argument, run_command, write_file, zoo_argument
from jaxzoo.compilation import use_compilation_cache
from jaxzoo.devices import use_all_cores
from jaxzoo.errors import InputError
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.report.content import collect
from jaxzoo.report.page import build_page
from jaxzoo.report.pictures import save_pictures

EXAMPLES = """examples:
  jaxzoo report zoos/digits                            writes report.html
  jaxzoo report zoos/digits --out digits.html --png pictures
  jaxzoo report zoos/digits/twins/magnitude --no-probe

The page needs no network and no other file."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo report", lambda: _report(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo report",
        description="Writes what a zoo is, and what came out, as one HTML page with charts.",
        examples=EXAMPLES,
    )
    parser.add_argument("zoo", type=zoo_argument, metavar="ZOO", help="the folder of a zoo, or of twins")
    parser.add_argument("--out", type=path_argument, default=Path("report.html"), metavar="FILE", help="(report.html)")
    parser.add_argument("--png", type=path_argument, metavar="DIR", help="the charts as PNG files, too")
    parser.add_argument("--no-probe", action="store_true", help="without linear probes, which take longest")
    parser.add_argument(
        "--data-dir", type=path_argument, metavar="DIR", help="the datasets (TFDS_DATA_DIR, ~/tensorflow_datasets)"
    )
    return parser.parse_args(arguments)


def _report(options: argparse.Namespace) -> int:
    zoo = open_zoo(options.zoo, partial=True)
    use_all_cores()
    use_compilation_cache()
    images = _test_images(zoo, options.data_dir)
    content = collect(zoo, images, with_probe=not options.no_probe, on_step=lambda text: print(f"  {text}", flush=True))
    write_file(options.out, build_page(content))
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
    if options.png is not None:
        for path in save_pictures(content, options.png):
            print(path)
    for note in content.notes:
        print(note)
    return 0


def _test_images(zoo: Zoo, data_dir: Path | None) -> np.ndarray | None:
    """The zoo's own test images, normalised. Where they cannot be had, prints why and returns None."""
    try:
        return zoo.images(data_dir).normalised("test")
    except InputError as error:
        print(f"  no predictions: {error}", flush=True)
        return None
