"""What a spec asks to keep: every way to say it gives one spec, which comes back from zoo.json, and digests stay."""

import dataclasses
import json
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from populations import record_of, replace_dataset, small_spec, write_digits_config

from jaxzoo.errors import InputError
from jaxzoo.spec.asked import asked_of
from jaxzoo.spec.config import read_config
from jaxzoo.spec.outputs import Outputs
from jaxzoo.spec.plan import plan_zoo, trajectory_digest
from jaxzoo.spec.snapshots import Moment, Snapshots
from jaxzoo.spec.tables import read_table
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec

SPEC = small_spec(epochs=4)
PROPERTY = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def read_back(spec):
    return read_table(json.loads(record_of(spec).to_json())["spec"], ZooSpec)


def with_lines(tmp_path, *lines):
    """The spec of a TOML file with some lines more."""
    path = write_digits_config(tmp_path / "zoo.toml", epochs="3\n" + "\n".join(lines))
    return read_config(path)[0]


WAYS = {
    "snapshots = { every = 100 }": Snapshots(every=100),
    "snapshots = { steps = [1, 2, 5, 10] }": Snapshots(steps=(1, 2, 5, 10)),
    "snapshots = { steps = 7, keep_optimizer = true }": Snapshots(steps=(7,), keep_optimizer=True),
    "snapshots = { log_spaced = 20, examples = 50 }": Snapshots(log_spaced=20, examples=50),
    "snapshots = { keep_optimizer = true }": Snapshots(keep_optimizer=True),
    'outputs = ["test"]': Outputs(splits=("test",)),
    'outputs = "test"': Outputs(splits=("test",)),
    'outputs = { splits = ["test"], epochs = "last", kind = "logits" }': Outputs(splits=("test",)),
    'outputs = { splits = ["train", "test"], epochs = [0, 3], kind = "margins" }': Outputs(
        splits=("train", "test"), epochs=(0, 3), kind="margins"
    ),
    'outputs = { splits = "test", epochs = "all" }': Outputs(splits=("test",), epochs="all"),
}


@pytest.mark.parametrize(("line", "wanted"), WAYS.items(), ids=WAYS)
def test_toml_and_python_say_the_same_and_it_comes_back_from_zoo_json(tmp_path, line, wanted):
    spec, without = with_lines(tmp_path, line), with_lines(tmp_path)
    (name,) = [name for name in ("snapshots", "outputs") if getattr(spec, name) is not None]
    assert getattr(spec, name) == wanted
    assert spec == dataclasses.replace(without, **{name: wanted}) == read_back(spec)
    assert spec.digest == read_back(spec).digest != without.digest
    assert trajectory_digest(spec) == trajectory_digest(without)


BAD = {
    "snapshots = { every = 0 }": "snapshots.every is 0, expected 1 or more steps",
    "snapshots = { every = 2.5 }": "snapshots.every is 2.5, expected a whole number",
    "snapshots = { steps = [0, 1] }": "snapshots.steps is 0, expected 1 or more",
    "snapshots = { steps = [1, 2, 1] }": r"snapshots.steps is \[1, 2, 1\], expected no step twice",
    "snapshots = { log_spaced = 1 }": "snapshots.log_spaced is 1, expected 2 to 1000 steps",
    "snapshots = { every = 2, log_spaced = 3 }": "snapshots.log_spaced is given beside every, expected one of the two",
    "snapshots = { steps = [1], every = 3 }": "snapshots.steps is given beside every, expected one of the two",
    "snapshots = {}": "snapshots.every, steps or log_spaced is missing",
    "snapshots = { examples = 5 }": "snapshots.every, steps or log_spaced is missing",
    "snapshots = { every = 2, examples = 0 }": "snapshots.examples is 0, expected 1 or more examples",
    "snapshots = { evry = 2 }": "unknown key 'snapshots.evry', expected one of: every",
    "snapshots = [1, 2]": r"snapshots is \[1, 2\], expected a table",
    'outputs = ["tset"]': r"outputs.splits is 'tset', expected one of: test",
    "outputs = [3]": "outputs.splits is 3, expected a text",
    "outputs = []": r"outputs.splits is \[\], expected one or more of: train, validation, test",
    'outputs = ["test", "test"]': r"outputs.splits is \['test', 'test'\], expected no split twice",
    "outputs = 3": "outputs is 3, expected a table",
    'outputs = { epochs = "all" }': "outputs.splits is missing, expected one of: train, validation, test",
    'outputs = { splits = "test", kind = "losses" }': "outputs.kind is 'losses', expected one of: logits",
    'outputs = { splits = "test", epochs = "first" }': "outputs.epochs is 'first', expected 'last', 'all' or epochs",
    'outputs = { splits = "test", epochs = [1, 4] }': r"outputs.epochs is 4, expected epochs of 0\.\.3",
    'outputs = { splits = "test", epochs = [-1] }': "outputs.epochs is -1, expected 0 or more",
    'outputs = { splits = "test", epochs = [1, 1] }': r"outputs.epochs is \[1, 1\], expected no epoch twice",
    'outputs = { splits = "test", epochs = [] }': r"outputs.epochs is \[\], expected 'last', 'all' or epochs",
    'outputs = { splits = "test", epochs = 1.5 }': "outputs.epochs is 1.5, expected a whole number",
}


@pytest.mark.parametrize(("line", "message"), BAD.items(), ids=BAD)
def test_what_is_wrong_is_one_line_that_names_the_line_of_the_file(tmp_path, line, message):
    with pytest.raises(InputError, match=rf"zoo\.toml: line 15: zoo 'tiny': {message}") as error:
        with_lines(tmp_path, line)
    assert "\n" not in str(error.value)


def test_an_empty_split_has_no_outputs():
    empty = replace_dataset(SPEC, validation=0)
    with pytest.raises(InputError, match=r"outputs\.splits is 'validation', expected a split with examples"):
        dataclasses.replace(empty, outputs=["test", "validation"])


def test_steps_that_are_asked_for_of_a_cohort():
    """An epoch has 5 steps, and the zoo 20."""
    key = plan_zoo(SPEC).cohorts[0].key

    def asked(**given):
        return asked_of(dataclasses.replace(SPEC, snapshots=Snapshots(**given)), key)

    assert [*asked(every=6).steps] == [6, 12, 18]
    assert [*asked(steps=[20, 3, 5]).steps] == [3, 5, 20]
    assert asked(steps=[20, 3, 5]).moments == [Moment(1, 3)]
    assert asked(steps=[20, 3, 5]).ends == (1, 4)
    assert [*asked(log_spaced=3).steps] == [1, 4, 20]
    assert [*asked(keep_optimizer=True).steps] == []
    kept = dataclasses.replace(SPEC, snapshots=Snapshots(every=1), outputs=Outputs(splits="test", epochs=[4, 0, 2]))
    assert asked_of(kept, key).outputs == (0, 2, 4)
    assert asked_of(kept, key, TwinSpec(epochs=3)) == (5, (), (0, 2))
    last = dataclasses.replace(kept, outputs="test")
    assert (asked_of(last, key).outputs, asked_of(last, key, TwinSpec(epochs=3)).outputs) == ((4,), (3,))


@PROPERTY
@given(count=st.integers(2, 60), last=st.integers(1, 10**9 - 1))
def test_log_spaced_steps_are_the_nearest_to_a_geometric_sequence(count, last):
    """Step k is nearest to last ** (i / n): (k - 1/2) ** n <= last ** i < (k + 1/2) ** n, in fractions."""
    steps = Snapshots(log_spaced=count).steps_to(last)
    assert (steps[0], steps[-1]) == (1, last)
    assert steps == sorted({*steps})
    half = Fraction(1, 2)
    for index in range(count):
        power = last**index
        assert any((step - half) ** (count - 1) <= power < (step + half) ** (count - 1) for step in steps)


@PROPERTY
@given(
    snapshots=st.fixed_dictionaries(
        {"keep_optimizer": st.booleans(), "examples": st.integers(-1, 2000)},
        optional={
            "every": st.integers(-1, 30),
            "steps": st.lists(st.integers(0, 30), max_size=4),
            "log_spaced": st.integers(0, 30),
        },
    ),
    outputs=st.one_of(
        st.none(),
        st.lists(st.sampled_from(("train", "test", "validation", "x")), max_size=3),
        st.builds(
            dict,
            splits=st.sampled_from(("test", ["train", "test"])),
            epochs=st.sampled_from(("last", "all", "first")) | st.lists(st.integers(-1, 5), max_size=3),
            kind=st.sampled_from(("logits", "margins", "x")),
        ),
    ),
)
def test_what_is_accepted_is_the_same_after_it_was_written(snapshots, outputs):
    try:
        asked = Outputs(**outputs) if isinstance(outputs, dict) else outputs
        spec = dataclasses.replace(SPEC, snapshots=Snapshots(**snapshots), outputs=asked)
    except InputError:  # any other exception ends the test
        return
    again = read_back(spec)
    assert (spec, hash(spec), spec.digest) == (again, hash(again), again.digest)
    assert trajectory_digest(spec) == trajectory_digest(SPEC)
