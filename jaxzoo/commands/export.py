"""`jaxzoo export`: writes a zoo in a layout that others' code loads. The library call is `jaxzoo.export_zoo`."""

import argparse
from collections.abc import Sequence

from jaxzoo.commands.arguments import Parser, number_list, path_argument, positive, run_command, zoo_argument
from jaxzoo.commands.progress import StatesBar
from jaxzoo.formats.chosen import LAST
from jaxzoo.formats.exporting import export_zoo
from jaxzoo.formats.formats import FORMATS

EXAMPLES = f"""formats:
{chr(10).join(f"  {name:<14}{kind.text}" for name, kind in FORMATS.items())}

examples:
  jaxzoo export zoos/digits --format modelzoo --out digits-tree
  jaxzoo export zoos/digits --format numpy --out digits-last --epochs last --no-twins
  jaxzoo export zoos/digits --format modelzoo --out tanh --where "activation == 'tanh'"

Sparse twins go into a folder beside --out, - and their method behind its name."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo export", lambda: _export(_parse(arguments)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo export",
        description="Writes a zoo, its twins and its metrics in a layout that others' code loads.",
        examples=EXAMPLES,
    )
    parser.add_argument("zoo", type=zoo_argument, metavar="ZOO", help="the folder of a zoo, or of twins")
    parser.add_argument("--format", required=True, choices=FORMATS, metavar="NAME", help="one of those below")
    parser.add_argument("--out", required=True, type=path_argument, metavar="DIR", help="a new folder, or an empty one")
    parser.add_argument("--epochs", type=_epochs, metavar="A,B", help="(all that are kept) 0,10,20 or 40:51, or last")
    parser.add_argument("--models", type=number_list, metavar="A,B", help="(all) their numbers, as in 0:64")
    parser.add_argument("--where", metavar="CONDITION", help='only such models, as in "dropout == 0"')
    parser.add_argument("--no-twins", action="store_true", help="without sparse twins")
    _add_options_of_formats(parser)
    return parser.parse_args(arguments)


def _add_options_of_formats(parser: Parser) -> None:
    parser.add_argument(
        "--final-step", type=positive, metavar="N", help=_of("final_step", "the number of the last epoch's step")
    )
    parser.add_argument("--per-model", action="store_true", help=_of("per_model", "a file for each model"))
    parser.add_argument("--sample", type=positive, metavar="N", help=_of("sample", "so many models, spread over all"))
    parser.add_argument("--licence", metavar="TEXT", help=_of("licence", "what the card says (what zoo.json does)"))


def _of(option: str, text: str) -> str:
    """The help of an option that some formats take."""
    return f"{', '.join(name for name, kind in FORMATS.items() if option in kind.options)}: {text}"


def _epochs(text: str) -> list[int] | str:
    return text if text == LAST else number_list(text)


def _export(options: argparse.Namespace) -> int:
    with StatesBar(options.format) as bar:
        folders = export_zoo(
            options.zoo,
            options.out,
            options.format,
            epochs=options.epochs,
            models=options.models,
            where=options.where,
            twins=not options.no_twins,
            final_step=options.final_step,
            per_model=options.per_model,
            sample=options.sample,
            licence=options.licence,
            on_begin=bar.begin,
            on_states=bar.done,
            on_notice=bar.say,
        )
    for folder in folders:
        print(folder)
    return 0
