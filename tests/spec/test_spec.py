"""Specs: what is wrong is named with its place, what it is and what was wanted."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from populations import small_spec, write_digits_config

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.models.networks import drop_out
from jaxzoo.spec.config import read_config
from jaxzoo.spec.grid import Grid
from jaxzoo.spec.seeds import SeedDraw, SeedRange
from jaxzoo.spec.tables import read_table
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec


def test_a_spec_comes_back_through_json():
    for name in jaxzoo.zoo_names():
        spec = jaxzoo.load_spec(name)
        assert read_table(json.loads(json.dumps(dataclasses.asdict(spec))), ZooSpec) == spec


def test_the_digest_changes_with_every_field():
    spec = small_spec()
    changes = {"name": "x", "epochs": 3, "models": 2, "batch_size": 5, "momentum": 0.5, "precision": "bfloat16"}
    digests = {dataclasses.replace(spec, **{field: value}).digest for field, value in changes.items()}
    assert len(digests | {spec.digest}) == len(changes) + 1
    assert small_spec().digest == spec.digest
    # no weight depends on these
    assert dataclasses.replace(spec, cohort_size=2, twins=TwinSpec(epochs=3)).digest == spec.digest


def test_a_field_at_its_default_is_no_part_of_the_digest():
    # a later field, with the default that earlier zoos were made under, leaves their digests as they are
    spec = jaxzoo.load_spec("mnist-seed")
    assert spec.digest == "ce10fbb770e3bc5b47c7be724431f5ecc62683a8c9d7abb8c14faffc6a476b85"


def test_an_unknown_zoo_names_the_nearest():
    with pytest.raises(InputError, match=r"no zoo 'svnh-seed'; nearest: svhn-seed"):
        jaxzoo.load_spec("svnh-seed")


# what stands in the file, and what the error says
BAD_FILES = {
    "not TOML": ("epochs = 3", "epochs = ", r"is not TOML: .* line"),
    "unknown key": ("epochs = 3", "epoch = 3", r"zoo 'tiny': unknown key 'epoch', expected one of: epochs"),
    "unknown key inside": ("dropout = [0.0]", "drop = [0.0]", "unknown key 'grid.drop', expected one of: dropout"),
    "unknown table": (
        "[dataset]",
        "[data]",
        "table is 'data', expected one of: dataset, datasets, archi",
    ),
    "wrong type": ("epochs = 3", 'epochs = "many"', r"zoo 'tiny': epochs is 'many', expected a whole number"),
    "wrong type inside": ("[1e-3]", '["fast"]', r"grid.learning_rate is 'fast', expected a finite number"),
    "rate too large": ("[1e-3]", "[1e3]", r"learning_rate is 1000.0, expected 0 < learning_rate <= 100"),
    "rate 0": ("[1e-3]", "[0.0]", r"learning_rate is 0.0, expected"),
    "rate not a number": ("[1e-3]", "[nan]", r"learning_rate is nan, expected"),
    "dropout 1": ("dropout = [0.0]", "dropout = [1.0]", r"dropout is 1.0, expected 0 <= dropout < 1"),
    "decay below 0": ("dropout = [0.0]", "weight_decay = [-1.0]", r"weight_decay is -1.0, expected"),
    "empty grid": ("[1e-3]", "[]", r"learning_rate is \[\], expected at least one value"),
    "a value twice": ("[1e-3]", "[1e-3, 0.001]", r"learning_rate is \[0.001, 0.001\], expected no value twice"),
    "unknown activation": ('["tanh"]', '["tahn"]', r"activation is 'tahn', expected one of: tanh"),
    "unknown optimizer": ('["adam", "sgd"]', '["adamx"]', r"optimizer is 'adamx', expected one of: adam"),
    "unknown architecture": ('"cnn-s"', '"cnn-x"', r"architecture is 'cnn-x', expected one of: cnn-s, cnn-l"),
    "seeds backwards": ("first = 1, last = 2", "first = 2, last = 1", r"last is 1, expected 2 or more"),
    "negative seed": ("first = 1, last = 2", "first = -1, last = 2", r"first is -1, expected 0 <= first"),
    "no seeds": ("seeds = { first = 1, last = 2 }", "", "seeds is missing, expected seeds = {"),
    "no epochs": ("epochs = 3", "epochs = 0", r"epochs is 0, expected 1 or more"),
    "no batch": ("batch_size = 10", "batch_size = 0", r"batch_size is 0, expected 1 or more images"),
    "batch too large": ("batch_size = 10", "batch_size = 5000", r"batch_size is 5000, expected at most the 1257"),
    "two channels": ("channels = 1", "channels = 2", r"channels is 2, expected 1 or 3"),
    "a spread of 0": ("channels = 1", "channels = 1\nmean = [0.5]\nstd = [0.0]", r"std is \(0.0,\), expected numbers"),
    "unknown fit": ("channels = 1", 'channels = 1\nfit = "stretch"', "fit is 'stretch', expected one of: resize, crop"),
    "no number": (
        "channels = 1",
        "channels = 1\nmean = [nan]\nstd = [0.5]",
        r"mean is nan, expected a finite number",
    ),
    "a split in a folder": (
        "channels = 1",
        'channels = 1\ntrain_split = "a/b"',
        "train_split is 'a/b', expected a name",
    ),
    "a name of two lines": ("channels = 1", 'channels = 1\nfolder = "a\\nb"', "folder is .*, expected a name"),
    "no table": ("channels = 1", "channels = 1\n[dataset.for]\ncnn-s = 5", "dataset.for.cnn-s is 5, expected a table"),
    "two sources": ("channels = 1", 'channels = 1\ntfds = "a"\nfolder = "b"', "folder is 'b', expected either tfds or"),
    "unknown schedule": (
        "epochs = 3",
        'epochs = 3\nschedule = { kind = "cosines" }',
        "schedule.kind is 'cosines', expected",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_one_clear_line(tmp_path, old, new, message):
    path = write_digits_config(tmp_path / "zoo.toml")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


# 1 - 2^-17: in 16 bits it is as far from 1 as from the rate below, and rounds to 1
AS_GOOD_AS_1 = 1 - 2**-17


def grid_of(rate):
    return Grid(
        activation=("tanh",),
        initialization=("normal",),
        optimizer=("adam",),
        learning_rate=(0.1,),
        dropout=(0.0, rate),
    )


@pytest.mark.parametrize("rate", [AS_GOOD_AS_1, np.nextafter(AS_GOOD_AS_1, 0), AS_GOOD_AS_1 - 2**-25, 0.999995])
def test_a_dropout_rate_that_16_bits_do_not_tell_from_1_is_refused(rate):
    # float32 has 2^-24 between numbers here, so that a little less is the same, too
    with pytest.raises(InputError) as error:
        grid_of(rate)
    assert str(error.value) == (
        f"dropout is {float(rate)}, expected at most 0.9999923: with more, 16 random bits drop every unit"
    )
    assert not drop_out(jnp.ones(2**16), jnp.arange(2**16), jnp.float32(rate)).any()


@pytest.mark.parametrize("rate", [np.nextafter(AS_GOOD_AS_1 - 2**-25, 0), AS_GOOD_AS_1 - 2**-24, 0.9999923, 0.99999])
def test_the_largest_dropout_rates_that_keep_a_unit_are_taken(rate):
    assert grid_of(rate).dropout == (0.0, rate)
    assert drop_out(jnp.ones(2**16), jnp.arange(2**16), jnp.float32(rate))[-1] > 0


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.toml: cannot be read \(No such file"):
        read_config(tmp_path / "nowhere.toml")


def test_parts_built_by_hand_are_validated_too():
    with pytest.raises(InputError, match="count is 0"):
        SeedDraw(count=0, below=10)
    with pytest.raises(InputError, match="below is 3, expected 5"):
        SeedDraw(count=5, below=3)
    with pytest.raises(InputError, match="last is 4294967296"):
        SeedRange(first=1, last=2**32)
    with pytest.raises(InputError, match="initialization is 'zeros'"):
        Grid(activation=("tanh",), initialization=("zeros",), optimizer=("adam",), learning_rate=(0.1,))
