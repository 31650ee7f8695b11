"""The document of a bench: it goes to a file and back, several make one table, and what is none is one clear line."""

import json

import pandas as pd
import pytest

from jaxzoo.bench.document import (
    SCHEMA,
    build_document,
    document_text,
    machine_name,
    merged_hours,
    merged_rates,
    read_document,
)
from jaxzoo.commands.bench import main
from jaxzoo.devices import model_mesh
from jaxzoo.errors import InputError

RATE = {
    "architecture": "cnn-s",
    "contender": "lanes, seed zoo",
    "samples_per_s": 93_478.5,
    "lowest": 92_220.0,
    "highest": 96_465.0,
    "ratio": float("nan"),
    "rounds": 3,
}
ESTIMATE = {"zoo": "cnn-s", "chip": "v5e", "engine": "lanes", "lanes": 1024, "samples_per_s": 1_237_601.0}
HOURS = {"zoo": "mnist-seed", "way": "jaxzoo", "models": 1000, "dense_hours": 7.4, "with_twins_hours": 18.0}


def document(**tables):
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    return build_document(model_mesh(), "jaxzoo bench --quick", {"quick": True, "lanes": [1, 2]}, frames)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else document_text(content))
        return path

    return write


def test_a_document_says_where_and_how_and_comes_back_as_it_was(write):
    made = document(rates=[RATE, {**RATE, "contender": "vmap, seed zoo"}], estimates=[ESTIMATE])
    back = read_document(write("a.json", made))
    assert back == made
    assert back["schema"] == SCHEMA == "jaxzoo-bench/1"
    assert back["rates"][0]["samples_per_s"] == 93_478.5
    assert back["rates"][0]["ratio"] is None  # JSON knows no NaN
    assert (back["zoos"], back["checks"]) == ([], [])
    assert back["options"] == {"quick": True, "lanes": [1, 2]}
    assert {"cpu", "cores", "memory_GB", "platform", "device", "devices", "os"} <= set(back["machine"])
    assert back["machine"]["platform"] == "cpu"
    assert {"jaxzoo", "jax", "jaxlib", "numpy", "python"} <= set(back["versions"])
    assert machine_name(back["machine"]).endswith(" cores")


def test_the_same_way_stands_together_in_a_merged_table():
    one = document(rates=[RATE, {**RATE, "contender": "vmap, seed zoo"}], zoos=[HOURS])
    other = document(rates=[{**RATE, "samples_per_s": 1.0}, {**RATE, "architecture": "cnn-l"}], estimates=[ESTIMATE])
    table = merged_rates({"one": one, "other": other})
    assert [*zip(table["architecture"], table["contender"], table["file"], strict=True)] == [
        ("cnn-s", "lanes, seed zoo", "one"),
        ("cnn-s", "lanes, seed zoo", "other"),
        ("cnn-s", "vmap, seed zoo", "one"),
        ("cnn-s", "lanes, 1,024 wide", "other"),
        ("cnn-l", "lanes, seed zoo", "other"),
    ]
    assert table["machine"][3] == "v5e, estimated"
    assert merged_hours({"one": one, "other": other}).to_dict("records") == [
        {"zoo": "mnist-seed", "models": 1000, "one": 18.0}
    ]


def test_merge_prints_one_table(write, capsys):
    paths = [write(name, document(rates=[RATE], zoos=[HOURS])) for name in ("a.json", "b.json")]
    assert main(["--merge", *map(str, paths)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("lanes, seed zoo") == 2
    assert "93,478" in printed or "93,479" in printed
    assert all(path.name in printed and str(path) not in printed for path in paths)
    assert "hours for whole zoos" in printed


def test_estimates_for_a_chip_stand_in_a_document_too(tmp_path, monkeypatch, capsys):
    """The compiler of the chip is not asked."""
    row = {"precision": "float32", "cycles_per_sample": 1212.0, "samples_per_s": 1_237_601.0}
    fake = lambda key, engine, lanes, chip, twin: ({**row, "engine": engine, "lanes": lanes}, [])  # noqa: E731
    monkeypatch.setattr("jaxzoo.bench.tpu.estimate", fake)
    path = tmp_path / "tpu.json"
    assert main(["--tpu", "v5e", "--lanes", "128,1024", "--zoos", "svhn-seed", "--json", str(path)]) == 0
    assert "1,237,601" in capsys.readouterr().out
    back = read_document(path)
    assert [(each["zoo"], each["chip"], each["lanes"]) for each in back["estimates"] if each["engine"] == "lanes"] == [
        ("svhn-seed", "v5e", 128),
        ("svhn-seed", "v5e", 1024),
    ]
    assert (back["rates"], back["options"]["tpu"]) == ([], "v5e")


def without(name):
    return {key: value for key, value in document(rates=[RATE]).items() if key != name}


BAD = {
    "not JSON": ("rates: 1", "is not JSON ("),
    "a list, as before": (json.dumps([RATE | {"ratio": None}]), "schema is None, expected 'jaxzoo-bench/1'"),
    "other schema": (json.dumps(document() | {"schema": "jaxzoo-bench/2"}), "schema is 'jaxzoo-bench/2', expected 'ja"),
    "no rates": (json.dumps(without("rates")), "rates is None, expected a list of objects"),
    "no machine": (json.dumps(without("machine")), "machine is None, expected an object"),
    "no cores": (
        json.dumps(document() | {"machine": {"cpu": "x"}}),
        "expected cores, memory_GB, platform, device, dev",
    ),
    "a row is a number": (json.dumps(document() | {"rates": [1]}), "rates[0] is 1, expected an object"),
    "a row lacks": (
        json.dumps(document() | {"rates": [{"architecture": "a"}]}),
        "expected contender, samples_per_s, lo",
    ),
    "a row has a text": (
        json.dumps(document() | {"rates": [{**RATE, "ratio": None, "lowest": "slow"}]}),
        "rates[0].lowest is 'slow', expected a number or null",
    ),
    "nothing in it": (json.dumps(document()), "expected rates or estimates in one of them"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line_and_status_2(content, message, write, capsys):
    path = write("bad.json", content)
    assert main(["--merge", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert str(path) in said.err
    assert message in said.err


def test_a_file_that_is_not_there_or_named_twice(write, tmp_path, capsys):
    with pytest.raises(InputError, match=r"nothing\.json: cannot be read \(No such file"):
        read_document(tmp_path / "nothing.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bytes\.json: is not JSON"):
        read_document(tmp_path / "bytes.json")
    path = str(write("a.json", document(rates=[RATE])))
    assert main(["--merge", path, path]) == 2
    assert "expected each file once" in capsys.readouterr().err
