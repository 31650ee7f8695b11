"""Permutations: a network whose units change places computes the same; with any axis left out it does not."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import SHAPES, small_spec

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.models.networks import Network
from jaxzoo.models.permutations import PermutationSpec, permutations_of
from jaxzoo.models.permute import permute
from jaxzoo.models.variables import each_leaf
from jaxzoo.spec.layers import (
    LAYERS,
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    LayerNorm,
    MaxPool,
    MeanPool,
    Residual,
    Save,
)

CLASSES = 5
RESNET_GROUPS = (
    *("conv1", "layer1_0_conv1", "layer1_1_conv1"),
    *(f"layer{stage}_{name}" for stage in (2, 3, 4) for name in ("0_conv1", "0_conv2", "1_conv1")),
)
RESNET_SIZES = np.repeat([1, 2, 4, 8], 3)
GROUPS = {
    "cnn-s": {"conv1": 8, "conv2": 6, "conv3": 4, "dense1": 20},
    "cnn-l": {"conv1": 16, "conv2": 32, "conv3": 15, "dense1": 20},
    "resnet-18": dict(zip(RESNET_GROUPS, 64 * RESNET_SIZES, strict=True)),
    "resnet-18-narrow": dict(zip(RESNET_GROUPS, 8 * RESNET_SIZES, strict=True)),
    "small-cnn-zoo": {"conv1": 16, "conv2": 16, "conv3": 16},
}
END = (MeanPool(), Dense("end", None))
# what no architecture has: (layers, shape of an image, groups)
OTHERS = {
    "dense layers": ((Flatten(), Dense("one", 7), Activation(), Dense("end", None)), (3, 4, 2), {"one": 7}),
    "maps of unequal sides": (
        (Conv("one", 3, 4), MaxPool(), Activation(), Flatten(), Dense("two", 6), Activation(), Dense("end", None)),
        (8, 12, 2),
        {"one": 4, "two": 6},
    ),
    "a kernel with its units on both sides": (
        (Conv("one", 3, 4), Activation(), Residual((Conv("two", 3, 4, padding=1),), ()), Activation(), *END),
        (6, 6, 2),
        {"one": 4},
    ),
    "normalised layers and a skip": (
        (
            *(Conv("one", 3, 4), LayerNorm("two"), Save("a"), Activation(), Conv("three", 3, 4, padding=1), Add("a")),
            *(Flatten(), LayerNorm("four"), Dense("five", 6), LayerNorm("six"), Activation(), Dense("end", None)),
        ),
        (6, 6, 2),
        {"one": 4, "five": 6},
    ),
    "a skip to some channels": (
        (
            *(Conv("one", 3, 4), Save("a"), Activation(), Conv("two", 1, 6), Add("a", "common"), Activation()),
            *(Conv("three", 1, 3), Activation(), *END),
        ),
        (6, 6, 2),
        {"three": 3},
    ),
    "a sum with the image": ((Residual((Conv("one", 3, 2, padding=1),), ()), Activation(), *END), (6, 6, 2), {}),
    "a sum with the classes": ((Conv("one", 3, 5), MeanPool(), Residual((Dense("end", None),), ())), (6, 6, 2), {}),
    "a sum of flattened maps": (
        (
            *(Conv("one", 3, 4), Activation(), Flatten(), Residual((Dense("two", 64), Activation()), ())),
            *(Activation(), Dense("end", None)),
        ),
        (6, 6, 2),
        {"one": 4},
    ),
    "a residual in a residual": (
        (
            *(Conv("one", 3, 4), Activation()),
            Residual((Conv("two", 1, 6), BatchNorm("norm"), Residual((Activation(),), ())), (Conv("three", 1, 6),)),
            *(Activation(), *END),
        ),
        (6, 6, 2),
        {"one": 4, "two": 6},
    ),
}


def case(name):
    """Layers, the shape of an image, and the groups that are expected. ResNets also take small images."""
    if name in OTHERS:
        return OTHERS[name]
    size, channels = (8, 3) if name.startswith("resnet") else SHAPES[name]
    return LAYERS[name], (size, size, channels), GROUPS[name]


def drawn_variables(spec, seed=0, axes=()):
    """Variables with no two numbers alike, statistics included, so large that logits are near 1."""
    draws = np.random.default_rng(seed)
    variables = {}
    for (collection, layer, kind), shape in each_leaf(spec.shapes):
        if kind in ("scale", "var"):
            leaf = draws.uniform(0.5, 2, (*axes, *shape))
        else:
            leaf = draws.standard_normal((*axes, *shape)) / np.sqrt(max(np.prod(shape[:-1]), 4))
        variables.setdefault(collection, {}).setdefault(layer, {})[kind] = leaf.astype(np.float32)
    return variables


def drawn_orders(spec, seed=3, axes=()):
    draws = np.random.default_rng(seed)
    sizes = {name: group.size for name, group in spec.groups.items()}
    return {
        name: draws.permuted(np.broadcast_to(np.arange(size), (*axes, size)), axis=-1) for name, size in sizes.items()
    }


def assert_same(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    others = dict(each_leaf(wanted))  # JAX sorts names
    for path, leaf in each_leaf(got):
        np.testing.assert_array_equal(leaf, others[path], err_msg=str(path))


@pytest.mark.parametrize("name", [*LAYERS, *OTHERS])
def test_groups_are_the_units_that_move_together(name):
    layers, image, groups = case(name)
    spec = permutations_of(layers, CLASSES, image)
    assert {group: found.size for group, found in spec.groups.items()} == groups


@pytest.mark.parametrize("name", LAYERS)
def test_all_axes_but_those_of_pixels_images_and_classes_are_permuted(name):
    spec = jaxzoo.permutation_spec(small_spec(name))
    found = [(axis.collection, *axis.path, axis.axis) for group in spec.groups.values() for axis in group.axes]
    assert len(found) == len({*found})
    first, last = "conv1", {"cnn-s": "dense2", "cnn-l": "dense2", "small-cnn-zoo": "dense"}.get(name, "fc")
    wanted = {
        (*path, axis) for path, shape in each_leaf(spec.shapes) for axis in range(max(len(shape) - 2, 0), len(shape))
    }
    fixed = {("params", first, "kernel", 2), ("params", last, "kernel", 1), ("params", last, "bias", 0)}
    assert {*found} == wanted - fixed


@pytest.mark.parametrize("name", [*[name for name in LAYERS if name != "resnet-18"], *OTHERS])
def test_a_permuted_model_computes_the_same_and_the_inverse_orders_undo_it(name):
    layers, image, _ = case(name)
    spec = permutations_of(layers, CLASSES, image)
    variables, orders = drawn_variables(spec), drawn_orders(spec)
    moved = permute(variables, orders, spec)
    images = np.random.default_rng(2).standard_normal((6, *image)).astype(np.float32)
    logits = [Network(layers, CLASSES, "tanh").apply(each, images) for each in (variables, moved)]
    assert np.std(logits[0], axis=0).min() > 1e-3
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)  # float32: sums of up to 576 terms in another order
    assert all((order != np.arange(order.size)).any() for order in orders.values())
    assert_same(permute(moved, {group: np.argsort(order) for group, order in orders.items()}, spec), variables)


@pytest.mark.parametrize("name", ["cnn-s", "resnet-18-narrow"])
def test_every_single_axis_is_needed(name):
    """With one axis left out of the spec, a permuted model computes something else."""
    layers, image, _ = case(name)
    spec = permutations_of(layers, CLASSES, image)
    variables = drawn_variables(spec)
    images = np.random.default_rng(2).standard_normal((6, *image)).astype(np.float32)
    apply = jax.jit(Network(layers, CLASSES, "relu").apply)
    wanted = apply(variables, images)
    for group, found in spec.groups.items():
        order = {group: np.roll(np.arange(found.size), 1)}
        for axis in found.axes:
            rest = found._replace(axes=tuple(other for other in found.axes if other != axis))
            moved = permute(variables, order, spec._replace(groups={group: rest}))
            assert np.abs(apply(moved, images) - wanted).max() > 1e-3, axis


def test_stacks_are_permuted_model_by_model_and_one_model_in_many_orders():
    spec = permutations_of(*case("resnet-18-narrow")[:1], CLASSES, (8, 8, 3))
    variables, orders = drawn_variables(spec, axes=(2, 3)), drawn_orders(spec, axes=(2, 3))

    def at(tree, index):
        return jax.tree.map(lambda leaf: leaf[index], tree)

    together = permute(variables, orders, spec)
    for index in np.ndindex(2, 3):
        assert_same(at(together, index), permute(at(variables, index), at(orders, index), spec))
    one = at(variables, (0, 0))
    many = permute(one, at(orders, 1), spec)
    assert_same(at(many, 2), permute(one, at(orders, (1, 2)), spec))
    shared = at(orders, (0, 1))
    assert_same(at(permute(variables, shared, spec), (1, 1)), permute(at(variables, (1, 1)), shared, spec))
    some = {"layer2_0_conv2": orders["layer2_0_conv2"][:, :1]}
    left = permute(variables, some, spec)
    np.testing.assert_array_equal(left["params"]["conv1"]["kernel"], variables["params"]["conv1"]["kernel"])
    np.testing.assert_array_equal(
        left["batch_stats"]["layer2_0_downsample_1"]["var"][1, 2],
        variables["batch_stats"]["layer2_0_downsample_1"]["var"][1, 2][some["layer2_0_conv2"][1, 0]],
    )
    params = permute(variables["params"], orders, spec)
    assert_same(params, together["params"])


def test_arrays_stay_those_of_their_library_and_the_call_can_be_compiled():
    spec = jaxzoo.permutation_spec(small_spec("cnn-s"))
    variables, orders = drawn_variables(spec, axes=(2,)), drawn_orders(spec, axes=(2,))
    wanted = permute(variables, orders, spec)
    assert all(isinstance(leaf, np.ndarray) for _, leaf in each_leaf(wanted))
    on_device = jax.tree.map(jnp.asarray, variables)
    with jax.transfer_guard("disallow"):
        moved = permute(on_device, orders, spec)
    assert all(isinstance(leaf, jax.Array) for _, leaf in each_leaf(moved))
    assert_same(moved, wanted)
    assert_same(jax.jit(lambda tree: permute(tree, orders, spec))(on_device), wanted)


def permute_by_json(params, orders, values):
    """One model's parameters, moved by what the JSON says, as somebody without jaxzoo would."""
    moved = {name: leaf.copy() for name, leaf in params.items()}
    for group, order in orders.items():
        size = values["groups"][group]["size"]
        for axis in values["groups"][group]["axes"]:
            entries = [r * size + unit for r in range(axis["repeats"]) for unit in order]
            moved[axis["parameter"]] = moved[axis["parameter"]].take(entries, axis["axis"])
    return moved


def test_json_says_it_all_and_comes_back():
    spec = jaxzoo.permutation_spec(small_spec("cnn-s"))
    values = json.loads(json.dumps(spec.to_json()))
    assert PermutationSpec.from_json(values) == spec
    assert values["architecture"] == "cnn-s"
    assert values["shapes"]["params"]["dense1"] == {"kernel": [36, 20], "bias": [20]}
    assert values["groups"]["conv3"] == {
        "size": 4,
        "axes": [
            {"collection": "params", "parameter": "conv3/kernel", "axis": 3, "repeats": 1},
            {"collection": "params", "parameter": "conv3/bias", "axis": 0, "repeats": 1},
            {"collection": "params", "parameter": "dense1/kernel", "axis": 0, "repeats": 9},
        ],
    }
    params, orders = drawn_variables(spec)["params"], drawn_orders(spec)
    by_path = {"/".join(path): leaf for path, leaf in each_leaf(params)}
    for path, leaf in each_leaf(permute(params, orders, spec)):
        np.testing.assert_array_equal(leaf, permute_by_json(by_path, orders, values)["/".join(path)])
    resnet = jaxzoo.permutation_spec(small_spec("resnet-18"))
    assert PermutationSpec.from_json(json.loads(json.dumps(resnet.to_json()))) == resnet
    for strange in ({}, {**values, "groups": []}, {**values, "shapes": {"params": 3}}):
        with pytest.raises(InputError, match=r"^got .*, expected what PermutationSpec\.to_json gives$"):
            PermutationSpec.from_json(strange)


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ({"conv4": [0]}, "orders has 'conv4', expected groups of the spec: conv3, conv2, conv1"),
        ({"conv3": [0, 1, 2]}, r"the order of conv3 is int64 of shape \(3,\), expected whole numbers .*, 4\)"),
        ({"conv3": 3}, r"the order of conv3 is int64 of shape \(\), expected"),
        ({"conv3": [0.0, 1.0, 2.0, 3.0]}, r"the order of conv3 is float64 of shape \(4,\), expected"),
        ({"conv3": [[0, 1], [2]]}, "the order of conv3 is object of shape"),
        ({"conv3": [0, 1, 2, 2]}, r"the order of conv3 is no permutation, expected each of 0\.\.3 once"),
        ({"conv3": [1, 2, 3, 4]}, "the order of conv3 is no permutation"),
        ({"conv3": [[0, 1, 2, 3], [0, 1, 2, -1]]}, "the order of conv3 is no permutation"),
        ({"conv3": [[0, 1, 2, 3]] * 3}, r"the orders of conv3 are \(3,\), expected ones that fit models of \(2,\)"),
    ],
)
def test_orders_that_are_none_are_one_line(orders, message):
    spec = jaxzoo.permutation_spec(small_spec("cnn-s"))
    with pytest.raises(InputError, match=f"^{message}"):
        permute(drawn_variables(spec, axes=(2,)), orders, spec)


def test_other_variables_than_the_specs_are_one_line():
    spec = jaxzoo.permutation_spec(small_spec("cnn-s"))
    params = drawn_variables(spec)["params"]
    order = {"conv3": [3, 2, 1, 0]}
    for strange, message in [
        ({**params, "conv4": params["conv3"]}, "params/conv4/bias is no variable of these networks, expected .* cnn-s"),
        ({name: params[name] for name in params if name != "conv3"}, "params/conv3/bias is missing"),
        ({**params, "conv3": {**params["conv3"], "bias": np.zeros(5)}}, r"of shape \(5,\), expected \(\.\.\., 4\)"),
        ({**params, "conv3": {**params["conv3"], "bias": np.float32(3)}}, r"of shape \(\), expected \(\.\.\., 4\)"),
        (
            {**params, "conv3": {**params["conv3"], "bias": np.zeros((7, 4))}},
            r"params/conv1/kernel is \(\) and .*conv3/bias is \(7,\), expected variables of the same models",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            permute(strange, order, spec)
    with pytest.raises(InputError, match=r"^batch_stats/conv3/bias is no variable"):
        permute({"params": params, "batch_stats": {"conv3": {"bias": np.zeros(4)}}}, order, spec)
    with pytest.raises(InputError, match="got a str, expected a zoo, or a ZooSpec"):
        jaxzoo.permutation_spec("zoos/digits")
