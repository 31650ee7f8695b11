"""Flattened parameters: any depth of nesting, any names, and nothing is dropped without a word."""

import numpy as np
import pytest

from jaxzoo.errors import InputError
from jaxzoo.models.variables import variable_shapes
from jaxzoo.reading.layout import build_layout, flatten, layout_width, unflatten
from jaxzoo.spec.config import load_spec

SHAPES = {"encoder": {"block.0": {"conv": {"kernel": (2, 3)}}, "gate": (4,)}, "temperature": ()}


def params_of(rows):
    draws = np.random.default_rng(rows)
    gate, kernel = draws.standard_normal((rows, 4)), draws.standard_normal((rows, 2, 3))
    nested = {"gate": gate, "block.0": {"conv": {"kernel": kernel}}}
    return {"temperature": draws.standard_normal(rows), "encoder": nested}


def test_nested_parameters_go_to_rows_and_back():
    layout = build_layout(SHAPES)
    assert [entry.path for entry in layout] == [
        ("encoder", "block.0", "conv", "kernel"), ("encoder", "gate"), ("temperature",)
    ]  # fmt: skip
    assert [(entry.layer, entry.kind) for entry in layout] == [
        ("encoder/block.0/conv", "kernel"), ("encoder", "gate"), ("", "temperature")
    ]  # fmt: skip
    params = params_of(5)
    rows = flatten(layout, params)
    assert rows.shape == (5, layout_width(layout)) == (5, 11)
    np.testing.assert_array_equal(rows[:, :6], params["encoder"]["block.0"]["conv"]["kernel"].reshape(5, 6))
    np.testing.assert_array_equal(rows[:, 10], params["temperature"])
    back = unflatten(layout, rows)
    np.testing.assert_array_equal(back["encoder"]["gate"], params["encoder"]["gate"])
    np.testing.assert_array_equal(flatten(layout, back), rows)


def test_a_parameter_without_a_column_is_refused():
    params = params_of(2)
    params["encoder"]["extra"] = np.zeros(2)
    with pytest.raises(InputError, match="encoder extra is no parameter of this layout"):
        flatten(build_layout(SHAPES), params)


@pytest.mark.parametrize(("zoo", "entries"), [("mnist-seed", 10), ("stl10-large-seed", 10), ("cifar10-resnet18", 62)])
def test_the_order_of_columns_is_that_of_the_layers(zoo, entries):
    spec = load_spec(zoo)
    paths = [entry.path for entry in build_layout(variable_shapes(spec.layers, spec.dataset)["params"])]
    assert len(paths) == entries
    assert paths[0] == ("conv1", "kernel")
    assert paths[-2:] == [(paths[-1][0], "kernel"), (paths[-1][0], "bias")]
