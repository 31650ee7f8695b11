"""The licence of a zoo: what zoo.json and the card in its folder say of it."""

import json
import re
from pathlib import Path

from jaxzoo.errors import InputError, shown
from jaxzoo.storage.files import reason, write_whole
from jaxzoo.storage.record import read_json

MOST_CHARACTERS = 100
CARD_LINE = re.compile(r"^Licence: .*$", re.MULTILINE)


def check_licence(licence: str) -> str:
    """Returns the text of a licence. Raises InputError unless it is one printable line of at most 100 characters."""
    fits = isinstance(licence, str) and 0 < len(licence) <= MOST_CHARACTERS and licence.isprintable()
    if not fits or licence != licence.strip():
        raise InputError(
            f"licence is {shown(licence)}, expected one printable line of 1 to {MOST_CHARACTERS} characters, such as "
            "'cc-by-4.0'"
        )
    return licence


def card_line(licence: str) -> str:
    """The line of a card that says the licence."""
    return f"Licence: {licence}"


def state_licence(folder: Path, licence: str) -> None:
    """Says another licence in zoo.json and in the card of the zoo in `folder`. Raises InputError.

    Each file is replaced whole. zoo.json comes last: after a kill in between, the same call does the rest.
    """
    card, path = folder / "README.md", folder / "zoo.json"
    table = {**read_json(folder), "licence": licence}
    try:
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        write_whole(card, _with_line(text, card_line(licence)).encode())
        write_whole(path, (json.dumps(table, indent=2) + "\n").encode())
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{folder}: its licence cannot be written ({why}), expected files that can") from error


def _with_line(text: str, line: str) -> str:
    """The card with the line in its place, or at its end; whatever else its maker wrote stays."""
    if CARD_LINE.search(text):
        return CARD_LINE.sub(lambda _: line, text, count=1)
    return f"{text}\n{line}\n" if text else f"{line}\n"
