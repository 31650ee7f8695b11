"""`jaxzoo status`: how far a zoo is, also while several workers make it. The library call is `jaxzoo.zoo_status`."""

import argparse
from collections.abc import Sequence

from jaxzoo.commands.arguments import Parser, run_command, zoo_argument
from jaxzoo.commands.forecasts import human_seconds
from jaxzoo.commands.tables import MISSING, table_text
from jaxzoo.reading.status import DONE, FREE, SILENT, UNDER_WAY, zoo_status

EXAMPLES = """examples:
  jaxzoo status zoos/digits               which cohorts are done, under way, silent or free
  jaxzoo status zoos/digits --at-once     does not watch whether those who hold a cohort are at work

A cohort is silent whose worker says nothing: another one takes it over once the seconds of its lease are through."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo status", lambda: _status(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="jaxzoo status", description="Tells how far a zoo is, cohort by cohort.", examples=EXAMPLES)
    parser.add_argument(
        "zoo", type=zoo_argument, metavar="ZOO", help="the folder of a zoo, its zip file, or its address in a bucket"
    )
    parser.add_argument("--at-once", action="store_true", help="do not wait to see whether workers are silent")
    return parser.parse_args(arguments)


def _status(options: argparse.Namespace) -> int:
    table = zoo_status(options.zoo, watch=not options.at_once)
    shown = table.rename(columns={"twins_epoch": "twins' epoch", "rate": "samples/s"})
    for name in ("seconds", "left"):
        shown[name] = [MISSING if value != value or value is None else human_seconds(value) for value in table[name]]
    print(table_text(shown.rename(columns={"seconds": "at work", "left": "time left"})))
    counts = {state: int((table["state"] == state).sum()) for state in (DONE, UNDER_WAY, SILENT, FREE)}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    print(f"{options.zoo}: {len(table)} cohorts: {told}")
    return 0
