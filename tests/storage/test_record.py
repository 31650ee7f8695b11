"""zoo.json and members.msgpack: what comes back is what was written, and bad ones are one clear line."""

import dataclasses
import errno
import json
import os
import subprocess
import sys

import msgpack
import pytest
from populations import record_of, small_spec

from jaxzoo.errors import InputError
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.storage.record import read_record
from jaxzoo.storage.zoo_folder import begin_zoo, find_record, read_members


@pytest.fixture
def zoo(tmp_path):
    spec = small_spec(seeds=2)
    record = record_of(spec)
    begin_zoo(tmp_path / "zoo", record, plan_zoo(spec), "card")
    return tmp_path / "zoo", record


def test_the_record_and_the_members_come_back(zoo):
    folder, record = zoo
    assert read_record(folder) == record
    assert find_record(folder) == record
    assert read_members(folder, record) == plan_zoo(record.spec).members


def change(folder, **values):
    table = json.loads((folder / "zoo.json").read_text())
    (folder / "zoo.json").write_text(json.dumps(table | values))


def test_bad_records_are_one_clear_line(zoo, tmp_path):
    folder, record = zoo
    with pytest.raises(InputError, match=r"holds no zoo\.json"):
        read_record(tmp_path)
    change(folder, format=99)
    with pytest.raises(InputError, match=r"zoo.json: format is 99, expected 1 or 2"):
        read_record(folder)
    change(folder, format=2, digest="0" * 64)
    with pytest.raises(InputError, match=r"zoo.json: digest is '000"):
        read_record(folder)
    change(folder, spec={"name": "x"})
    with pytest.raises(InputError, match=r"zoo.json: is damaged"):
        read_record(folder)
    (folder / "zoo.json").write_text("[")
    with pytest.raises(InputError, match=r"zoo.json: cannot be read"):
        read_record(folder)
    (folder / "members.msgpack").write_bytes(b"\xc1")
    with pytest.raises(InputError, match=r"members.msgpack: is damaged"):
        read_members(folder, record)


def test_a_zoo_begins_in_a_new_or_empty_folder_or_where_a_beginning_was_cut_short(zoo, tmp_path):
    folder, record = zoo
    assert find_record(tmp_path / "nothing") is None
    (folder / "zoo.json").rename(folder / "zoo.json.partial")
    assert find_record(folder) is None
    begin_zoo(folder, record, plan_zoo(record.spec), "card")
    assert find_record(folder) == record


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"holds .thesis\.tex. and no zoo\.json"):
        find_record(tmp_path)
    with pytest.raises(InputError, match="cannot be used"):
        find_record(tmp_path / "thesis.tex" / "zoo")


def test_a_zoo_whose_architecture_has_other_layers_is_refused(zoo):
    folder, record = zoo
    table = json.loads((folder / "zoo.json").read_text())
    assert table["layers"][0] == {
        "kind": "Conv", "name": "conv1", "kernel": 5, "features": 8, "stride": 1, "padding": 0, "bias": True
    }  # fmt: skip
    layers = json.loads(json.dumps(table["layers"]))
    layers[0]["features"] = 9
    change(folder, layers=layers)
    with pytest.raises(InputError, match=r"its layers are not those of 'cnn-s' in this version of jaxzoo"):
        read_record(folder)
    without = {name: value for name, value in table.items() if name != "layers"}
    (folder / "zoo.json").write_text(json.dumps(without))  # as zoos were recorded at first
    assert read_record(folder) == record


def begin(folder, record):
    return begin_zoo(folder, record, plan_zoo(record.spec), "card")


def test_of_two_that_begin_at_once_the_later_one_joins(tmp_path):
    """As on two machines: the last one won, and the record lied about what the first had trained."""
    spec = small_spec(seeds=3)
    first, second = record_of(spec), record_of(spec, timed={"lanes 16": 1.0})
    assert begin(tmp_path, first)[0] == first
    assert begin(tmp_path, second) == (first, plan_zoo(spec))
    assert read_record(tmp_path) == first
    smaller = dataclasses.replace(spec, cohort_size=1)  # what a machine of less memory begins with
    record, plan = begin(tmp_path, record_of(smaller))
    assert (record, plan) == (first, plan_zoo(spec))
    assert read_members(tmp_path, first) == plan.members
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("change", [{"kept": (1,)}, {"spec": small_spec(seeds=3, epochs=9)}], ids=["kept", "spec"])
def test_of_two_zoos_in_one_folder_the_later_one_stops(tmp_path, change):
    spec = small_spec(seeds=3)
    begin(tmp_path, record_of(spec))
    later = dataclasses.replace(record_of(change.get("spec", spec)), **change)
    with pytest.raises(InputError, match="another process began it with"):
        begin(tmp_path, later)
    assert read_members(tmp_path, read_record(tmp_path)) == plan_zoo(spec).members


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_zoo_begins_on_a_file_system_without_links(tmp_path, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    first = record_of(small_spec(seeds=3))
    assert begin(tmp_path, first)[0] == first
    assert begin(tmp_path, dataclasses.replace(first, timed={"lanes 16": 1.0}))[0] == first


BEGIN = """
import sys
from pathlib import Path
from populations import record_of, small_spec
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.storage.zoo_folder import begin_zoo
record = record_of(small_spec(seeds=3), timed={"lanes 16": float(sys.argv[2])})
print("ready", flush=True)
sys.stdin.readline()
print(begin_zoo(Path(sys.argv[1]), record, plan_zoo(record.spec), "card")[0].timed, flush=True)
"""


def test_processes_that_race_agree_on_one_record(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN, tmp_path, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        for number in range(3)
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 3
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    results = {racer.communicate(timeout=60)[0] for racer in racers}
    assert results == {f"{read_record(tmp_path).timed}\n"}


def test_the_members_are_held_to_the_record(zoo):
    folder, record = zoo
    path = folder / "members.msgpack"
    rows = msgpack.unpackb(path.read_bytes())
    changes = {
        "holds 1 rows, expected the 2 models": rows[:1],
        "holds dict rows": {"a": 1},
        "model 1: seed is 9, expected 2 of the spec": [rows[0], {**rows[1], "seed": 9}],
        "model 0 is 7": [7, rows[1]],
        "model 0: cohort is -1, expected 0 of the spec": [{**rows[0], "cohort": -1}, rows[1]],
        "its SHA-256 is not": [dict(reversed(rows[0].items())), rows[1]],
    }
    for message, changed in changes.items():
        path.write_bytes(msgpack.packb(changed))
        with pytest.raises(InputError, match=f"members.msgpack: {message}"):
            read_members(folder, record)
    path.unlink()
    with pytest.raises(InputError, match=r"members\.msgpack: cannot be read \(No such file"):
        read_members(folder, record)


def test_parts_of_a_record_that_do_not_fit_are_one_clear_line(zoo):
    folder, _ = zoo
    table = json.loads((folder / "zoo.json").read_text())
    changes = {
        "stages": [],
        "cohorts": table["cohorts"] * 2,
        "images": [],
        "factors": ["label_noise"],
        "kept": [99],
        "trajectory": "0" * 64,
        "made": {},
        "members": 7,
        "parent": {"digest": "0" * 64, "epoch": 1},
        "twin": {"method": "magnitude", "epochs": "all"},
    }
    for name, value in changes.items():
        (folder / "zoo.json").write_text(json.dumps({**table, name: value}))
        with pytest.raises(InputError, match=r"zoo\.json: ") as error:
            read_record(folder)
        assert "\n" not in str(error.value)
    lanes = {**table, "cohorts": [{**table["cohorts"][0], "lanes": 0}]}
    (folder / "zoo.json").write_text(json.dumps(lanes))
    with pytest.raises(InputError, match="lanes"):
        read_record(folder)
    (folder / "zoo.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"zoo\.json: cannot be read"):
        read_record(folder)
