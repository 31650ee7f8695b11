"""Where a zoo that is moved elsewhere is made: its stage, and what describes the zoo there and here."""

import hashlib
import os
import time
from pathlib import Path

import platformdirs

from jaxzoo.errors import InputError
from jaxzoo.paths import lasting_path
from jaxzoo.spec.plan import Plan
from jaxzoo.storage.files import reason, write_whole
from jaxzoo.storage.modules import with_module
from jaxzoo.storage.record import ZooRecord
from jaxzoo.storage.store_paths import below, is_address
from jaxzoo.storage.targets import Target, target_of
from jaxzoo.storage.twins_folders import twins_folders
from jaxzoo.storage.zoo_folder import DESCRIPTION, join_zoo

JOINING = 60  # seconds that the first process has to describe a zoo that others join


def staged(out: str | os.PathLike[str], stage: str | os.PathLike[str] | None) -> tuple[Path, Target | None]:
    """The folder to make a zoo in, and where it is moved to; None for a folder in which it stays.

    A bucket is always written through a stage, by default in the user's cache folder. What describes a zoo that the
    target has is fetched. Raises InputError.
    """
    if stage is None and not is_address(out):
        return lasting_path(out), None
    target = target_of(out)
    every = lasting_path(stage) if stage is not None else Path(platformdirs.user_cache_dir("jaxzoo")) / "stage"
    digest = hashlib.sha256(str(target).encode()).hexdigest()[:8]
    folder = every / f"{target.root.name}-{digest}"
    _fetch_description(target, folder)
    return folder, target


def begin_elsewhere(folder: Path, target: Target | None, record: ZooRecord, plan: Plan) -> tuple[ZooRecord, Plan]:
    """The record and plan of a zoo that was just begun in a stage, or of the same one that another process has begun.

    Where another process was first at the target, it waits for what describes the zoo there. Raises InputError where
    that is another zoo, and where nothing comes.
    """
    if target is None or target.begin():
        return record, plan
    for _ in range(JOINING):
        target.look_again()
        if "zoo.json" in target.files(""):
            _fetch_description(target, folder)
            joined, plan = join_zoo(folder, record)
            return with_module(folder, joined, record.spec.network), plan
        time.sleep(1)
    raise InputError(
        f"{target}: another process has begun a zoo there and does not go on, expected the same call again, which "
        "takes over"
    )


def _fetch_description(target: Target, folder: Path) -> None:
    keys = ["", *(f"twins/{name}" for name in twins_folders(target.root))]
    for key, name in ((key, name) for key in keys for name in DESCRIPTION):
        contents, path = read_if_there(target, key, name), below(folder, *filter(None, key.split("/")), name)
        if contents is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, contents)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({reason(error)}), expected a folder that can") from error


def read_if_there(target: Target, key: str, name: str) -> bytes | None:
    """The contents of a file of the zoo at a target, None where there is none. Raises InputError."""
    if name not in target.files(key):
        return None
    path = below(target.root, *filter(None, key.split("/")), name)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}), expected a file that can") from error


def key_of(stage: Path, folder: Path) -> str:
    """The path of a folder in a stage as that of a part of the zoo; "" for the zoo itself."""
    return "" if folder == stage else folder.relative_to(stage).as_posix()
