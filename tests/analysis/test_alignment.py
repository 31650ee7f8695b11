"""Alignment: shuffled models are found back exactly, and no model is led away from its target."""

import jax.numpy as jnp
import numpy as np
import pytest
from populations import small_spec

import jaxzoo
from jaxzoo.analysis.alignment import Alignment
from jaxzoo.analysis.diversity import aligned_distances, sample_pairs, weight_distances
from jaxzoo.errors import InputError
from jaxzoo.models.networks import build_network
from jaxzoo.models.permutations import permutations_of
from jaxzoo.models.variables import variable_shapes
from jaxzoo.reading.layout import build_layout, flatten, layout_width, unflatten
from jaxzoo.spec.layers import Activation, Conv, Dense, MeanPool, Residual


def drawn_weights(architecture, models, seed=0):
    """A spec, the layouts of its collections, and drawn weights (models, D)."""
    spec = small_spec(architecture)
    layouts = {name: build_layout(tree) for name, tree in variable_shapes(spec.layers, spec.dataset).items()}
    draws = np.random.default_rng(seed).standard_normal((models, layout_width(layouts["params"])))
    return spec, layouts, draws.astype(np.float32)


def drawn_orders(spec, models, seed=0):
    draws = np.random.default_rng(seed)
    groups = jaxzoo.permutation_spec(spec).groups
    return {name: np.stack([draws.permutation(group.size) for _ in range(models)]) for name, group in groups.items()}


def permuted(spec, layout, weights, orders):
    params = jaxzoo.permute(unflatten(layout, weights), orders, jaxzoo.permutation_spec(spec))
    return flatten(layout, params)


@pytest.mark.parametrize("architecture", ["cnn-s", "cnn-l", "resnet-18-narrow"])
def test_a_model_with_its_units_shuffled_aligns_to_nothing(architecture):
    spec, layouts, weights = drawn_weights(architecture, 3)
    shuffled = permuted(spec, layouts["params"], weights, drawn_orders(spec, 3))
    pairs = np.array([[0, 3], [1, 4], [2, 5]])
    both = np.concatenate([weights, shuffled])
    assert weight_distances(both, pairs).l2.min() > 10
    np.testing.assert_array_equal(aligned_distances(Alignment.of(spec), both, pairs).l2, 0)


def test_the_orders_bring_a_shuffled_resnet_back_with_its_statistics():
    spec, layouts, weights = drawn_weights("resnet-18-narrow", 2)
    draws = np.random.default_rng(1)
    statistics = draws.uniform(0.5, 2, (2, layout_width(layouts["batch_stats"]))).astype(np.float32)
    rows = {"params": weights, "batch_stats": statistics}
    variables = {name: unflatten(layout, rows[name]) for name, layout in layouts.items()}
    permutations, orders = jaxzoo.permutation_spec(spec), drawn_orders(spec, 2)
    shuffled = jaxzoo.permute(variables, orders, permutations)
    match = Alignment(permutations).match(weights, flatten(layouts["params"], shuffled["params"]))
    for name, order in match.orders.items():  # from the shuffled back to the original
        np.testing.assert_array_equal(np.take_along_axis(orders[name], order, axis=-1), [[*range(order.shape[-1])]] * 2)
    back = jaxzoo.permute(shuffled, match.orders, permutations)
    for name, layout in layouts.items():
        assert (flatten(layout, shuffled[name]) != rows[name]).any()
        np.testing.assert_array_equal(flatten(layout, back[name]), rows[name])
    np.testing.assert_array_equal(match.aligned, weights)


@pytest.mark.parametrize(("architecture", "models"), [("cnn-s", 12), ("resnet-18-narrow", 4)])
def test_aligned_models_are_never_farther_apart(architecture, models):
    spec, layouts, weights = drawn_weights(architecture, models)
    alignment = Alignment.of(spec)
    pairs = sample_pairs(models, 66)
    before, after = weight_distances(weights, pairs), aligned_distances(alignment, weights, pairs)
    assert (after.l2 < before.l2).all()  # of unlike models some units always fit better elsewhere
    for pair, distance in zip(pairs, after.l2, strict=True):
        moved, orders = alignment.match(weights[pair[0]], weights[pair[1]])
        np.testing.assert_array_equal(permuted(spec, layouts["params"], weights[pair[1]], orders), moved)
        assert distance == pytest.approx(np.linalg.norm(weights[pair[0]].astype(float) - moved), rel=1e-6)


def test_an_aligned_resnet_computes_what_it_did():
    spec, layouts, weights = drawn_weights("resnet-18-narrow", 2)
    weights = weights / 10
    aligned = Alignment.of(spec).match(*weights).aligned
    images = np.random.default_rng(3).standard_normal((4, 8, 8, 3)).astype(np.float32)
    # the same statistics of every channel, which need not move
    statistics = unflatten(layouts["batch_stats"], np.ones(layout_width(layouts["batch_stats"]), np.float32))
    params = [unflatten(layouts["params"], row) for row in (weights[1], aligned)]
    logits = [build_network(spec).apply({"params": each, "batch_stats": statistics}, images) for each in params]
    assert (aligned != weights[1]).any()
    np.testing.assert_allclose(*logits, rtol=1e-3, atol=1e-5)  # float32: sums of up to 576 terms in another order


def test_a_kernel_with_its_units_on_both_sides_never_leads_away():
    """Its inner product is quadratic in the order, and a descent may lead away from the target."""
    layers = (
        *(Conv("one", 1, 4), Activation(), Residual((Conv("two", 3, 4, padding=1),), ()), Activation()),
        *(MeanPool(), Dense("end", None)),
    )
    spec = permutations_of(layers, 3, (6, 6, 1))
    layout = build_layout(spec.shapes["params"])
    weights = np.random.default_rng(0).standard_normal((2, 100, layout_width(layout))).astype(np.float32)
    match = Alignment(spec).match(*weights)
    before, after = (np.linalg.norm(weights[0] - rows, axis=1) for rows in (weights[1], match.aligned))
    assert (after <= before).all()
    moved = jaxzoo.permute(unflatten(layout, weights[1]), match.orders, spec)
    np.testing.assert_array_equal(flatten(layout, moved), match.aligned)


def test_a_stack_is_matched_model_by_model_and_the_orders_say_how():
    spec, layouts, weights = drawn_weights("cnn-s", 4)
    alignment = Alignment.of(spec)
    one = [alignment.match(weights[0], row) for row in weights]
    for target, models in ((weights[0], weights), (jnp.asarray(weights[0]), jnp.asarray(weights))):
        aligned, orders = alignment.match(target, models)
        assert aligned.shape == weights.shape
        assert {name: order.shape for name, order in orders.items()} == {
            name: (4, units) for name, units in (("conv1", 8), ("conv2", 6), ("conv3", 4), ("dense1", 20))
        }
        np.testing.assert_array_equal(aligned, np.stack([each.aligned for each in one]))
        np.testing.assert_array_equal(permuted(spec, layouts["params"], weights, orders), aligned)
    two = alignment.match(weights[:2].reshape(2, 1, -1), weights.reshape(2, 2, -1))
    assert two.aligned.shape == (2, 2, 2464)
    np.testing.assert_array_equal(two.aligned[0], aligned[:2])
    np.testing.assert_array_equal(two.orders["conv2"][0], orders["conv2"][:2])


@pytest.mark.parametrize(
    ("target", "weights", "message"),
    [
        (np.zeros(2464), np.zeros(10), r"weights is float64 of shape \(10,\), expected numbers \(\.\.\., 2464\)"),
        (np.zeros(10), np.zeros(2464), r"target is float64 of shape \(10,\), expected numbers \(\.\.\., 2464\)"),
        (np.zeros((3, 2464)), np.zeros((2, 2464)), "expected one target, or one for each model"),
        (np.zeros(2464), np.full((2, 2464), np.nan), "weights has numbers that are not finite"),
        (np.zeros(2464), np.zeros((0, 2464)), "expected numbers"),
    ],
)
def test_what_cannot_be_matched_is_one_line(target, weights, message):
    with pytest.raises(InputError, match=message):
        Alignment.of(small_spec("cnn-s")).match(target, weights)


def test_a_layout_alone_says_no_permutations():
    with pytest.raises(InputError, match="got a tuple, expected a zoo, or a ZooSpec"):
        Alignment.of(drawn_weights("cnn-s", 1)[1]["params"])
