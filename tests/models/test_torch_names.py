"""Variables as state dicts of PyTorch: names, order, shapes and values, there and back, and what a state dict is of."""

import numpy as np
import pytest
from populations import SHAPES, draw_leaves

from jaxzoo.errors import InputError
from jaxzoo.models.torch_names import (
    SIZES,
    counts_dropout,
    find_architecture,
    state_of_variables,
    torch_entries,
    variables_of_state,
)
from jaxzoo.models.variables import each_leaf, network_shapes
from jaxzoo.spec.layers import LAYERS, Activation, BatchNorm, Conv, Dense, Dropout, MeanPool
from jaxzoo.spec.shapes import shape_after

MODELS, CLASSES = 3, 10
POSITIONS = {
    ("cnn-s", False): (0, 3, 6, 9, 11),
    ("cnn-s", True): (0, 4, 8, 11, 14),
    ("cnn-l", True): (0, 4, 8, 13, 16),
}
CASES = [*POSITIONS, ("resnet-18-narrow", False)]
BLOCK = ("conv1", "bn1", "conv2", "bn2")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def image_of(architecture):
    size, channels = SHAPES[architecture]
    return size, size, channels


def entries_of(architecture, counted):
    return torch_entries(LAYERS[architecture], CLASSES, image_of(architecture), counts_dropout=counted)


def drawn_variables(architecture):
    shapes = network_shapes(LAYERS[architecture], CLASSES, image_of(architecture))
    draws = np.random.default_rng(0)
    return {collection: draw_leaves(draws, MODELS, tree) for collection, tree in shapes.items()}


@pytest.mark.parametrize(("architecture", "counted"), POSITIONS)
def test_tensors_of_a_chain_are_named_by_the_position_of_their_layer(architecture, counted):
    wanted = [f"module_list.{n}.{kind}" for n in POSITIONS[architecture, counted] for kind in ("weight", "bias")]
    assert [entry.name for entry in entries_of(architecture, counted)] == wanted


@pytest.mark.parametrize("architecture", ["resnet-18", "resnet-18-narrow"])
def test_tensors_of_a_resnet_have_the_names_and_the_order_of_torchvision(architecture):
    modules = ["conv1", "bn1"]
    for stage in range(1, 5):
        modules += [f"layer{stage}.0.{name}" for name in BLOCK]
        modules += [f"layer{stage}.0.downsample.{n}" for n in (0, 1)] if stage > 1 else []
        modules += [f"layer{stage}.1.{name}" for name in BLOCK]
    wanted = []
    for module in modules:
        is_norm = "bn" in module or module.endswith("downsample.1")
        wanted += [f"{module}.{kind}" for kind in (NORM if is_norm else ("weight",))]
    wanted += ["fc.weight", "fc.bias"]
    assert [entry.name for entry in entries_of(architecture, False)] == wanted


@pytest.mark.parametrize(
    ("architecture", "rate", "counted"),
    [("cnn-s", 0.0, False), ("cnn-s", 0.1, True), ("cnn-l", 0.0, True), ("cnn-l", 0.1, True)],
)
def test_dropout_counts_as_in_the_original(architecture, rate, counted):
    assert counts_dropout(LAYERS[architecture], rate) is counted


@pytest.mark.parametrize("architecture", LAYERS)
@pytest.mark.parametrize("pixels", [(28, 28), (32, 45)])
def test_every_variable_has_one_tensor_and_its_own_shape(architecture, pixels):
    image = (*pixels, 3)
    entries = torch_entries(LAYERS[architecture], CLASSES, image, counts_dropout=True)
    held = [((entry.collection, *entry.path), entry.flax_shape) for entry in entries if entry.collection]
    assert len(held) == len(dict(held))
    assert dict(held) == dict(each_leaf(network_shapes(LAYERS[architecture], CLASSES, image)))


def test_a_custom_chain_may_have_strides_paddings_and_no_bias_and_may_average():
    layers = (Conv("a", 3, 5, 2, 1, bias=False), Activation(), MeanPool(), Dropout(0), Dense("b", None))
    entries = torch_entries(layers, CLASSES, (9, 9, 1), counts_dropout=False)
    shapes = {entry.name: entry.shape for entry in entries}
    assert shapes == {
        "module_list.0.weight": (5, 1, 3, 3),
        "module_list.3.weight": (10, 5),
        "module_list.3.bias": (10,),
    }
    normed = (Conv("a_0", 3, 5, bias=False), BatchNorm("a_1"), MeanPool(), Dense("b", None))
    names = [entry.name for entry in torch_entries(normed, CLASSES, (9, 9, 1), counts_dropout=False)]
    assert names == ["a.0.weight", *(f"a.1.{kind}" for kind in NORM), "b.weight", "b.bias"]


@pytest.mark.parametrize(("architecture", "counted"), CASES)
def test_variables_come_back_bit_for_bit(architecture, counted):
    entries, variables = entries_of(architecture, counted), drawn_variables(architecture)
    state = state_of_variables(entries, variables, 7)
    assert [*state] == [entry.name for entry in entries]
    assert all(state[entry.name].shape == (MODELS, *entry.shape) for entry in entries)
    back = dict(each_leaf(variables_of_state(entries, state)))
    leaves = dict(each_leaf(variables))
    assert back.keys() == leaves.keys()
    for path, leaf in leaves.items():
        assert back[path].dtype == leaf.dtype
        assert back[path].shape == leaf.shape
        assert back[path].tobytes() == leaf.tobytes(), path
    counts = [state[entry.name] for entry in entries if entry.collection is None]
    assert all(count.dtype == np.int64 and (count == 7).all() for count in counts)


def test_axes_go_where_pytorch_has_them():
    entries, params = entries_of("cnn-s", False), drawn_variables("cnn-s")["params"]
    state = state_of_variables(entries, {"params": params}, 0)
    for model, o, i, y, x in ((0, 5, 7, 0, 4), (2, 1, 0, 3, 2)):  # outputs, inputs, height, width
        assert state["module_list.3.weight"][model, o, i, y, x] == params["conv2"]["kernel"][model, y, x, i, o]
    for model, o, c, y, x in ((0, 19, 3, 0, 1), (2, 4, 1, 2, 0)):  # 4 channels of 3 x 3 pixels before the first dense
        column = state["module_list.9.weight"][model, o, c * 9 + y * 3 + x]
        assert column == params["dense1"]["kernel"][model, y * 12 + x * 4 + c, o]
    np.testing.assert_array_equal(state["module_list.11.weight"][1], params["dense2"]["kernel"][1].T)


def changed(state, name, array):
    return {each: leaf for each, leaf in (state | {name: array}).items() if leaf is not None}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("module_list.9.bias", None, "module_list.9.bias is missing, expected (models, 20)"),
        (
            "fc.bias",
            np.zeros((MODELS, 10)),
            "fc.bias is unexpected, of shape (3, 10); "
            "expected the 10 tensors module_list.0.weight to module_list.11.bias",
        ),
        (
            "module_list.9.weight",
            np.zeros((MODELS, 20, 64)),
            "module_list.9.weight is of shape (3, 20, 64), expected (models, 20, 36)",
        ),
        ("module_list.9.bias", np.zeros(()), "module_list.9.bias is of shape (), expected (models, 20)"),
        (
            "module_list.9.bias",
            np.zeros((2, 20)),
            "module_list.9.bias is of 2 models, expected 3 as module_list.0.weight is",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(name, array, message):
    entries = entries_of("cnn-s", False)
    state = changed(state_of_variables(entries, drawn_variables("cnn-s"), 0), name, array)
    with pytest.raises(InputError) as error:
        variables_of_state(entries, state)
    assert str(error.value) == message


def test_variables_that_do_not_fit_are_refused():
    variables = drawn_variables("cnn-s")
    del variables["params"]["dense1"]["bias"]
    with pytest.raises(InputError, match=r"^params dense1 bias is missing, expected \(models, 20\)$"):
        state_of_variables(entries_of("cnn-s", False), variables, 0)


def fits(architecture, size):
    try:
        shape_after(LAYERS[architecture], (size, size, 1), 10)
    except InputError:
        return False
    return True


FOUND = [(*case, size) for case in (*CASES, ("resnet-18", False)) for size in SIZES if fits(case[0], size)]


@pytest.mark.parametrize(("architecture", "counted", "size"), FOUND)
def test_the_architecture_is_found(architecture, counted, size):
    entries = torch_entries(LAYERS[architecture], 7, (size, size, 2), counts_dropout=counted)
    shapes = {entry.name: entry.shape for entry in reversed(entries)}
    found = find_architecture(shapes, [size])
    assert found == (architecture, (size, size, 2), 7, counted)
    assert found.entries() == entries
    guessed = find_architecture(shapes)
    # a ResNet averages over positions: its weights do not say the size
    assert guessed == (found if architecture.startswith("cnn") else found._replace(image=(32, 32, 2)))


@pytest.mark.parametrize(
    ("shapes", "begin"),
    [
        ({}, "a state dict of 0 tensors"),
        (
            {"fc.weight": (2, 3)},
            "a state dict of 1 tensors (the first: fc.weight (2, 3)) fits no architecture for images",
        ),
        ({entry.name: () for entry in entries_of("cnn-s", True)}, "a state dict of 10 tensors"),
    ],
)
def test_an_unknown_architecture_is_refused(shapes, begin):
    with pytest.raises(InputError) as error:
        find_architecture(shapes)
    assert str(error.value).startswith(begin)
    assert str(error.value).endswith("expected one of: cnn-s, cnn-l, resnet-18, resnet-18-narrow, small-cnn-zoo")
