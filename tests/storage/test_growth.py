"""The record of a zoo that grows: written under a lock, zoo.json last, and never lost to another process's."""

import dataclasses
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from populations import record_of, small_spec, store_zoo

from jaxzoo.errors import InputError
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.files import write_whole
from jaxzoo.storage.growth import grow_zoo, grown_record, grown_twins
from jaxzoo.storage.locks import take_lock, zoo_locked
from jaxzoo.storage.record import Parent, read_record
from jaxzoo.storage.twins_folders import check_parent, check_room, make_room, twins_folders
from jaxzoo.storage.zoo_folder import begin_zoo, members_digest, members_file, read_members, twins_folder

SPEC = dataclasses.replace(small_spec(seeds=9, epochs=2), models=2)
MORE = dataclasses.replace(SPEC, models=4)


def card(plan, record):
    return f"{len(plan.members)} models, {record.epochs} epochs"


@pytest.fixture
def folder(tmp_path):
    record = record_of(SPEC)
    begin_zoo(tmp_path / "z", record, record.plan, "card")
    return tmp_path / "z"


def test_a_stage_is_written_and_comes_back(folder):
    begun = read_record(folder)
    record = grow_zoo(folder, MORE, card)
    assert read_record(folder) == record
    assert [stage.models for stage in record.stages] == [2, 4]
    assert (record.spec, record.cohorts[1:]) == (MORE, begun.cohorts)
    assert read_members(folder, record) == record.plan.members
    assert record.plan.members[:2] == begun.plan.members
    assert [member.cohort for member in record.plan.members] == [0, 0, 1, 1]
    assert record.members == members_digest(record.plan.members)
    assert (folder / "README.md").read_text() == "4 models, 2 epochs"
    assert record.facts(0) == begun.facts(0)  # what the snapshots that are there are held to


def test_what_is_there_already_writes_nothing(folder):
    grow_zoo(folder, MORE, card)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"}
    for wanted in (MORE, SPEC, dataclasses.replace(SPEC, models=1, epochs=1)):
        grow_zoo(folder, wanted, card)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_growth_that_was_cut_short_leaves_the_zoo_as_it_was_and_is_mended(folder):
    before, grown = read_record(folder), grown_record(folder, read_record(folder), MORE)
    write_whole(folder / "members.msgpack", members_file(grown.plan.members))
    assert open_zoo(folder).members["model"].tolist() == [0, 1]
    assert read_members(folder, before) == before.plan.members
    others = plan_zoo(dataclasses.replace(MORE, models=3)).members
    write_whole(folder / "members.msgpack", members_file(others))  # rows of one cohort, not those of stages
    assert read_members(folder, before) == before.plan.members
    swapped = (grown.plan.members[1], *grown.plan.members)
    write_whole(folder / "members.msgpack", members_file(swapped))
    with pytest.raises(InputError, match=r"members\.msgpack: model 0: model is 1, expected 0; row is 1, expected 0;"):
        read_members(folder, before)
    assert grow_zoo(folder, MORE, card) == grown
    assert read_members(folder, grown) == grown.plan.members


def test_a_members_file_that_is_too_short_is_refused(folder):
    record = grow_zoo(folder, MORE, card)
    write_whole(folder / "members.msgpack", members_file(record.plan.members[:2]))
    with pytest.raises(InputError, match="holds 2 rows, expected the 4 models of the spec"):
        read_members(folder, record)


def test_who_begins_a_zoo_that_has_grown_meanwhile_leaves_it_whole(folder):
    record = grow_zoo(folder, MORE, card)
    late = record_of(SPEC)
    with pytest.raises(InputError, match="another process began it with other settings: models is 4, got 2"):
        begin_zoo(folder, late, late.plan, "card")
    assert read_members(folder, read_record(folder)) == record.plan.members


def test_a_zoo_of_the_first_format_cannot_grow(tmp_path):
    with tarfile.open(Path(__file__).parent / "format-1" / "tiny.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "tiny"
    record, before = read_record(folder), (folder / "zoo.json").read_bytes()
    wanted = dataclasses.replace(record.spec, epochs=9)
    with pytest.raises(InputError, match="is of format 1, which cannot grow: epochs is 2, got 9; expected the same or"):
        grow_zoo(folder, wanted, card)
    assert grow_zoo(folder, dataclasses.replace(record.spec, epochs=1), card) == record
    assert (folder / "zoo.json").read_bytes() == before


GROW = """
import dataclasses, sys
from pathlib import Path
from populations import small_spec
from jaxzoo.storage.growth import grow_zoo
models, epochs = map(int, sys.argv[2:])
wanted = dataclasses.replace(small_spec(seeds=9), models=models, epochs=epochs)
print("ready", flush=True)
sys.stdin.readline()
record = grow_zoo(Path(sys.argv[1]), wanted, lambda plan, record: "card")
print(record.spec.models >= models, record.spec.epochs >= epochs, flush=True)
"""


def test_killed_at_every_storage_call_a_growth_leaves_a_zoo_that_opens_and_grows():
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tests / "training")])}
    command = [sys.executable, tests / "storage" / "growth_kills.py"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=True)
    *wrong, summary = done.stdout.splitlines()
    assert wrong == []
    assert int(summary.split()[0]) > 15  # three files of a zoo, a name, three files of twins: the calls were seen


@pytest.mark.parametrize("wanted", [((4, 2), (4, 2), (4, 2)), ((5, 2), (2, 7), (3, 4))], ids=["equally", "differently"])
def test_of_processes_that_grow_a_zoo_at_once_none_loses_anothers_stage(folder, wanted):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", GROW, folder, str(models), str(epochs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        for models, epochs in wanted
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 3
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    assert [racer.communicate(timeout=100)[0] for racer in racers] == ["True True\n"] * 3
    record = read_record(folder)
    assert record.spec.models == max(models for models, _ in wanted)
    assert record.spec.epochs == max(epochs for _, epochs in wanted)
    assert len(record.stages) <= 4
    assert read_members(folder, record) == record.plan.members


def test_a_zoo_is_changed_by_one_process_at_a_time(folder, monkeypatch):
    monkeypatch.setattr("jaxzoo.storage.locks.PATIENCE", 0.1)
    with zoo_locked(folder), pytest.raises(InputError, match="is being written by another process"):
        grow_zoo(folder, MORE, card)
    grow_zoo(folder, MORE, card)


def twins_of(record, **changes):
    twin = TwinSpec(method="magnitude", epochs=1)
    return dataclasses.replace(
        record, twin=twin, parent=Parent(digest=record.spec.digest, epoch=record.epochs), **changes
    )


def test_twins_grow_with_their_zoo_and_make_room_where_it_gets_longer(folder):
    first = twins_of(read_record(folder))
    twins = twins_folder(folder, "magnitude")
    begin_zoo(twins, first, first.plan, "card")
    record = grow_zoo(folder, MORE, card)
    check_parent(folder, first, record)
    grown = grown_twins(first, record)
    assert (grown.stages, grown.cohorts, grown.parent.epoch) == (record.stages, record.cohorts, 2)
    assert grown.facts(0) == first.facts(0)
    grow_zoo(folder, dataclasses.replace(SPEC, epochs=5), card)
    assert check_room(folder, first).name == "magnitude-of-epoch-2"
    (twins / "cohorts" / "000").mkdir(parents=True)
    lock = take_lock(twins / "cohorts" / "000", [])
    with pytest.raises(InputError, match="cohorts/000: is being written by another process"):
        make_room(folder, first)
    lock.release()
    make_room(folder, first)
    assert [*twins_folders(folder)] == ["magnitude-of-epoch-2"]
    assert [*open_zoo(folder).twins] == ["magnitude-of-epoch-2"]
    for name in ("magnitude-of-epoch-10", "magnitude-of-epoch-03", "lottery-of-epoch-3", "variational-dropout"):
        (folder / "twins" / name).mkdir()
        (folder / "twins" / name / "zoo.json").write_text("{}")
    assert [*twins_folders(folder)] == ["variational-dropout", "magnitude-of-epoch-2", "magnitude-of-epoch-10"]


@pytest.mark.parametrize("change", [{"spec": dataclasses.replace(SPEC, batch_size=11)}, {"stages": ()}], ids=[*"ab"])
def test_twins_of_another_zoo_are_refused(folder, change):
    record = read_record(folder)
    other = twins_of(record, **change)
    if change.get("stages") == ():
        other = twins_of(record_of(MORE))
    with pytest.raises(InputError, match="twins/magnitude: holds twins of another zoo than"):
        check_parent(folder, other, record)


def test_a_grown_zoo_is_read_and_what_is_missing_is_said(tmp_path):
    zoo = store_zoo(tmp_path / "z", SPEC)
    grow_zoo(zoo.path, MORE, card)
    grown = open_zoo(zoo.path)
    assert (grown.epochs, len(grown.members)) == ((), 4)
    partial = open_zoo(zoo.path, partial=True)
    assert partial.models_at(2).tolist() == [0, 1]
    assert (partial.weights(2) == zoo.weights(2)).all()
