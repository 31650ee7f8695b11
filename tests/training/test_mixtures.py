"""Zoos whose members differ in architecture and in data set: made, stopped, extended, read by groups, pruned, shown."""

import dataclasses

import jax
import numpy as np
import pytest
from populations import small_images, small_spec, write_folder

import jaxzoo
from jaxzoo import Architecture, ChainDraw, Choice, Conv, Dense, Draws, Grid, Integers, TwinSpec, generate, open_zoo
from jaxzoo.analysis.features import STATISTICS, states_statistics
from jaxzoo.errors import InputError
from jaxzoo.formats.exporting import export_zoo
from jaxzoo.report.content import collect
from jaxzoo.report.page import build_page
from jaxzoo.training.checks import check_generate
from jaxzoo.training.events import EpochSaved, Interrupted

OWN = Architecture(
    name="own", layers=(Conv(features=3, kernel=3), "activation", "max_pool", "flatten", Dense(features="classes"))
)
WAY = {"engine": "lanes", "lanes": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of two data sets: some digits, and others of them on a white ground."""
    root = tmp_path_factory.mktemp("data")
    dataset = dataclasses.replace(small_spec().dataset, name="black", folder="black")
    other = dataclasses.replace(dataset, name="white", folder="white", train=30)
    write_folder(root / "black", dataset)
    images = small_images(other)
    (root / "white").mkdir()
    for name, parts in {"train": images[:2], "test": images[2:3]}.items():
        pixels = np.concatenate([255 - part.pixels for part in parts])
        np.savez(root / "white" / f"{name}.npz", images=pixels, labels=np.concatenate([part.labels for part in parts]))
    return root


def spec_of(data, **changes):
    dataset = dataclasses.replace(small_spec().dataset, name="black", folder="black")
    other = dataclasses.replace(dataset, name="white", folder="white", train=30)
    grid = Grid(
        activation="relu",
        initialization="torch_default",
        optimizer="adam",
        learning_rate=1e-2,
        architecture=("cnn-s", "own"),
        dataset=("black", "white"),
    )
    given = {"architecture": None, "architectures": (OWN,), "dataset": dataset, "datasets": (other,), "grid": grid}
    return dataclasses.replace(small_spec(seeds=2), **given | changes)


@pytest.fixture(scope="module")
def spec(data):
    return spec_of(data, twins=TwinSpec(method="magnitude", epochs=1))


@pytest.fixture(scope="module")
def finished(spec, data, tmp_path_factory):
    return generate(spec, tmp_path_factory.mktemp("zoos") / "mixed", data_dir=data, **WAY)


def test_it_is_opened_as_it_was_made(spec, finished):
    zoo = open_zoo(finished.path)
    assert zoo.spec == spec
    assert zoo.record.fingerprints.keys() == {"black", "white"}
    assert [*jaxzoo.verify_zoo(finished.path, deep=True)] == []
    assert zoo.members.groupby(["architecture", "dataset"]).size().tolist() == [2, 2, 2, 2]
    assert {(way.engine, way.lanes) for way in zoo.record.cohorts} == {("lanes", 2)}


def test_groups_are_zoos_of_one_architecture(finished):
    groups = finished.groups
    assert {name: group.members["model"].tolist() for name, group in groups.items()} == {
        "cnn-s": [0, 1, 2, 3],
        "own": [4, 5, 6, 7],
    }
    own = groups["own"]
    assert own.groups == {"own": own}
    assert own.weights(1).shape == (4, 30 + 10 * 3 * 13 * 13 + 10)
    np.testing.assert_array_equal(own.weights(1, models=[5]), own.weights(1)[1:2])
    np.testing.assert_array_equal(own.weights(1, models=own.members["seed"] == 2), own.weights(1)[1::2])
    np.testing.assert_array_equal(finished.weights(1, models=[7, 4]), own.weights(1)[[3, 0]])
    assert finished.params(2, models=[4])["conv1"]["kernel"].shape == (1, 3, 3, 1, 3)
    assert own.metrics["model"].unique().tolist() == [4, 5, 6, 7]
    assert own.select(epochs=2).final().weights().shape[0] == 4
    assert finished.select(epochs=2, where="architecture == 'own'").weights().shape[0] == 4
    assert {*np.concatenate(own.split(0.5, 0.25, 0.25))} == {4, 5, 6, 7}
    for read in (lambda: finished.weights(1), lambda: finished.params(1, models=[0, 4]), lambda: finished.layout):
        with pytest.raises(InputError, match=r"2 architectures, expected models of one: zoo.groups has a zoo of each"):
            read()
    with pytest.raises(InputError, match=r"model is 0, expected 4..7"):
        own.weights(1, models=[0])


def test_models_are_evaluated_on_either_data_set(finished, data):
    own = finished.groups["own"]
    with pytest.raises(InputError, match="models were trained on 2 data sets, expected one of: black, white"):
        own.evaluate(own.weights(2), data_dir=data)
    for dataset in ("black", "white"):
        rows = own.members["dataset"] == dataset
        table = own.evaluate(own.weights(2), data_dir=data, dataset=dataset)
        recorded = own.metrics_at(2)["test_loss"]
        # float32 sums of 25 losses, in another order
        np.testing.assert_allclose(table["loss"][rows], recorded[rows], rtol=1e-5)
        assert not np.allclose(table["loss"][~rows], recorded[~rows], rtol=1e-2)
    some = finished.select(epochs=2, where="architecture == 'own' and dataset == 'white'")
    table = finished.evaluate(some, data_dir=data, dataset="white")
    np.testing.assert_allclose(table["loss"], some.table["test_loss"], rtol=1e-5)
    assert own.twins["magnitude"].members["model"].tolist() == [4, 5, 6, 7]
    images = finished.images(data, dataset="white")
    logits = jax.vmap(own.network_of(4).apply, (0, None))(own.variables(2), images.normalised("test", slice(3)))
    assert logits.shape == (4, 3, 10)
    with pytest.raises(InputError, match="2 data sets, expected one of: black, white"):
        finished.training_set()
    assert finished.training_set([2, 3]).seen.shape == (2, 4)


def test_a_member_is_the_same_in_a_zoo_of_its_own_kind(finished, data, tmp_path):
    """Law 3: company of other architectures and data sets changes no bit."""
    alone = spec_of(data, grid=Grid(activation="relu", initialization="torch_default", optimizer="adam",
                                    learning_rate=1e-2), architecture="own", datasets=())  # fmt: skip
    zoo = generate(alone, tmp_path / "alone", data_dir=data, twins=TwinSpec(method="magnitude", epochs=1), **WAY)
    for epoch in zoo.epochs:
        np.testing.assert_array_equal(zoo.weights(epoch), finished.weights(epoch, models=[4, 5]))
    twins = finished.twins["magnitude"]
    np.testing.assert_array_equal(zoo.twins["magnitude"].weights(1), twins.weights(1, models=[4, 5]))


def test_stopped_anywhere_it_ends_in_the_same_bits(finished, spec, data, tmp_path):
    for most in (2, 4, 9):
        saved = []

        def note(event, saved=saved):
            saved.extend([event] if isinstance(event, EpochSaved) else [])

        with pytest.raises(Interrupted):
            generate(
                spec,
                tmp_path / "mixed",
                data_dir=data,
                on_event=note,
                should_stop=lambda saved=saved, most=most: len(saved) >= most,
                **WAY,
            )
    assert_same(finished, generate(spec, tmp_path / "mixed", data_dir=data, **WAY))


def test_made_cohort_by_cohort_in_any_order_it_has_the_same_bits(finished, spec, data, tmp_path):
    """As machines do that share nothing; the record says of every cohort how it is trained."""
    count = len(finished.record.cohorts)
    for number in reversed(range(count)):
        zoo = generate(spec, tmp_path / "mixed", data_dir=data, cohorts=range(number, number + 1), **WAY)
    assert count == 4
    assert_same(finished, zoo)


def assert_same(finished, zoo):
    """Both zoos, and their twins by magnitude, have the same weights."""
    for whole, again in ((finished, zoo), (finished.twins["magnitude"], zoo.twins["magnitude"])):
        for epoch in whole.epochs:
            for name, group in whole.groups.items():
                np.testing.assert_array_equal(group.weights(epoch), again.groups[name].weights(epoch))


def test_twins_by_variational_dropout(finished, data):
    zoo = jaxzoo.make_twins(finished.path, TwinSpec(method="variational-dropout", epochs=1), data_dir=data)
    assert {*zoo.groups} == {"cnn-s", "own"}
    metrics = zoo.metrics_at(1)
    assert metrics["sparsity"].notna().all()
    assert metrics["sparsity_dense2"].notna().tolist() == [True] * 4 + [False] * 4
    before, parent = (each[0].weights(each[1], models=[6]) for each in ((zoo, 0), (finished, 2)))
    np.testing.assert_array_equal(before, np.where(before == 0, 0, parent))  # the smallest weights are zero at once
    assert 0 < (before == 0).mean() < 0.1
    assert [*jaxzoo.verify_zoo(finished.path, deep=True)] == []


def test_statistics_of_a_mixture_are_those_of_all_layers_and_of_its_ends(finished):
    states = finished.select(epochs=2)
    statistics = states_statistics(states)
    assert statistics.shape == (8, 6 * len(STATISTICS))
    for row, model in enumerate(states.table["model"]):
        params = jax.tree.map(lambda leaf: leaf[0], finished.params(2, models=[model]))
        every = [(name, kind, leaf.ravel()) for name, kinds in params.items() for kind, leaf in kinds.items()]
        last = [name for name in params if "kernel" in params[name]][-1]
        groups = [
            np.concatenate([leaf for _, kind, leaf in every if kind == "kernel"]),
            np.concatenate([leaf for _, kind, leaf in every if kind == "bias"]),
            *(params[name][kind].ravel() for name in ("conv1", last) for kind in ("kernel", "bias")),
        ]
        wanted = [(values.mean(), values.var(), np.median(values)) for values in groups]
        got = statistics[row].reshape(6, len(STATISTICS))[:, [0, 1, STATISTICS.index("p50")]]
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)  # float32 means against float64


def test_a_report_shows_a_mixture(finished, data):
    content = collect(finished, finished.images(data, dataset="black").normalised("test"), with_probe=False)
    assert content.facts["architecture"] == "2 architectures, 2,464 to 5,110 parameters"
    assert {"architecture", "dataset"} <= {*content.varying}
    assert np.isfinite(content.models[["x", "y"]].to_numpy()).all()
    assert any("several architectures" in note for note in content.notes)
    page = build_page(content)
    assert "2 architectures" in page


def test_one_architecture_is_exported(finished, tmp_path):
    with pytest.raises(InputError, match=r"expected models of one: zoo.groups has a zoo of each"):
        export_zoo(finished, tmp_path / "all", "numpy")
    with pytest.raises(InputError, match="models were trained on 2 data sets, expected one of: black, white"):
        export_zoo(finished.groups["own"], tmp_path / "all", "numpy")
    export_zoo(finished, tmp_path / "own", "numpy", where="architecture == 'own' and dataset == 'white'")
    (path, *_) = sorted((tmp_path / "own").rglob("*.npz"))
    assert (tmp_path / "own").is_dir()
    with np.load(path) as arrays:
        assert arrays.files
    (description, *_) = sorted((tmp_path / "own").rglob("*.json"))
    assert '"dataset": "white"' in description.read_text()


def drawn(data, models):
    draws = Draws(
        models=models,
        seed=3,
        activation="relu",
        initialization="torch_default",
        optimizer="adamw",
        learning_rate=1e-3,
        architecture=ChainDraw(depth=Integers(1, 2), width=Choice(2, 3), kernel=Choice(1, 3), skips=True),
    )
    return spec_of(data, grid=None, draws=draws, seeds=None, architectures=(), datasets=(), twins="none", epochs=1)


def test_drawn_architectures_are_extended(data, tmp_path):
    few = generate(drawn(data, 2), tmp_path / "grown", data_dir=data)
    weights = {model: few.weights(1, models=[model]) for model in (0, 1)}
    zoo = generate(drawn(data, 4), few.path, data_dir=data)
    assert len(zoo.members) == 4
    assert len(zoo.groups) == 4  # two of one kind would be one cohort where they are made together
    for model, before in weights.items():
        np.testing.assert_array_equal(zoo.weights(1, models=[model]), before)
    whole = generate(drawn(data, 4), tmp_path / "whole", data_dir=data)
    for model in range(4):
        np.testing.assert_array_equal(whole.weights(1, models=[model]), zoo.weights(1, models=[model]))
    assert zoo.metrics_at(1)["finite"].all()


def test_what_an_architecture_cannot_do_is_said_before_anything_starts(data, tmp_path):
    spec = spec_of(data)
    dropped = dataclasses.replace(spec, grid=dataclasses.replace(spec.grid, dropout=0.2))
    with pytest.raises(InputError, match=r"dropout is \(0.2,\), expected 0: own has none"):
        check_generate(dropped, tmp_path / "never")
    wider = Architecture(name="own", layers=(*OWN.layers[:-1], Dense(features=5), "activation", Dense("last", None)))
    generate(spec_of(data, epochs=1, twins="none"), tmp_path / "mixed", data_dir=data, models=4, **WAY)
    with pytest.raises(InputError, match="holds another zoo: architectures"):
        check_generate(spec_of(data, architectures=(wider,), epochs=1), tmp_path / "mixed", models=4)
