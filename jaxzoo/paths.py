"""Paths as a caller gives them: ~ stands for the home folder, and an address is no path."""

import os
import re
from pathlib import Path

from jaxzoo.errors import InputError, shown

# of two letters or more, since C:/ is a drive; with one slash, since pathlib makes one of two
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# what file managers, notebooks, archives and file systems put into folders by themselves; all that has a dot first, too
LITTER = frozenset({"Thumbs.db", "desktop.ini", "lost+found", "__MACOSX"})


def local_path(path: str | os.PathLike[str]) -> Path:
    """The path with ~ and ~user replaced.

    Raises InputError for what is no path, for an address such as gs://bucket/zoo, and where there is no such home.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str) or not text:
        raise InputError(f"a path is {shown(path)}, expected a text or a pathlib.Path")
    if ADDRESS.match(text):
        raise InputError(
            f"{text}: is an address, expected a folder or a file of this machine (zoos alone may lie in s3:// and gs://)"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"{text}: {str(error).rstrip('.').lower()}, expected a path that can be found") from error


def lasting_path(path: str | os.PathLike[str]) -> Path:
    """As `local_path`, and absolute: it stays the same wherever the process goes later. Raises InputError."""
    found = local_path(path)
    try:
        return found.absolute()
    except OSError as error:  # the folder that the process is in was deleted
        raise InputError(f"{found}: cannot be found ({error.strerror}), expected an absolute path") from error


def is_litter(name: str) -> bool:
    """Whether a file or folder of that name is none of ours and none of a person's: it may lie in any folder."""
    return name.startswith(".") or name in LITTER
