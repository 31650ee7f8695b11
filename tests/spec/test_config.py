"""TOML takes what Python takes, and what is wrong in a file is said with its key and its line."""

import dataclasses

import pytest
from populations import small_spec, write_digits_config

from jaxzoo.errors import InputError, nearest
from jaxzoo.spec.config import read_config
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.tables import differences
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import spec_differences


def edited(tmp_path, old, new):
    path = write_digits_config(tmp_path / "my.toml")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_a_single_value_is_a_list_of_one(tmp_path):
    spec = small_spec(activation="tanh", learning_rate=1e-3, weight_decay=0)
    assert spec == small_spec(activation=("tanh",), learning_rate=(1e-3,), weight_decay=(0.0,))
    assert dataclasses.replace(spec, augmentation="flip").augmentation == ("flip",)
    wanted = read_config(edited(tmp_path, "channels = 1", "channels = 1\nmean = [0.5]\nstd = [0.25]"))
    path = edited(tmp_path, "channels = 1", "channels = 1\nmean = 0.5\nstd = 0.25")
    text = path.read_text().replace('["tanh"]', '"tanh"').replace("[1e-3]", "1e-3").replace("[0.0]", "0.0")
    path.write_text(text)
    assert read_config(path) == wanted


def test_a_word_stands_for_twins_and_for_a_schedule(tmp_path):
    spec = dataclasses.replace(small_spec(), twins="magnitude", schedule="one-cycle")
    assert spec.twins == TwinSpec(method="magnitude")
    assert spec.schedule == Schedule(kind="one-cycle")
    assert dataclasses.replace(spec, twins="none").twins is None
    assert dataclasses.replace(spec, twins=None).twins is None
    (read,) = read_config(edited(tmp_path, "twins = { epochs = 2 }", 'twins = "none"\nschedule = "one-cycle"'))
    assert (read.twins, read.schedule) == (None, Schedule(kind="one-cycle"))
    (read,) = read_config(edited(tmp_path, "twins = { epochs = 2 }", 'twins = "magnitude"'))
    assert read.twins == TwinSpec(method="magnitude")


SEEDS = (
    "seeds is missing, expected seeds = { first = 1, last = 10 }, or drawn_seeds = { count = 1, below = 4294967296 }"
)
# what stands in the file, what is written instead, the line of the file that is named, and what is said
BAD_LINES = {
    "a wrong value": ("[1e-3]", '"fast"', 23, "grid.learning_rate is 'fast', expected a finite number"),
    "in a list of several lines": (
        "[1e-3]",
        '[\n  1e-3,\n  "fast",\n]',
        23,
        "grid.learning_rate is 'fast', expected a finite number",
    ),
    "a wrong type": ("epochs = 3", "epochs = [3]", 14, "epochs is [3], expected a whole number"),
    "no table": ("seeds = { first = 1, last = 2 }", "seeds = 5", 16, "seeds is 5, expected a table"),
    "no word": ("{ epochs = 2 }", '"magic"', 15, "twins is 'magic', expected one of: "),
    "inside a table": ("{ epochs = 2 }", "{ epochs = 0 }", 15, "twins.epochs is 0, expected 1 or more"),
    "in the dataset": ("classes = 10", "classes = 1", 4, "dataset.classes is 1, expected 2 to"),
    "of one architecture": (
        "[zoos.tiny]",
        "[dataset.for.cnn-s]\nsize = 0\n[zoos.tiny]",
        12,
        "dataset.size is 0, expected 1 to",
    ),
    "images too small": (
        "size = 28",
        "size = 6",
        8,
        "dataset.size: cnn-s: layer conv2 gets (1, 1, 8), expected larger images",
    ),
    "an unknown key": ("dropout = [0.0]", "drop = [0.0]", 22, "unknown key 'grid.drop', expected one of: dropout"),
    "a missing key": ("learning_rate = [1e-3]", "", 18, "grid.learning_rate is missing, expected 0 < learning"),
    "a missing word": ('architecture = "cnn-s"\n', "", 11, "architecture is missing, expected one of: cnn-s"),
    "an optimizer's parameter": (
        '["adam", "sgd"]',
        '[\n  "sgd",\n  { name = "adam", beta1 = 2 },\n]',
        21,
        "grid.optimizer.beta1 is 2.0, expected 0 <= beta1 <= 0.999999",
    ),
    "an optimizer's unknown parameter": (
        '["adam", "sgd"]',
        '{ name = "adam", beta3 = 0.5 }',
        21,
        "unknown key 'grid.optimizer.beta3', expected one of: beta",
    ),
    "an optimizer without a name": (
        '["adam", "sgd"]',
        "{ beta1 = 0.5 }",
        21,
        "grid.optimizer.name is missing, expected one of: adam, sgd",
    ),
    "an optimizer twice": (
        '["adam", "sgd"]',
        '["adam", { name = "adam", beta1 = 0.9 }]',
        21,
        "grid.optimizer is ['adam', 'adam'], expected no value twice",
    ),
    "a number for an optimizer": ('["adam", "sgd"]', "[5]", 21, "grid.optimizer is 5, expected a name or Optimizer"),
    "a schedule's parameter": (
        "epochs = 3",
        'schedule = { kind = "cosine", every = 3 }',
        14,
        "schedule.every is 3, expected none: cosine has warmup, end",
    ),
    "a warm-up that is too long": (
        "epochs = 3",
        'epochs = 3\nschedule = { kind = "cosine", warmup = 3 }',
        15,
        "schedule.warmup is 3.0, expected less than the 3 epochs of the zoo",
    ),
    "a schedule's missing parameter": ("epochs = 3", 'schedule = "step"', 14, "schedule.every is missing, expected"),
    "no seeds": ("seeds = { first = 1, last = 2 }", "", 11, SEEDS),
}


@pytest.mark.parametrize(("old", "new", "line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_what_is_wrong_is_said_with_its_line_and_its_key(tmp_path, old, new, line, message):
    path = edited(tmp_path, old, new)
    with pytest.raises(InputError) as error:
        read_config(path)
    said = str(error.value)
    assert f"zoo 'tiny': {message}" in said
    assert said.startswith(f"{path}: line "), said
    number = int(said.removeprefix(f"{path}: line ").split(":")[0])
    assert number == line, path.read_text().split("\n")[number - 1]


def test_a_long_file_has_no_line(tmp_path):
    path = edited(tmp_path, "[1e-3]", '"fast"')
    path.write_text(path.read_text() + "\n" * 500)
    with pytest.raises(InputError, match=r"my\.toml: zoo 'tiny': grid\.learning_rate is 'fast'"):
        read_config(path)


def test_missing_seeds_in_python_say_what_to_write():
    with pytest.raises(
        InputError, match=r"seeds is missing, expected seeds = { first = 1, last = 10 }, or drawn_seeds"
    ):
        dataclasses.replace(small_spec(), seeds=None)


def test_differences_name_only_what_differs():
    spec = small_spec(dropout=(0.0, 0.3))
    other = dataclasses.replace(small_spec(dropout=(0.0,)), twins=None, cohort_size=7)
    other = dataclasses.replace(other, dataset=dataclasses.replace(spec.dataset, train=40))
    wanted = "dataset.train is 47, got 40; grid.dropout is (0.0, 0.3), got (0.0,)"
    assert spec_differences(spec, other) == wanted
    assert spec_differences(spec, spec) == ""
    assert differences({"seed": 9, "x": 1}, {"seed": 2, "x": 1}, "expected") == "seed is 9, expected 2"


def test_at_most_three_names_are_near():
    many = [f"zoo-{number}" for number in range(35)]
    assert len(nearest("qqq", many).split(", ")) == 3
    assert nearest("qqq", ["a", "b", "c", "d"]) == "a, b, c, d"
