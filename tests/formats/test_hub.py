"""A data set for the Hub: it comes back bit for bit, its card and its lists are true, a sample and a licence are said.

That `datasets` and `mlcroissant` read such a folder is held by .ci/formats.py.
"""

import hashlib
import json
import re
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from exchange import assert_same_zoo
from populations import small_spec, store_zoo
from safetensors.numpy import load_file, save_file

from jaxzoo.errors import InputError
from jaxzoo.formats.chosen import choose, spread
from jaxzoo.formats.exporting import export_zoo
from jaxzoo.formats.importing import import_zoo
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.storage.licence import state_licence

SECTIONS = ("Motivation", "Composition", "Collection process", "Preprocessing", "Uses", "Distribution", "Maintenance")


@pytest.fixture(scope="module", params=["cnn-s", "resnet-18-narrow"])
def zoo(request, tmp_path_factory):
    """Eight CNNs of two activations, or two ResNets with statistics; one diverges in epoch 2."""
    cnn = request.param == "cnn-s"
    spec = small_spec(request.param, seeds=4 if cnn else 1, activation=("tanh", "relu"))
    return store_zoo(tmp_path_factory.mktemp("z") / "z", spec, finite=lambda model, epoch: model != 1 or epoch < 2)


@pytest.fixture(scope="module")
def cnns(tmp_path_factory):
    return store_zoo(tmp_path_factory.mktemp("z") / "z", small_spec(seeds=4, activation=("tanh", "relu")))


@pytest.fixture
def exported(cnns, tmp_path):
    (folder,) = export_zoo(cnns, tmp_path / "x", "hub", epochs=[0, 2], models=[1, 2, 5, 7])
    return folder


def header_of(folder):
    """The fields that the Hub reads."""
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_a_zoo_comes_back_bit_for_bit(zoo, tmp_path):
    (folder,) = export_zoo(zoo, tmp_path / "x", "hub")
    assert_same_zoo(zoo, import_zoo(folder, tmp_path / "back", "hub"))
    card = (folder / "README.md").read_text()
    assert f"at the last epoch 1 of {len(zoo.members)}." in card
    assert zoo.spec.digest in card
    assert "| activation | tanh, relu |" in card


def test_an_imported_zoo_says_that_its_making_is_not_known(cnns, tmp_path):
    """The making is not recorded, and a hyperparameter may not be known of any model."""
    (first,) = export_zoo(cnns, tmp_path / "x", "hub", epochs="last")
    unknown = {"dropout": pa.nulls(8), "weight_decay": pa.array([0.5] + [None] * 7)}
    replace_table(first / "data" / "members.parquet", **unknown)
    back = import_zoo(first, tmp_path / "back", "hub")
    (folder,) = export_zoo(back, tmp_path / "y", "hub")
    card = (folder / "README.md").read_text()
    assert "It was imported by jaxzoo from the format hub, which does not say how it was made." in card
    assert "| dropout | not known |" in card
    assert "| weight_decay | 0.5, not known |" in card
    assert "None" not in card.replace("None is stated", "") + (folder / "datasheet.md").read_text()
    assert_same_zoo(back, import_zoo(folder, tmp_path / "z", "hub"))


def test_twins_are_a_data_set_of_their_own(digits_zoo, tmp_path):
    zoo = open_zoo(digits_zoo)
    dense, twins = export_zoo(zoo, tmp_path / "x", "hub")
    assert "sparse twin, by magnitude" in (twins / "README.md").read_text()
    assert "sparse twin" not in (dense / "README.md").read_text()
    back = import_zoo(dense, tmp_path / "back", "hub")
    assert_same_zoo(zoo, back)
    assert_same_zoo(zoo.twins["magnitude"], back.twins["magnitude"])


def test_every_file_is_listed_with_its_digest_and_every_column(exported):
    table = json.loads((exported / "croissant.json").read_text())
    assert table["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    listed = {each["contentUrl"]: each for each in table["distribution"]}
    weights = {f"weights/epoch_{epoch:05d}.safetensors" for epoch in (0, 2)}
    assert listed.keys() == {"zoo.json", "splits.json", "data/members.parquet", "data/metrics.parquet", *weights}
    texts = {"README.md", "croissant.json", "datasheet.md"}
    assert {str(path.relative_to(exported)) for path in exported.rglob("*.*")} == listed.keys() | texts
    for name, each in listed.items():
        data = (exported / name).read_bytes()
        assert (each["sha256"], each["contentSize"]) == (hashlib.sha256(data).hexdigest(), f"{len(data)} B")
    for records in table["recordSet"]:
        read = pq.read_table(exported / "data" / f"{records['name']}.parquet")
        assert [field["source"]["extract"]["column"] for field in records["field"]] == read.column_names
        assert all(field["source"]["fileObject"]["@id"] in listed for field in records["field"])
    types = {field["name"]: field["dataType"] for records in table["recordSet"] for field in records["field"]}
    wanted = {"seed": "sc:Integer", "dropout": "sc:Float", "optimizer": "sc:Text", "finite": "sc:Boolean"}
    assert {name: types[name] for name in wanted} == wanted


def test_the_tables_and_weights_are_those_of_the_models(cnns, exported):
    members = pq.read_table(exported / "data" / "members.parquet").to_pandas()
    assert members["model"].tolist() == [1, 2, 5, 7]
    assert members["seed"].tolist() == cnns.members["seed"][[1, 2, 5, 7]].tolist()
    weights = load_file(exported / "weights" / "epoch_00002.safetensors")
    assert weights["models"].tolist() == [1, 2, 5, 7]
    np.testing.assert_array_equal(weights["params/dense1/kernel"], cnns.params(2, [1, 2, 5, 7])["dense1"]["kernel"])


def test_the_card_and_the_datasheet(exported):
    header = header_of(exported)
    configs = {each["config_name"]: each["data_files"] for each in header["configs"]}
    assert configs == {"members": "data/members.parquet", "metrics": "data/metrics.parquet"}
    assert all((exported / path).is_file() for path in configs.values())
    assert header["size_categories"] == ["n<1K"]
    assert header["pretty_name"] == "small: a model zoo of 4 models of cnn-s on digits"
    card = (exported / "README.md").read_text()
    assert "These are 4 of its 8 models." in card
    assert card.count("@inproceedings{") == card.count("@misc{") == 1
    for path in re.findall(r"weights/\S+\.safetensors", card):
        assert (exported / path).is_file()
    sheet = (exported / "datasheet.md").read_text()
    headings = [line.removeprefix("## ") for line in sheet.splitlines() if line.startswith("## ")]
    assert len(headings) == 7
    assert all(heading.startswith(wanted) for heading, wanted in zip(headings, SECTIONS, strict=True))
    assert "for the maker to fill in" in sheet.lower()
    assert "4 models, each at epoch 0, 2: 8 states" in sheet


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        (None, {"license": "unknown"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ('Ours: ask "us" #1', {"license": "other", "license_name": "ours-ask-us-1"}),
    ],
)
def test_a_licence_is_said_in_the_words_of_the_hub(cnns, tmp_path, licence, fields):
    (folder,) = export_zoo(cnns, tmp_path / "x", "hub", epochs="last", licence=licence)
    header = header_of(folder)
    assert {name: value for name, value in header.items() if name.startswith("license")} == fields
    assert json.loads((folder / "croissant.json").read_text())["license"] == (licence or "not stated")
    terms = (folder / "README.md").read_text().split("## Licence")[1]
    assert (licence or "None is stated") in terms


def test_the_licence_of_the_zoo_holds_unless_another_is_given(cnns, tmp_path):
    shutil.copytree(cnns.path, tmp_path / "z")
    state_licence(tmp_path / "z", "mit")
    export_zoo(tmp_path / "z", tmp_path / "own", "hub", epochs="last")
    export_zoo(tmp_path / "z", tmp_path / "other", "hub", epochs="last", licence="pddl")
    assert [header_of(tmp_path / name)["license"] for name in ("own", "other")] == ["mit", "pddl"]
    with pytest.raises(InputError, match=r"^licence is 'two.nlines', expected one printable line"):
        export_zoo(cnns, tmp_path / "bad", "hub", licence="two\nlines")
    assert not (tmp_path / "bad").exists()


def test_a_sample_is_spread_over_the_models_and_twins_have_the_same(digits_zoo, tmp_path):
    zoo = open_zoo(digits_zoo)
    dense, twins = export_zoo(zoo, tmp_path / "x", "hub", epochs="last", sample=3)
    for folder in (dense, twins):
        assert pq.read_table(folder / "data" / "members.parquet")["model"].to_pylist() == [0, 3, 7]
        splits = json.loads((tmp_path / f"{folder.name}-splits.json").read_text())
        assert sorted(splits["train"] + splits["validation"] + splits["test"]) == [0, 3, 7]
        assert json.loads((folder / "splits.json").read_text()) == splits
    for count in (1, 2, 7, 8, 9):
        kept = spread(choose(zoo), count).models
        assert len({*kept}) == len(kept) == min(count, 8)
        assert kept[0] == 0
    with pytest.raises(InputError, match="sample is 0, expected 1 or more"):
        export_zoo(zoo, tmp_path / "y", "hub", sample=0)


def replace_table(path, **columns):
    table = pq.read_table(path)
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, values) if values is not None else table.remove_column(place)
    pq.write_table(table, path)


def change(path, **changes):
    tensors = {name: leaf.copy() for name, leaf in load_file(path).items()} | changes
    save_file({name: leaf for name, leaf in tensors.items() if leaf is not None}, path)


WEIGHTS, MEMBERS, METRICS = "weights/epoch_00002.safetensors", "data/members.parquet", "data/metrics.parquet"
FAULTS = {
    "no weights": (WEIGHTS, lambda path: path.unlink(), "epoch_00002.safetensors: cannot be read"),
    "truncated weights": (WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:-9]), "00002.* is damaged"),
    "missing tensor": (WEIGHTS, lambda path: change(path, **{"params/conv1/bias": None}), "conv1/bias is missing"),
    "extra model": (WEIGHTS, lambda path: change(path, models=np.arange(5)), "its 5 models are .* expected the 4 of"),
    "no members": (MEMBERS, lambda path: path.unlink(), "members.parquet: cannot be read"),
    "truncated members": (
        MEMBERS,
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        "members.parquet: is damaged",
    ),
    "empty members": (MEMBERS, lambda path: path.write_bytes(b""), "members.parquet: is damaged"),
    "no seeds": (MEMBERS, lambda path: replace_table(path, seed=None), "members.parquet: has no seed, expected a row"),
    "odd activation": (
        MEMBERS,
        lambda path: replace_table(path, activation=pa.array(["tanh", "sine", "tanh", "relu"])),
        "model 1: activation is 'sine', expected one of: tanh",
    ),
    "a column of lists": (
        MEMBERS,
        lambda path: replace_table(path, seed=pa.array([[1], [2], [3], [4]])),
        "members.parquet: seed is list<.*>, expected numbers, truth values or text",
    ),
    "metrics of no epoch": (METRICS, lambda path: replace_table(path, epoch=None), "metrics.parquet: has the columns"),
    "no description": ("zoo.json", lambda path: path.unlink(), "zoo.json: cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_is_one_line_and_nothing_half_written(exported, tmp_path, fault):
    name, damage, message = FAULTS[fault]
    damage(exported / name)
    with pytest.raises(InputError, match=message) as caught:
        import_zoo(exported, tmp_path / "back", "hub")
    assert len(str(caught.value).splitlines()) == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("back")]


@pytest.mark.parametrize("library", ["safetensors.numpy", "pyarrow.parquet"])
def test_without_a_library_one_line_says_what_to_install(cnns, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"^{library} cannot be .* pip install 'jaxzoo\[formats\]'$"):
        export_zoo(cnns, tmp_path / "x", "hub")
    assert not (tmp_path / "x").exists()
