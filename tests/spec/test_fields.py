"""A spec is the same wherever its values come from: Python, NumPy, TOML, or the zoo.json that it was written to."""

import dataclasses
import json
import math
import tomllib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from populations import small_spec, write_digits_config

from jaxzoo.errors import InputError
from jaxzoo.spec.config import read_config
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.distribution import Choice, Integers, LogUniform, Uniform
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.grid import FACTORS, Grid
from jaxzoo.spec.layers import CNN_S, Conv, Dense, Residual
from jaxzoo.spec.optimizer import OPTIMIZER_PARAMETERS, OPTIMIZERS, Optimizer
from jaxzoo.spec.pairs import Vary
from jaxzoo.spec.plan import plan_zoo, trajectory_digest
from jaxzoo.spec.schedule import SCHEDULE_PARAMETERS, Schedule
from jaxzoo.spec.seeds import SeedDraw, SeedRange
from jaxzoo.spec.tables import full_table, read_table
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec

PROPERTY = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault
)


def read_back(spec):
    return read_table(json.loads(json.dumps(full_table(spec))), ZooSpec)


def assert_same(spec, other):
    assert spec == other
    assert hash(spec) == hash(other)
    assert (spec.digest, trajectory_digest(spec)) == (other.digest, trajectory_digest(other))
    assert json.dumps(dataclasses.asdict(spec)) == json.dumps(dataclasses.asdict(other))
    assert repr(plan_zoo(spec).members) == repr(plan_zoo(other).members)


def assert_plain(value):
    if isinstance(value, dict | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            assert_plain(inner)
    else:
        assert type(value) in (str, int, float, bool, type(None)), repr(value)


RATES = (1e-4, 1e-3, 1e-2, 1e-1)


def with_rates(rates):
    spec = small_spec(learning_rate=rates, activation=("tanh", "relu"))
    return dataclasses.replace(spec, seeds=None, drawn_seeds=SeedDraw(count=2, below=1000), models=3)


def test_numpy_floats_give_the_members_that_are_read_back():
    """The digest was that of floats, but the seeds and grid points were others: what went on trained other members."""
    spec = with_rates(tuple(np.geomspace(1e-4, 1e-1, 4)))
    assert_plain(dataclasses.asdict(spec))
    assert_same(spec, read_back(spec))
    assert_same(with_rates(np.array(RATES)), with_rates(RATES))
    assert_same(with_rates(list(RATES)), with_rates(RATES))


def test_whole_numbers_are_floats_where_floats_are_meant():
    """They trained for hours and could not be opened: 1 and 1.0 have other texts, and so other hashes."""
    spec = dataclasses.replace(small_spec(learning_rate=(1,), weight_decay=[0, 1e-3]), momentum=0)
    same = dataclasses.replace(small_spec(learning_rate=(1.0,), weight_decay=(0.0, 1e-3)), momentum=0.0)
    assert_same(spec, same)
    assert_same(spec, read_back(spec))
    negative = small_spec(weight_decay=(-0.0,), dropout=(-0.0,))
    assert_same(negative, small_spec(weight_decay=(0.0,), dropout=(0.0,)))


def test_numpy_of_other_sizes_is_taken_as_it_is():
    spec = dataclasses.replace(
        small_spec(learning_rate=(np.float32(0.1), np.float16(0.5))), epochs=np.int64(3), batch_size=np.uint8(7)
    )
    assert spec.grid.learning_rate == (float(np.float32(0.1)), 0.5)
    assert_same(spec, read_back(spec))
    assert_same(dataclasses.replace(spec, epochs=3.0), spec)
    assert type(small_spec(activation=np.array(["tanh"])).grid.activation[0]) is str


SPEC = small_spec()
WRONG = {
    "epochs is 2.5, expected a whole number": lambda: dataclasses.replace(SPEC, epochs=2.5),
    "epochs is True, expected a whole number": lambda: dataclasses.replace(SPEC, epochs=True),
    "epochs is '3', expected a whole number": lambda: dataclasses.replace(SPEC, epochs="3"),
    "epochs is inf, expected a whole number": lambda: dataclasses.replace(SPEC, epochs=math.inf),
    r"epochs is array\(3\), expected a whole number": lambda: dataclasses.replace(SPEC, epochs=np.array(3)),
    "momentum is False, expected a finite number": lambda: dataclasses.replace(SPEC, momentum=False),
    "momentum is 1000.*, expected a finite number": lambda: dataclasses.replace(SPEC, momentum=10**400),
    "momentum is None, expected a finite number": lambda: dataclasses.replace(SPEC, momentum=None),
    "dataset is 'digits', expected a DatasetSpec": lambda: dataclasses.replace(SPEC, dataset="digits"),
    "learning_rate is None, expected a finite number": lambda: small_spec(learning_rate=None),
    "learning_rate is .*, expected a value, or a list": lambda: small_spec(learning_rate={0.1, 0.2}),
    "learning_rate is nan, expected a finite number": lambda: small_spec(learning_rate=(math.nan,)),
    "activation is 'tnah', expected one of: tanh": lambda: small_spec(activation="tnah"),
    r"activation is 3, expected a text": lambda: small_spec(activation=(3,)),
    r"learning_rate is array\(.*, expected a value, or": lambda: small_spec(learning_rate=np.ones((2, 2))),
    "learning_rate is <generator": lambda: small_spec(learning_rate=(rate for rate in (0.1,))),
    "sparsity is nan, expected a finite number": lambda: TwinSpec(sparsity=math.nan),
    "kind is None, expected a text": lambda: Schedule(kind=None),
    "first is 1.5, expected a whole number": lambda: SeedRange(first=1.5, last=2),
    "kernel is '5', expected a whole number": lambda: Conv("conv", "5", 8),
    "stride is 0, expected 1 or more": lambda: Conv("conv", 5, 8, stride=0),
    "features is 1.5, expected a whole number": lambda: Dense("dense", 1.5),
    "main is 'x', expected one of: Conv": lambda: Residual(("x",), ()),
    "the grid with its seeds is 4294967296, expected at most 1000000 models": lambda: dataclasses.replace(
        SPEC, seeds=SeedRange(first=0, last=2**32 - 1)
    ),
    r"size: cnn-s: layer conv2 gets \(1, 1, 8\), expected larger images: its window is 5 x 5": lambda: (
        dataclasses.replace(SPEC, dataset=dataclasses.replace(SPEC.dataset, size=6))
    ),
}


@pytest.mark.parametrize(("message", "build"), WRONG.items(), ids=WRONG)
def test_a_value_of_another_type_is_one_clear_line(message, build):
    with pytest.raises(InputError, match=message) as error:
        build()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


NAMES = ("..", ".", "", "a\nb", "a\n", "a\0b", "x" * 400, "a\\b", "a/b", "-a", " a", "a[b]", "ü" * 51, "\ud800")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_no_folder_should_have_is_refused(name):
    with pytest.raises(InputError, match=r"^name is .*, expected a name of letters, digits") as error:
        dataclasses.replace(SPEC, name=name)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"^name is .*, expected a name of letters, digits"):
        dataclasses.replace(SPEC.dataset, name=name)


def test_names_that_people_give_are_taken():
    for name in ("svhn-seed", "my zoo", "lr=1".replace("=", "+"), "größe_2", "a.b", "7"):
        assert dataclasses.replace(SPEC, name=name).name == name


def edited(tmp_path, old, new):
    path = write_digits_config(tmp_path / "zoo.toml")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


SAID_TWICE = {
    "zoos.tiny.name is 'other', expected none": ("[zoos.tiny]\n", '[zoos.tiny]\nname = "other"\n'),
    "zoos.tiny.dataset is {}, expected none": ("[zoos.tiny]\n", "[zoos.tiny]\ndataset = {}\n"),
    "dataset.for.cnn-s.name is 'other', expected none": (
        "[zoos.tiny]\n",
        '[dataset.for.cnn-s]\nname = "other"\n[zoos.tiny]\n',
    ),
}


@pytest.mark.parametrize(("message", "edit"), SAID_TWICE.items(), ids=["name", "dataset", "name of the dataset"])
def test_a_table_cannot_give_another_name_than_its_own(tmp_path, message, edit):
    with pytest.raises(InputError, match=message):
        read_config(edited(tmp_path, *edit))


def test_toml_of_a_windows_editor_is_toml(tmp_path):
    path = write_digits_config(tmp_path / "zoo.toml")
    wanted = read_config(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_config(path) == wanted


def built(build):
    """What the call gives, None where it gives InputError of one line. Any other exception ends the test."""
    try:
        return build()
    except InputError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1
    return None


def numbers_of(strategy):
    """The same number as Python and as NumPy have it, and what is no number at times."""
    kinds = (float, np.float64, np.float32, lambda value: value)
    strange = st.sampled_from((None, True, "x", math.nan, math.inf, -1, 10**400, (0.1,)))
    return st.one_of(st.builds(lambda kind, value: kind(value), st.sampled_from(kinds), strategy), strange)


def as_array(items):
    return np.array(items, None if all(type(item) is float for item in items) else object)


def collections_of(strategy):
    kinds = (tuple, list, as_array, set, iter)
    values = st.lists(strategy, min_size=1, max_size=4)
    return st.builds(lambda kind, items: kind(items), st.sampled_from(kinds), values)


POSITIVE = st.floats(1e-6, 1, allow_nan=False) | st.integers(0, 3)
WHOLE = st.one_of(st.integers(-1, 50), st.sampled_from((2.0, 2.5, np.int32(3), np.float64(4), True, None, "3", 10**30)))


@PROPERTY
@given(
    rates=collections_of(numbers_of(POSITIVE)) | st.floats(1e-3, 1).map(lambda rate: np.array([rate, rate / 3])),
    decays=st.lists(st.sampled_from((0, 0.0, -0.0, 1e-3, np.float64(1e-3), np.float32(0.5))), min_size=1, max_size=3),
    activation=st.sampled_from((("tanh",), ["relu", "tanh"], np.array(["gelu", "silu"]), "tanh", ("tnah",), (1,))),
    epochs=WHOLE,
    batch_size=WHOLE,
    models=WHOLE,
    momentum=numbers_of(st.floats(0, 0.99)),
    draws=st.booleans(),
)
def test_what_is_accepted_is_the_same_after_it_was_written(
    rates, decays, activation, epochs, batch_size, models, momentum, draws
):
    def build():
        values = {"initialization": ("normal",), "optimizer": ("adam",), "learning_rate": rates, "weight_decay": decays}
        own = {"epochs": epochs, "batch_size": batch_size, "models": models, "momentum": momentum}
        drawn = SeedDraw(count=2, below=np.int64(99)) if draws else None
        return dataclasses.replace(
            SPEC,
            grid=Grid(activation=activation, **values),
            seeds=None if draws else SeedRange(first=0, last=2),
            drawn_seeds=drawn,
            **own,
        )

    spec = built(build)
    if spec is not None:
        assert_plain(dataclasses.asdict(spec))
        assert_same(spec, read_back(spec))


SHARES = st.floats(0.01, 0.99) | st.floats(0.01, 0.99).map(np.float32) | st.sampled_from((0, 1, 1.5, "x", math.nan))
PARAMETER_VALUES = {"nesterov": st.sampled_from((True, np.bool_(False), 1)), "every": st.sampled_from((1, 2.0, 2.5))}


def parameters_of(build, known):
    """Specs of any kind, built from some of its parameters."""
    first = dataclasses.fields(build)[0].name

    def own(word):
        values = {name: PARAMETER_VALUES.get(name, SHARES) for name in known[word]}
        given = st.fixed_dictionaries({}, optional=values)
        return given.map(lambda parameters: lambda: build(**{first: word, **parameters}))

    return st.sampled_from(sorted(known)).flatmap(own)


OPTIMIZER = parameters_of(Optimizer, OPTIMIZER_PARAMETERS) | st.sampled_from(OPTIMIZERS).map(lambda word: lambda: word)


@PROPERTY
@given(
    optimizers=st.lists(OPTIMIZER, min_size=1, max_size=2),
    schedule=parameters_of(Schedule, SCHEDULE_PARAMETERS),
)
def test_optimizers_and_schedules_are_the_same_after_they_were_written(optimizers, schedule):
    spec = built(
        lambda: dataclasses.replace(
            small_spec(epochs=50, optimizer=[build() for build in optimizers]), schedule=schedule()
        )
    )
    if spec is not None:
        assert_plain(dataclasses.asdict(spec))
        assert_same(spec, read_back(spec))


FACTOR_VALUES = st.sampled_from((0, 0.25, 0.5, np.float32(0.5), 1, 3, np.int64(7), -1, 1.5, "x", math.nan, True))
DISTRIBUTIONS = st.one_of(
    st.builds(lambda low, high: lambda: Uniform(low, high), FACTOR_VALUES, FACTOR_VALUES),
    st.builds(lambda low, high: lambda: LogUniform(low, high), FACTOR_VALUES, FACTOR_VALUES),
    st.builds(lambda low, high: lambda: Integers(low, high), FACTOR_VALUES, FACTOR_VALUES),
    st.lists(FACTOR_VALUES, max_size=3).map(lambda values: lambda: Choice(*values)),
    FACTOR_VALUES.map(lambda value: lambda: value),
)
VARIES = st.builds(
    lambda factor, value, first: lambda: Vary(factor=factor, value=value, from_epoch=first),
    st.sampled_from((*FACTORS, "learning_rate", "activation")),
    FACTOR_VALUES,
    st.sampled_from((1, 2, 0)),
)


@PROPERTY
@given(
    grid=st.dictionaries(st.sampled_from(FACTORS), st.lists(FACTOR_VALUES, min_size=1, max_size=2), max_size=3),
    draws=st.dictionaries(st.sampled_from((*FACTORS, "dropout", "learning_rate")), DISTRIBUTIONS, max_size=3),
    vary=st.lists(VARIES, max_size=2),
    drawn=st.booleans(),
)
def test_factors_draws_and_pairs_are_the_same_after_they_were_written(grid, draws, vary, drawn):
    def build():
        changes = tuple(each() for each in vary)
        if not drawn:
            return dataclasses.replace(SPEC, grid=dataclasses.replace(SPEC.grid, **grid), vary=changes)
        words = {"activation": Choice("tanh", "relu"), "initialization": "normal", "optimizer": "adam"}
        values = {"learning_rate": 1e-3} | {name: each() for name, each in draws.items()}
        return dataclasses.replace(SPEC, grid=None, seeds=None, draws=Draws(models=3, **words, **values), vary=changes)

    spec = built(build)
    if spec is not None:
        assert_plain(dataclasses.asdict(spec))
        assert_same(spec, read_back(spec))
        assert read_table(json.loads(json.dumps(full_table(spec))), ZooSpec) == spec


def to_toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {to_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else str(value)


LEAVES = st.one_of(st.integers(-3, 100), st.floats(), st.booleans(), st.text(max_size=8), st.just("tanh"))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
FIELDS = sorted({field.name for kind in (ZooSpec, Grid, DatasetSpec) for field in dataclasses.fields(kind)})


@PROPERTY
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(("dataset", "zoo", "grid")), st.sampled_from(FIELDS), VALUES), max_size=3
    )
)
def test_any_toml_gives_specs_or_one_line(tmp_path_factory, changes):
    path = write_digits_config(tmp_path_factory.getbasetemp() / "property.toml")
    table = tomllib.loads(path.read_text())
    places = {"dataset": table["dataset"], "zoo": table["zoos"]["tiny"], "grid": table["zoos"]["tiny"]["grid"]}
    for place, name, value in changes:
        places[place][name] = value
    path.write_text("".join(f"{key} = {to_toml(value)}\n" for key, value in table.items()), encoding="utf-8")
    specs = built(lambda: read_config(path))
    if specs is not None:
        assert_same(specs[0], read_back(specs[0]))


@PROPERTY
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_specs_or_one_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        read_config(path)
    assert "\n" not in str(error.value)


def test_the_layers_that_have_names_are_settled_too():
    conv = Conv("conv1", np.int64(5), 8.0)
    assert conv == CNN_S[0]
    assert_plain(dataclasses.astuple(conv))
