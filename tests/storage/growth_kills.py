"""Kills the growth of a zoo at every one of its storage calls, and looks at what is there after each.

The growth is one in models and epochs, with twins of the earlier epoch that get another name, and new ones that are
begun. Prints a line about each thing that is wrong, and how many calls there were.
"""

import dataclasses
import shutil
import tempfile
import warnings
from pathlib import Path

from kill_server import in_a_fork, kill_at
from populations import record_of, small_spec

from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.growth import grow_zoo
from jaxzoo.storage.locks import zoo_locked
from jaxzoo.storage.record import Parent, ZooRecord, read_record
from jaxzoo.storage.twins_folders import make_room, of_earlier_epoch
from jaxzoo.storage.zoo_folder import begin_zoo, find_record, twins_folder

BEGUN = dataclasses.replace(small_spec(seeds=9, epochs=2), models=2)
WANTED = dataclasses.replace(BEGUN, models=4, epochs=3)


def twins_of(record: ZooRecord) -> ZooRecord:
    twin, parent = TwinSpec(method="magnitude", epochs=1), Parent(digest=record.spec.digest, epoch=record.epochs)
    return dataclasses.replace(record, twin=twin, parent=parent)


def begin(folder):
    record = record_of(BEGUN)
    begin_zoo(folder, record, record.plan, "card")
    begin_zoo(twins_folder(folder, "magnitude"), twins_of(record), record.plan, "card")


def grow(folder):
    """What a call does to the files that describe a zoo and its twins."""
    record = grow_zoo(folder, WANTED, lambda plan, record: f"{len(plan.members)} models")
    with zoo_locked(folder):
        begun = find_record(twins_folder(folder, "magnitude"))
        if begun is not None and of_earlier_epoch(begun, record):
            make_room(folder, begun)
            begun = None
        if begun is None:
            begin_zoo(twins_folder(folder, "magnitude"), twins_of(record), record.plan, "card")


def files_of(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder): path.read_bytes() for path in paths if ".partial" not in path.name}


def wrong_after(folder, undisturbed):
    zoo = open_zoo(folder)
    if len(zoo.members) not in (2, 4) or read_record(folder).spec not in (BEGUN, WANTED):
        yield "the zoo is neither what it was nor what it grows to"
    if not any(twins.record.parent.epoch == 2 for twins in zoo.twins.values()):
        yield "the older twins are gone"
    grow(folder)
    if files_of(folder) != undisturbed:
        yield "the growth that went on ended in other files"


def main():
    warnings.filterwarnings("ignore", message=".*fork")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        begin(root / "begun")
        shutil.copytree(root / "begun", root / "undisturbed")
        grow(root / "undisturbed")
        for turn in range(1, 1000):
            folder = root / str(turn)
            shutil.copytree(root / "begun", folder)
            status = in_a_fork(lambda: (kill_at(folder, turn), grow(folder)))  # noqa: B023 - it is called at once
            for line in wrong_after(folder, files_of(root / "undisturbed")):
                print(f"call {turn}: {line}")
            if status == 0:
                break
        print(f"{turn - 1} calls")


if __name__ == "__main__":
    main()
