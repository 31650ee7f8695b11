"""Models and epochs by number, by several numbers and by mask; anything else is one line, never other models."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from populations import small_spec, store_zoo

from jaxzoo.errors import InputError


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Two cohorts of 4 models, 3 epochs."""
    spec = small_spec(seeds=4, epochs=2, activation=("tanh", "relu"))
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", spec)


def masks(zoo):
    tanh = zoo.members["activation"] == "tanh"
    return {
        "pandas": tanh,
        "pandas, in another order": tanh.sort_values(),
        "pandas, nullable": tanh.astype("boolean"),
        "NumPy": tanh.to_numpy(),
        "a list": tanh.tolist(),
        "a tuple": (*tanh,),
        "JAX": jnp.asarray(tanh.to_numpy()),
    }


def test_a_mask_selects_the_models_where_it_is_true(zoo):
    """`weights(2, models=members["activation"] == "tanh")` gave models 1 and 0 again and again."""
    wanted = zoo.weights(2)[(zoo.members["activation"] == "tanh").to_numpy()]
    assert len(wanted) == 4
    for name, mask in masks(zoo).items():
        np.testing.assert_array_equal(zoo.weights(2, mask), wanted, err_msg=name)
        assert set(zoo.select(epochs=1, models=mask).table["activation"]) == {"tanh"}


@pytest.mark.parametrize(
    "models",
    [
        [5, 2],
        (5, 2),
        np.array([5, 2]),
        np.array([5.0, 2.0]),
        [5.0, 2],
        pd.Series([5, 2], index=[9, 8]),
        pd.Index([5, 2]),
    ],
    ids=lambda given: f"{type(given).__name__} {given!r:.12}",
)
def test_numbers_are_numbers_of_whatever_type(zoo, models):
    np.testing.assert_array_equal(zoo.weights(1, models), zoo.weights(1)[[5, 2]])


@pytest.mark.parametrize("model", [3, 3.0, np.int64(3), np.float32(3), np.array(3)], ids=lambda given: repr(given))
def test_a_single_number_is_that_model(zoo, model):
    np.testing.assert_array_equal(zoo.weights(1, model), zoo.weights(1)[[3]])
    assert zoo.params(1, model)["conv1"]["bias"].shape == (1, 8)
    assert zoo.network_of(model).activation == zoo.members["activation"][3]
    assert set(zoo.select(models=model).table["model"]) == {3}


def test_epochs_are_given_in_the_same_ways(zoo):
    both = zoo.weights([0, 2])
    for epochs in (np.array([0, 2]), [0.0, 2.0], [True, False, True], np.array([True, False, True]), range(0, 3, 2)):
        np.testing.assert_array_equal(zoo.weights(epochs), both)
        assert set(zoo.select(epochs=epochs).table["epoch"]) == {0, 2}
    for epoch in (2, 2.0, np.int64(2), np.array(2)):
        np.testing.assert_array_equal(zoo.weights(epoch), both[1])
        assert zoo.metrics_at(epoch)["epoch"].unique().tolist() == [2]


NO_MODELS = {
    "a short mask": ([True, False], r"models is a mask of shape \(2,\), expected a truth value for each of 8"),
    "a mask of other rows": (
        pd.Series([True] * 8, index=range(1, 9)),
        r"models is a mask whose index is not 0\.\.7, expected that of zoo\.members",
    ),
    "a mask with a gap": (pd.Series([True, None] * 4, dtype="boolean"), "expected a whole number, several, or a mask"),
    "a mask and a number": ([True, 2], r"models is \[True, 2\], expected a whole number, several, or a mask of 8"),
    "half a model": (1.5, "models is 1.5, expected a whole number"),
    "no number": ([0, float("nan")], "expected a whole number"),
    "a word": ("all", r"models is 'all', expected a whole number, .* models are 0\.\.7"),
    "words": (["tanh"], r"models is \['tanh'\], expected a whole number"),
    "a condition": ("activation == 'tanh'", "expected a whole number"),
    "a set": ({1, 2}, "expected a whole number"),
    "a table": (pd.DataFrame({"model": [1]}), "expected a whole number"),
    "two axes": (np.zeros((2, 2), int), "expected a whole number"),
    "lists of different lengths": ([[1], [1, 2]], "expected a whole number"),
    "too large": (8, r"model is 8, expected 0\.\.7"),
    "below 0": ([-1], r"model is -1, expected 0\.\.7"),
    "far too large": (10**30, r"model is 10{30}, expected 0\.\.7|expected a whole number"),
}


@pytest.mark.parametrize(("models", "message"), NO_MODELS.values(), ids=NO_MODELS)
def test_other_models_are_one_line(zoo, models, message):
    for read in (lambda: zoo.weights(1, models), lambda: zoo.select(models=models), lambda: zoo.params(1, models)):
        with pytest.raises(InputError, match=message):
            read()


NO_EPOCHS = {
    "the last": (
        "last",
        r"epoch is 'last', .*; here one of 0\.\.2; 0 is untrained, and zoo\.epochs\[-1\] the last one",
    ),
    "from the end": (-1, r"epoch is -1, expected one of 0\.\.2; 0 is untrained, and zoo\.epochs\[-1\] the last one"),
    "half": (0.5, "epoch is 0.5, expected a whole number"),
    "none": ([], r"epoch is none, expected one of 0\.\.2"),
    "a short mask": ([True], r"epoch is a mask of shape \(1,\), expected a truth value for each of 3"),
    "nothing": (None, "epoch is None, expected a whole number"),
}


@pytest.mark.parametrize(("epoch", "message"), NO_EPOCHS.values(), ids=NO_EPOCHS)
def test_other_epochs_are_one_line_that_says_what_epochs_are(zoo, epoch, message):
    for read in (zoo.weights, zoo.variables, zoo.metrics_at):
        with pytest.raises(InputError, match=message):
            read(epoch)


def test_the_length_of_a_zoo_is_refused_in_one_line_and_a_zoo_is_true(zoo):
    with pytest.raises(InputError, match=r"expected len\(zoo\.members\), 8 models, or len\(zoo\.epochs\), 3 epochs"):
        len(zoo)
    assert zoo
