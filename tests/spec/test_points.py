"""A table of models: read, written, and refused by line and column."""

import dataclasses
import json

import pandas as pd
import pytest
from populations import record_of, small_spec, write_digits_config

from jaxzoo.errors import InputError
from jaxzoo.spec.config import read_config
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.points import Points
from jaxzoo.storage.record import read_record
from jaxzoo.storage.zoo_folder import begin_zoo

HEAD = "seed,activation,initialization,optimizer,learning_rate"
TEXT = f"{HEAD},label_noise\n1,tanh,kaiming_uniform,adam,0.001,0.1\n2,relu,kaiming_uniform,sgd,1e-2,0\n"


def table_spec(text=TEXT):
    return dataclasses.replace(small_spec(), grid=None, seeds=None, points=Points(text=text))


def test_a_row_is_a_model():
    first, second = plan_zoo(table_spec()).members
    assert first.hyperparameters == {
        "activation": "tanh",
        "initialization": "kaiming_uniform",
        "dropout": 0.0,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "label_noise": 0.1,
    }
    assert (first.seed, second.seed, second.hyperparameters["learning_rate"]) == (1, 2, 1e-2)
    assert [member.model for member in plan_zoo(dataclasses.replace(table_spec(), models=1)).members] == [0]


def test_rows_and_data_frames_make_the_same_table(tmp_path):
    path = tmp_path / "points.csv"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())  # as spreadsheets write it
    assert Points.read(path) == Points(text=TEXT)
    frame = pd.read_csv(path)
    rows = Points.of(frame.to_dict("records"))
    assert [*rows.points()] == [*Points(text=TEXT).points()]
    assert rows.seeds == (1, 2)


def test_a_table_beside_a_toml_file_is_copied_into_the_zoo(tmp_path):
    (tmp_path / "points.csv").write_text(TEXT)
    config = write_digits_config(tmp_path / "zoo.toml")
    head, _, _ = config.read_text().partition("[zoos.tiny.grid]")
    config.write_text(head.replace("seeds = { first = 1, last = 2 }", 'points = "points.csv"'))
    (spec,) = read_config(config)
    assert spec.points == Points(text=TEXT)
    record = record_of(spec)
    begin_zoo(tmp_path / "zoo", record, plan_zoo(spec), "card")
    table = json.loads((tmp_path / "zoo" / "zoo.json").read_text())
    assert table["spec"]["points"] == {"sha256": spec.points.sha256}
    assert table["factors"] == ["label_noise"]
    assert read_record(tmp_path / "zoo").spec == spec
    (tmp_path / "zoo" / "points.csv").write_text(TEXT.replace("0.1", "0.2"))
    with pytest.raises(InputError, match=r"points.csv: is not the table that zoo.json names"):
        read_record(tmp_path / "zoo")
    (tmp_path / "zoo" / "points.csv").unlink()
    with pytest.raises(InputError, match=r"points.csv: cannot be read"):
        read_record(tmp_path / "zoo")


ROW = "1,tanh,kaiming_uniform,adam,0.001"
WRONG = {
    "missing column": ("seed,activation\n1,tanh\n", "line 1: column initialization is missing"),
    "unknown column": (f"{HEAD},lr\n{ROW},1\n", "line 1: there is no column 'lr', expected one of: "),
    "doubled column": (f"{HEAD},seed\n{ROW},1\n", "line 1: column seed is there twice"),
    "bad cell": (
        f"{HEAD}\n{ROW}\n2,tanh,kaiming_uniform,adam,fast\n",
        "line 3, column learning_rate: 'fast', expected",
    ),
    "out of range": (f"{HEAD},dropout\n{ROW},1.2\n", "line 2, column dropout: '1.2', expected 0 <= dropout < 1"),
    "not finite": (f"{HEAD},dropout\n{ROW},nan\n", "line 2, column dropout: 'nan', expected a finite number"),
    "empty cell": (f"{HEAD},dropout\n{ROW},\n", "line 2, column dropout: '', expected a number"),
    "unknown word": (f"{HEAD}\n1,selu,kaiming_uniform,adam,0.001\n", "line 2, column activation: 'selu', expected one"),
    "part of a seed": (
        f"{HEAD}\n1.5,tanh,kaiming_uniform,adam,0.001\n",
        "line 2, column seed: '1.5', expected a whole",
    ),
    "seed below 0": (f"{HEAD}\n-1,tanh,kaiming_uniform,adam,0.001\n", "line 2, column seed: '-1', expected 0 <= seed"),
    "too few cells": (f"{HEAD}\n1,tanh\n", "line 2 has 2 cells, expected 5"),
    "doubled row": (f"{HEAD}\n{ROW}\n{ROW}\n", "line 3 is line 2 again"),
    "no row": (f"{HEAD}\n", "points is 'no row', expected at least one model"),
    "nothing": ("", "line 1: column seed is missing"),
    "open quote": (f'{HEAD}\n"1,tanh\n', "expected columns with commas"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_names_line_and_column(case, tmp_path):
    text, message = WRONG[case]
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"points\.csv: .*{message}") as raised:
        Points.read(path)
    assert "\n" not in str(raised.value)


def test_seeds_beside_a_table_are_one_line():
    with pytest.raises(InputError, match="seeds is given beside points, whose column seed says it"):
        dataclasses.replace(small_spec(), grid=None, points=Points(text=TEXT))
