"""Diversity: known populations give the numbers that theory says; features against an obvious version."""

import itertools

import numpy as np
import pytest
from populations import small_spec, store_zoo
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from jaxzoo.analysis.diversity import (
    layer_weights,
    performance_quartiles,
    prediction_agreement,
    sample_pairs,
    twin_agreement,
    weight_distances,
)
from jaxzoo.analysis.features import layer_statistics, statistics_table
from jaxzoo.analysis.predict import predict_classes, predict_logits
from jaxzoo.errors import InputError
from jaxzoo.models.variables import variable_shapes
from jaxzoo.reading.layout import build_layout
from jaxzoo.spec.layers import LAYERS


def drawn_weights(architecture, models, seed=0):
    spec = small_spec(architecture)
    layout = build_layout(variable_shapes(LAYERS[architecture], spec.dataset)["params"])
    draws = np.random.default_rng(seed).standard_normal((models, layout[-1].columns.stop))
    return spec, layout, draws.astype(np.float32)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    spec = small_spec(seeds=10, epochs=2, activation=("tanh", "relu", "gelu"))
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", spec)


def test_predictions_are_those_of_each_models_flax_module(zoo):
    images = np.random.default_rng(0).standard_normal((7, 28, 28, 1)).astype(np.float32)
    models = [21, 3, 17, 9, *range(30)]
    logits = predict_logits(zoo, images, 2, models)
    for place, model in enumerate(models[:6]):
        params = {
            layer: {kind: leaf[0] for kind, leaf in kinds.items()} for layer, kinds in zoo.params(2, [model]).items()
        }
        wanted = zoo.network_of(model).apply({"params": params}, images)
        np.testing.assert_allclose(logits[place], wanted, rtol=1e-5, atol=1e-5)  # float32, sums of up to 200 terms
    np.testing.assert_array_equal(predict_classes(zoo, images, 2, models), logits.argmax(axis=-1))
    with pytest.raises(InputError, match=r"images are of shape \(7, 28, 28\), expected \(N, 28, 28, 1\)"):
        predict_logits(zoo, images[..., 0], 2)
    with pytest.raises(InputError, match=r"model is 30, expected 0\.\.29"):
        predict_logits(zoo, images, 2, [30])


def test_agreement_and_kappa_of_drawn_predictions_are_scikit_learns():
    draws = np.random.default_rng(1)
    classes = draws.choice(4, size=(6, 300), p=[0.5, 0.3, 0.15, 0.05])
    classes[1] = np.where(draws.random(300) < 0.6, classes[0], classes[1])
    found = prediction_agreement(classes, 4)
    for one, other in itertools.product(range(6), range(6)):
        assert found.agreement[one, other] == pytest.approx((classes[one] == classes[other]).mean(), abs=1e-12)
        assert found.kappa[one, other] == pytest.approx(cohen_kappa_score(classes[one], classes[other]), abs=1e-9)


def test_agreement_of_known_models():
    label = np.arange(1000) % 10
    alike, opposed, constant = label, (label + 5) % 10, np.zeros_like(label)
    found = prediction_agreement(np.stack([label, alike, opposed, constant, constant]), 10)
    assert (found.agreement[0, 1], found.kappa[0, 1]) == (1, 1)
    assert found.agreement[0, 2] == 0
    assert found.kappa[0, 2] == pytest.approx(-0.1 / 0.9)  # (0 - 1/10) / (1 - 1/10)
    assert found.agreement[0, 3] == pytest.approx(0.1)
    assert found.kappa[0, 3] == pytest.approx(0)
    assert np.isnan(found.kappa[3, 4])
    np.testing.assert_array_equal(twin_agreement(np.stack([label, label]), np.stack([alike, constant])), [1, 0.1])


def test_distances_of_known_models():
    draws = np.random.default_rng(0).standard_normal(500)
    weights = np.stack([draws, draws, -draws, 2 * draws, np.zeros(500)])
    pairs = np.array([[0, 1], [0, 2], [0, 3], [0, 4]])
    norm = np.linalg.norm(draws)
    found = weight_distances(weights, pairs)
    np.testing.assert_allclose(found.l2, [0, 2 * norm, norm, norm], rtol=1e-12)
    np.testing.assert_allclose(found.cosine, [0, 2, 0, np.nan], atol=1e-12)


def test_pairs_are_all_or_a_sample_without_repetition():
    assert sample_pairs(4, 100).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    some = sample_pairs(50, 100)
    assert len({tuple(pair) for pair in some}) == 100
    assert (some[:, 0] < some[:, 1]).all()
    with pytest.raises(InputError, match="there are 1 models, expected 2 or more to compare: n is too small"):
        sample_pairs(1, 10)


def test_statistics_of_layers_are_numpys_one_by_one():
    _, layout, weights = drawn_weights("cnn-s", 3)
    statistics = layer_statistics(layout, weights)
    assert statistics.shape == (3, 70)
    for state, row in enumerate(weights):
        for place, entry in enumerate(layout):
            values = row[entry.columns].astype(float)
            wanted = [values.mean(), values.var(), *(stats.scoreatpercentile(values, q) for q in (1, 25, 50, 75, 99))]
            np.testing.assert_allclose(statistics[state, 7 * place : 7 * place + 7], wanted, rtol=1e-12, atol=1e-15)
    table = statistics_table(layout, weights)
    np.testing.assert_array_equal(table["dense1_bias_p75"], statistics[:, 7 * 7 + 5])


def test_quartiles_and_layer_weights_are_those_of_the_table(zoo):
    metrics = zoo.metrics
    quartiles = performance_quartiles(metrics).set_index(["quantity", "epoch"])
    at_two = metrics[metrics["epoch"] == 2]
    gap = at_two["train_accuracy"] - at_two["test_accuracy"]
    np.testing.assert_allclose(quartiles.loc[("generalization_gap", 2)], np.quantile(gap, [0.25, 0.5, 0.75]), rtol=1e-6)
    table = layer_weights(zoo, [0, 2]).set_index(["epoch", "layer", "kind"])
    kernels = zoo.params(2)["conv2"]["kernel"].reshape(30, -1).astype(float)
    assert table.loc[(2, "conv2", "kernel"), "variance"] == pytest.approx(np.median(kernels.var(axis=1)))


def test_models_whose_predictions_are_not_finite_do_not_count(zoo):
    """A model that says nothing was taken for one that names the first class throughout."""
    label = np.arange(100) % 10
    silent = np.where(label == 3, -1, label)
    found = prediction_agreement(np.stack([label, silent, label]), 10)
    assert np.isnan(found.agreement[1]).all()
    assert np.isnan(found.agreement[:, 1]).all()
    assert np.isnan(found.kappa[0, 1])
    assert found.agreement[0, 2] == found.kappa[0, 2] == 1
    np.testing.assert_array_equal(twin_agreement(np.stack([label, silent]), np.stack([label, silent])), [1, np.nan])
    metrics = zoo.metrics
    broken = metrics.copy()
    at_two = (broken["epoch"] == 2).to_numpy()
    broken.loc[at_two & (broken["model"] == 4), ["test_accuracy", "test_loss"]] = [0.0, np.nan]
    broken.loc[at_two & (broken["model"] == 5), ["validation_accuracy", "finite"]] = [0.0, False]
    quartiles = performance_quartiles(broken).set_index(["quantity", "epoch"])
    rest = metrics[at_two & ~metrics["model"].isin([4, 5])]
    wanted = np.quantile(rest["test_accuracy"], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles.loc[("test_accuracy", 2)], wanted, rtol=1e-6)
    without_five = metrics[at_two & (metrics["model"] != 5)]["validation_accuracy"]
    wanted = np.quantile(without_five, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles.loc[("validation_accuracy", 2)], wanted, rtol=1e-6)
