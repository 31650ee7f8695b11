"""The format parquet: zoos come back as they were, pyarrow and pandas read the files, and damage is one line."""

import json

import numpy as np
import pandas as pd
import pyarrow as arrow
import pytest
from exchange import assert_same_zoo, one_line, there_and_back
from populations import small_spec, store_zoo
from pyarrow import parquet as tables

from jaxzoo.formats import chosen, parquet
from jaxzoo.formats.exporting import export_zoo
from jaxzoo.formats.importing import import_zoo
from jaxzoo.formats.needed import needed
from jaxzoo.reading.zoo import open_zoo


@pytest.fixture(scope="module")
def mixed_zoo(tmp_path_factory):
    spec = small_spec(activation=("tanh", "relu"), optimizer=("adam", "rms_prop"), seeds=2)
    folder = tmp_path_factory.mktemp("parquet") / "zoo"
    return store_zoo(folder, spec, finite=lambda model, epoch: (model, epoch) != (3, 2))


def test_a_zoo_comes_back_as_it_was(mixed_zoo, tmp_path):
    assert_same_zoo(mixed_zoo, there_and_back(mixed_zoo, tmp_path, "parquet"))


@pytest.mark.parametrize("models", [3, 8])
def test_portions_row_groups_and_cohorts_need_not_agree(mixed_zoo, tmp_path, monkeypatch, models):
    monkeypatch.setattr(chosen, "PORTION_BYTES", models * 4 * 2464)
    monkeypatch.setattr(parquet, "GROUP_MODELS", 2)
    monkeypatch.setattr("jaxzoo.formats.imported_zoo.MOST_MODELS", 5)
    assert_same_zoo(mixed_zoo, there_and_back(mixed_zoo, tmp_path, "parquet"))
    groups = tables.ParquetFile(tmp_path / "out" / "epoch_00002.parquet").metadata
    assert [groups.row_group(group).num_rows for group in range(groups.num_row_groups)] == (
        [2, 1, 2, 1, 2] if models == 3 else [2, 2, 2, 2]
    )


def test_running_statistics_come_back(tmp_path):
    zoo = store_zoo(tmp_path / "zoo", small_spec("resnet-18-narrow", seeds=2, epochs=1))
    assert_same_zoo(zoo, there_and_back(zoo, tmp_path, "parquet"))


def test_twins_come_back(digits_zoo, tmp_path):
    zoo = open_zoo(digits_zoo)
    back = there_and_back(zoo, tmp_path, "parquet")
    assert_same_zoo(zoo, back)
    assert_same_zoo(zoo.twins["magnitude"], back.twins["magnitude"])


def test_numbers_that_are_not_finite_come_back_as_they_are(mixed_zoo, tmp_path, monkeypatch):
    weights = np.array([[np.nan, -np.inf, -0.0, 1e-42]], np.float32)
    column = arrow.chunked_array([arrow.FixedSizeListArray.from_arrays(arrow.array(weights.ravel()), 4)])
    got = parquet._numbers(column, 1, 4)
    assert got.tobytes() == weights.tobytes()


def test_pyarrow_and_pandas_read_the_files(mixed_zoo, tmp_path):
    export_zoo(mixed_zoo, tmp_path / "out", "parquet", models=[1, 6], epochs="last")
    path = tmp_path / "out" / "epoch_00002.parquet"
    table = tables.read_table(path)
    assert table["model"].to_pylist() == [1, 6]
    assert str(table.schema.field("weights").type) == "fixed_size_list<element: float not null>[2464]"
    names = json.loads(table.schema.field("weights").metadata[b"layout"])
    assert names == json.loads((tmp_path / "out" / "zoo.json").read_text())["parameters"]
    np.testing.assert_array_equal(np.stack(pd.read_parquet(path)["weights"]), mixed_zoo.weights(2, [1, 6]))


def test_lists_of_no_fixed_size_are_read_too(mixed_zoo, tmp_path):
    """As a program writes them that knows no lists of a fixed size."""
    export_zoo(mixed_zoo, tmp_path / "out", "parquet", epochs="last")
    path = tmp_path / "out" / "epoch_00002.parquet"
    rewrite(path, lambda table: table.set_column(1, "weights", table["weights"].cast(arrow.list_(arrow.float32()))))
    back = import_zoo(tmp_path / "out", tmp_path / "back", "parquet")
    np.testing.assert_array_equal(back.weights(2), mixed_zoo.weights(2))


def test_without_pyarrow_the_line_says_how_to_install_it(mixed_zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "needed", lambda module, extra: needed(f"absent_{module}", extra))
    for call in (export_zoo, import_zoo):
        with one_line(r"absent_pyarrow.parquet cannot be imported .*pip install 'jaxzoo\[formats\]'"):
            call(mixed_zoo.path, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def rewrite(path, change):
    tables.write_table(change(tables.read_table(path)), path)


def lists(*lengths):
    return lambda table: table.set_column(1, "weights", arrow.array([[0.5] * each for each in lengths]))


def missing(table):
    rows = table["weights"].to_pylist()
    rows[3][7] = None
    return table.set_column(1, "weights", arrow.array(rows, arrow.list_(arrow.float32())))


def described(folder, **changes):
    path = folder / "zoo.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


EPOCH = "epoch_00002.parquet"
DAMAGE = {
    "no zoo.json": (lambda out: (out / "zoo.json").unlink(), "zoo.json: cannot be read"),
    "another network": (lambda out: described(out, architecture="cnn-l"), "parameters are not those of cnn-l"),
    "an epoch that is missing": (lambda out: described(out, epochs=[2, 7]), "epoch_00007.parquet: cannot be read"),
    "no members": (lambda out: (out / "members.parquet").unlink(), "members.parquet: cannot be read"),
    "no seed": (
        lambda out: rewrite(out / "members.parquet", lambda table: table.drop_columns(["seed"])),
        "members.parquet: has no seed",
    ),
    "metrics of fewer models": (
        lambda out: rewrite(out / "metrics.parquet", lambda table: table.slice(0, len(table) - 1)),
        "the metrics of model 7 at epoch 2 are missing",
    ),
    "other models": (
        lambda out: rewrite(out / EPOCH, lambda table: table.slice(1)),
        "are not those of members.parquet",
    ),
    "no models": (lambda out: rewrite(out / EPOCH, lambda table: table.drop_columns(["model"])), "is damaged"),
    "no weights": (lambda out: rewrite(out / EPOCH, lambda table: table.drop_columns(["weights"])), "is damaged"),
    "short lists": (lambda out: rewrite(out / EPOCH, lists(*[2463] * 8)), "is damaged"),
    "lists of different lengths": (lambda out: rewrite(out / EPOCH, lists(*[2464] * 7, 2465)), "is damaged"),
    "a list that is missing": (
        lambda out: rewrite(out / EPOCH, lambda table: table.set_column(1, "weights", arrow.array([None] * 8))),
        "is damaged",
    ),
    "a number that is missing": (lambda out: rewrite(out / EPOCH, missing), "is damaged"),
    "words": (
        lambda out: rewrite(out / EPOCH, lambda table: table.set_column(1, "weights", arrow.array(["x"] * 8))),
        "is damaged",
    ),
    "no Parquet": (lambda out: (out / EPOCH).write_bytes(b"PAR1 and more PAR1"), f"{EPOCH}: "),
    "an empty file": (lambda out: (out / EPOCH).write_bytes(b""), f"{EPOCH}: is damaged"),
    "a file that ends early": (lambda out: (out / EPOCH).write_bytes((out / EPOCH).read_bytes()[:-9]), f"{EPOCH}: "),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_cannot_be_read_is_one_line(mixed_zoo, tmp_path, case):
    export_zoo(mixed_zoo, tmp_path / "out", "parquet", epochs="last")
    damage, match = DAMAGE[case]
    damage(tmp_path / "out")
    with one_line(match):
        import_zoo(tmp_path / "out", tmp_path / "back", "parquet")
    assert not (tmp_path / "back").exists()
