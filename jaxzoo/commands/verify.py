"""`jaxzoo verify`: whether a zoo on disk is whole. The library call is `jaxzoo.verify_zoo`."""

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from jaxzoo.commands.arguments import Parser, run_command, zoo_argument
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.storage.record import FORMAT

EXAMPLES = """examples:
  jaxzoo verify zoos/digits            what is missing, left behind, or another zoo's
  jaxzoo verify zoos/digits --deep     reads every number, too: before a zoo is published

Exit status 0: whole; 1: a line for each finding. `jaxzoo generate --repair` makes missing and damaged epochs again."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo verify", lambda: _verify(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="jaxzoo verify", description="Checks a zoo and its twins on disk.", examples=EXAMPLES)
    parser.add_argument("zoo", type=zoo_argument, metavar="ZOO", help="the folder of a zoo")
    parser.add_argument("--deep", action="store_true", help="read every number: checksums, shapes, finite flags")
    return parser.parse_args(arguments)


def _verify(options: argparse.Namespace) -> int:
    zoo = open_zoo(options.zoo)
    parts = [zoo, *zoo.twins.values()]
    states = sum(len(part.members) * len(part.record.metrics_expected(part.record.epochs)) for part in parts)
    findings = 0
    with tqdm(
        total=states, desc=zoo.spec.name, unit=" states", unit_scale=True, disable=not sys.stderr.isatty()
    ) as bar:
        notes: list[str] = []
        for line in verify_zoo(options.zoo, deep=options.deep, on_checked=bar.update, on_note=notes.append):
            findings += 1
            bar.write(line, file=sys.stdout)
    print(*(f"note: {line}" for line in notes), sep="\n", end="\n" if notes else "")
    if zoo.record.format < FORMAT:
        print(f"{zoo.path}: is of format {zoo.record.format}: it carries no identity that could be checked")
    how = "every number read" if options.deep else "identities and presence; --deep reads every number"
    print(f"{zoo.path}: {states:,} states, {findings or 'no'} finding{'' if findings == 1 else 's'} ({how})")
    return 1 if findings else 0
