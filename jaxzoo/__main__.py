"""`jaxzoo VERB`, also as `python -m jaxzoo VERB`."""

import importlib
import sys
from collections.abc import Sequence

from jaxzoo.commands.arguments import Parser, run_command
from jaxzoo.version import __version__

VERBS = {
    "generate": "make a zoo and its sparse twins, or go on with one; list the zoos",
    "twins": "make sparse twins of a finished zoo",
    "status": "tell how far a zoo is, also while several workers make it",
    "slurm": "print the script of a SLURM job array that makes zoos",
    "verify": "check that a zoo on disk is whole",
    "report": "write what a zoo is, and what came out, as one HTML page",
    "probe": "read performance and hyperparameters off the weights by linear probes",
    "datasets": "list, prepare and check the images that zoos are trained on",
    "pack": "write a zoo into one zip file, which is read where it lies",
    "export": "write a zoo in a layout that others' code loads",
    "import": "read a zoo from such a layout",
    "plan": "say what zoos take on hardware that need not be here: time, memory, disk",
    "bench": "measure how fast this machine trains, or estimate it for a TPU",
}

KEYWORDS = {"import": "importing"}  # a word of Python cannot be the name of a file

EXAMPLES = """examples:
  jaxzoo generate --zoo digits      the embedded zoo and its twins, in three minutes
  jaxzoo report zoos/digits         the zoo as a page
  jaxzoo generate --help            what a verb takes, with examples"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the verb that the first argument names, and returns the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    return run_command("jaxzoo", lambda: _run(given))


def _run(arguments: Sequence[str]) -> int:
    parser = Parser(prog="jaxzoo", description="Trains model zoos, and reads them.", examples=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"jaxzoo {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True)
    for verb, text in VERBS.items():
        verbs.add_parser(verb, help=text, add_help=False)  # its own file parses what follows
    parser.parse_args(arguments[:1])
    # imported only now: a verb does not wait for what others need
    return importlib.import_module(module_of(arguments[0])).main(arguments[1:])


def module_of(verb: str) -> str:
    """The name of the file that parses what follows a verb."""
    return f"jaxzoo.commands.{KEYWORDS.get(verb, verb)}"


if __name__ == "__main__":
    sys.exit(main())
