"""Architectures of one's own: layers from words and tables and back, their names, and the shapes on the way."""

import dataclasses
import json

import pytest
from populations import small_spec

from jaxzoo.errors import InputError
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.config import read_config
from jaxzoo.spec.layer_words import WORDS, read_layers, words_of
from jaxzoo.spec.layers import (
    CNN_S,
    LAYERS,
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    MaxPool,
    MeanPool,
    Residual,
    Save,
)
from jaxzoo.spec.plan import plan_zoo, trajectory_digest
from jaxzoo.spec.shapes import check_shapes, passages, shape_after
from jaxzoo.spec.tables import full_table, read_table
from jaxzoo.spec.zoo_spec import ZooSpec

EVERY = (
    {"conv": 6, "kernel": 3, "padding": 1, "bias": False},
    "batch_norm",
    {"save": "first"},
    "activation",
    {"residual": [{"conv": 4, "kernel": 1}, "layer_norm"], "shortcut": [{"conv": 4, "kernel": 5, "padding": 2}]},
    {"add": "first", "channels": "common"},
    {"activation": "identity"},
    "max_pool",
    {"max_pool": 3, "stride": 1},
    {"mean_pool": 2},
    "dropout",
    "flatten",
    {"dense": 7, "bias": False},
    "dropout",
    {"dense": "classes", "name": "head"},
)
AS_LAYERS = (
    *(Conv("conv1", 3, 6, padding=1, bias=False), BatchNorm("batch_norm1"), Save("first"), Activation()),
    Residual((Conv("conv2", 1, 4), LayerNorm("layer_norm1")), (Conv("conv3", 5, 4, padding=2),)),
    *(Add("first", "common"), Activation("identity"), MaxPool(), MaxPool(3, 1), MeanPool(2), Dropout(0), Flatten()),
    *(Dense("dense1", 7, bias=False), Dropout(1), Dense("head", None)),
)


def test_words_and_tables_are_layers_with_names_and_numbers():
    own = Architecture(name="own", layers=EVERY)
    assert own.layers == AS_LAYERS
    assert Architecture(name="own", layers=[*AS_LAYERS]) == own
    assert {*WORDS} - {"global_max_pool", "global_mean_pool"} == {word for each in EVERY for word in _words(each)}
    assert Architecture(name="own", layers=(Conv("conv1", 1, 2), Conv(kernel=1, features=2), Flatten(), Dense("", 2))
    ).layers[1].name == "conv2"  # fmt: skip


def _words(item):
    if isinstance(item, str):
        return {item}
    return {*WORDS} & {*item} | {word for chain in ("residual", "shortcut") for each in item.get(chain, ())
                                 for word in _words(each)}  # fmt: skip


@pytest.mark.parametrize("layers", [AS_LAYERS, *LAYERS.values()], ids=["own", *LAYERS])
def test_layers_come_back_from_their_words(layers):
    words = json.loads(json.dumps(words_of(layers)))
    again = Architecture(name="own", layers=words).layers
    assert again == layers


def test_zoo_json_and_digests_know_an_architecture():
    own = Architecture(name="own", layers=["flatten", {"dense": 5}, "activation", {"dense": "classes"}])
    spec = dataclasses.replace(small_spec(), architecture=own)
    assert (spec.architecture, spec.architectures, spec.layers) == ("own", (own,), own.layers)
    table = json.loads(json.dumps(full_table(spec)))
    assert read_table(table, ZooSpec) == spec
    wider = Architecture(name="own", layers=["flatten", {"dense": 6}, "activation", {"dense": "classes"}])
    other = dataclasses.replace(spec, architectures=(wider,))
    assert other.digest != spec.digest
    assert trajectory_digest(other) != trajectory_digest(spec)
    assert dataclasses.replace(small_spec(), architectures=(own,)) == small_spec()  # no member names it


TOML = """
[dataset]
name = "digits"
classes = 10
train = 1_257
validation = 180
test = 360
size = 28
channels = 1

[architectures.wide]
layers = [{ conv = 16, kernel = 3, stride = 2 }, "activation", { conv = 16, kernel = 3, stride = 2 }, "activation",
          "global_mean_pool", { dense = "classes" }]

[zoos.wide]
architecture = "wide"
seeds = { first = 1, last = 2 }
[zoos.wide.grid]
activation = "relu"
initialization = "torch_default"
optimizer = "adam"
learning_rate = 1e-3
"""


def test_toml_has_architectures(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(TOML)
    (spec,) = read_config(path)
    assert spec.layers == (
        *(Conv("conv1", 3, 16, 2), Activation(), Conv("conv2", 3, 16, 2), Activation()),
        *(MeanPool(), Dense("dense1", None)),
    )
    assert shape_after(spec.layers[:4], (28, 28, 1), 10) == (6, 6, 16)
    mixed = TOML.replace('architecture = "wide"\n', "").replace('activation = "relu"', """activation = "relu"
architecture = ["cnn-s", "wide"]""")  # fmt: skip
    path.write_text(mixed)
    (spec,) = read_config(path)
    assert [cohort.key.layers for cohort in plan_zoo(spec).cohorts] == [CNN_S, spec.layers_named("wide")]


BAD_LINES = {
    r"line 11: zoo 'wide': architecture wide: layer conv2 gets \(2, 2, 16\), exp": (
        "stride = 2",
        "stride = 14",
    ),
    r"line 11: architectures.wide: layers: layer 1: conv has no 'step', expected name": ("stride = 2", "step = 2"),
    r"line 11: architectures.wide: unknown key 'layer', expected one of: layers": ("layers = [", "layer = ["),
    r"line 15: zoo 'wide': architecture is 'wild', expected one of": ('architecture = "wide"', 'architecture = "wild"'),
    r"zoo 'wide': architecture is missing, expected one of: cnn-s": ('architecture = "wide"', ""),
}


@pytest.mark.parametrize(("message", "change"), BAD_LINES.items(), ids=BAD_LINES)
def test_what_is_wrong_in_toml_is_said_with_its_line(tmp_path, message, change):
    path = tmp_path / "my.toml"
    path.write_text(TOML.lstrip().replace(*change))
    with pytest.raises(InputError, match=message):
        read_config(path)


WRONG = {
    "there is no layer 'convolution', expected one of": ["convolution"],
    "layer 1: 'conv' stands alone, expected a table such as { conv = 16 }": ["conv"],
    "layer 1: conv: kernel is 0, expected 1 or more": [{"conv": 16}],
    "layer 1: conv is 0, expected 1 or more": [{"conv": 0, "kernel": 3}],
    "layer 1: conv: stride is 0, expected 1 or more": [{"conv": 16, "kernel": 3, "stride": 0}],
    "layer 1: conv has no 'strides', expected name, kernel, stride, padding, bias beside it": [
        {"conv": 16, "kernel": 3, "strides": 2}
    ],
    "layer 2: flatten is True, expected 'flatten' alone": [{"dense": 3}, {"flatten": True}],
    "has 2 layers, expected one of": [{"conv": 16, "dense": 3}],
    "layer is 5, expected a layer: a word or a table": [5],
    "layer 1: dense is 'many', expected one of: classes": [{"dense": "many"}],
    "layer 1: activation is 'rulu', expected one of": [{"activation": "rulu"}],
    "layer 1: max_pool is 0, expected 1 or more": [{"max_pool": 0}],
    "layer 1: residual is 'conv', expected a list of layers": [{"residual": "conv"}],
    "name is 'a.b', expected letters": [{"dense": 3, "name": "a.b"}],
    "name is 'dense_variance', expected letters": [{"dense": 3, "name": "dense_variance"}],
    "name is 'a', expected a name for each layer, no name twice": [
        {"dense": 3, "name": "a"},
        {"dense": 3, "name": "a"},
    ],
    "add is 'there', expected the name of a save: there is none": [{"dense": 3}, {"add": "there"}],
    "expected at least one layer with weights": ["flatten"],
    "0 layers', expected 1 to 1000": [],
}


@pytest.mark.parametrize(("message", "layers"), WRONG.items(), ids=WRONG)
def test_what_is_no_layer_is_one_clear_line(message, layers):
    with pytest.raises(InputError) as error:
        Architecture(name="own", layers=layers)
    assert message in str(error.value)
    assert error.value.path[:1] == ("layers",)


MISFITS = {
    "layer conv2 gets (2, 2, 8), expected larger images: its window is 3 x 3": [
        *({"conv": 8, "kernel": 3, "stride": 25}, {"conv": 8, "kernel": 3}, "flatten", {"dense": 10})
    ],
    "layer dense1 gets (28, 28, 1), expected one axis": [{"dense": 10}],
    "layer conv1 gets (784,), expected height, width and channels": [
        "flatten",
        {"conv": 8, "kernel": 1},
        {"dense": 10},
    ],
    "layer MeanPool gets (10,), expected height": ["flatten", {"dense": 10}, "global_mean_pool"],
    "layer dense1 gives (9,), expected (10,): an output for each class": ["flatten", {"dense": 9}],
    "layer Residual adds (28, 28, 4), expected the shape of its shortcut, (28, 28, 1)": [
        *({"residual": [{"conv": 4, "kernel": 1}]}, "flatten", {"dense": 10})
    ],
    "layer a adds to (28, 28, 4), expected the shape that was saved, (28, 28, 1)": [
        *({"save": "a"}, {"conv": 4, "kernel": 1}, {"add": "a"}, "flatten", {"dense": 10})
    ],
    "layer a adds to (27, 27, 4), expected the shape that was saved, (28, 28, 1)": [
        *({"save": "a"}, {"conv": 4, "kernel": 2}, {"add": "a", "channels": "common"}, "flatten", {"dense": 10})
    ],
    "layer a is added before it is saved": [{"add": "a"}, "flatten", {"save": "a"}, {"dense": 10}],
}


@pytest.mark.parametrize(("message", "layers"), MISFITS.items(), ids=MISFITS)
def test_shapes_that_do_not_fit_are_said_with_the_layer(message, layers):
    own = Architecture(name="own", layers=layers)
    with pytest.raises(InputError) as error:
        dataclasses.replace(small_spec(), architecture=own)
    assert message in str(error.value)
    assert str(error.value).startswith("architecture own: layer ")


def test_shapes_are_followed_through_all_layers():
    shapes = [before for layer, before, _ in passages(AS_LAYERS, (9, 8, 3), 10) if not isinstance(layer, Residual)]
    after = [(9, 8, 6)] * 4 + [(9, 8, 4)] + [(9, 8, 6)] + [(9, 8, 4)] * 3 + [(4, 4, 4), (2, 2, 4), (1, 1, 4), (1, 1, 4)]
    assert shapes == [(9, 8, 3), *after, (4,), (7,), (7,)]
    check_shapes(AS_LAYERS, (9, 8, 3), 10)
    assert read_layers(["global_max_pool"]) == (MaxPool(None),)
    assert shape_after((MaxPool(None),), (9, 8, 3), 10) == (3,)
