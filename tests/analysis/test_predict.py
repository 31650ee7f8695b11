"""What a stack of weights says of images is what the Flax module of each says, in values and in gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import small_images, small_spec, store_zoo

import jaxzoo
from jaxzoo.analysis.predict import predict_classes, predict_logits
from jaxzoo.errors import InputError
from jaxzoo.models import stacks
from jaxzoo.models.stacks import Form

ARCHITECTURES = ("cnn-s", "cnn-l", "resnet-18-narrow")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Nine models of three activations."""
    spec = small_spec(seeds=3, epochs=1, activation=("tanh", "relu", "gelu"))
    return store_zoo(tmp_path_factory.mktemp("zoo") / "z", spec)


def drawn_images(count, shape=(28, 28, 1), seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def variables_of(spec, models):
    """Variables of untrained networks whose batch statistics, if any, are not their initial ones."""
    network = jaxzoo.build_network(spec)
    image = np.zeros((1, spec.dataset.size, spec.dataset.size, spec.dataset.channels), np.float32)
    variables = jax.vmap(network.init, (0, None))(jax.random.split(jax.random.key(0), models), image)
    draws = np.random.default_rng(1)
    moved = jax.tree.map(lambda leaf: leaf + draws.random(leaf.shape, np.float32) / 4, variables.get("batch_stats", {}))
    return network, {"params": variables["params"], **({"batch_stats": moved} if moved else {})}


def loss_of_flax(network, variables, images, labels):
    """The obvious loss of one network, by Flax and Optax."""
    logits = network.apply(variables, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_losses_and_gradients_are_those_of_flax(architecture):
    spec = small_spec(architecture)
    network, variables = variables_of(spec, 3)
    shape = (spec.dataset.size, spec.dataset.size, spec.dataset.channels)
    images, labels = drawn_images(37, shape), np.arange(37) % 10
    logits = jaxzoo.predict_params(network, variables, images)
    assert logits.shape == (3, 37, 10)
    wanted = jax.vmap(network.apply, (0, None))(variables, images)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)  # float32, up to 18 layers in another order
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # Optax wants both
        by_flax = jax.vmap(
            jax.value_and_grad(lambda params, rest: loss_of_flax(network, {**rest, "params": params}, images, labels))
        )
        rest = {name: tree for name, tree in variables.items() if name != "params"}
        loss, gradients = by_flax(variables["params"], rest)
    got, gradient = jaxzoo.loss_and_gradient(network, variables, images, labels)
    np.testing.assert_allclose(got, loss, rtol=1e-4)
    layout = jaxzoo.reading.layout.build_layout(
        jaxzoo.models.variables.network_shapes(spec.layers, 10, shape)["params"]
    )
    wanted = jaxzoo.reading.layout.flatten(layout, gradients)
    # float32 sums of 37 images of both signs: an error is a share of the largest gradient of the model
    np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=2e-5 * np.abs(wanted).max())


def test_a_stack_of_a_mixed_zoo_is_computed_by_each_models_activation(zoo):
    images = drawn_images(5)
    weights = zoo.weights(1)
    logits = jaxzoo.predict_params(zoo, weights, images)
    for model in range(9):
        params = jax.tree.map(lambda leaf: leaf[0], zoo.params(1, model))
        wanted = zoo.network_of(model).apply({"params": params}, images)
        np.testing.assert_allclose(logits[model], wanted, rtol=1e-5, atol=1e-5)  # float32, sums of up to 200 terms
    np.testing.assert_array_equal(logits, predict_logits(zoo, images, 1))
    for given, models in (
        (zoo.params(1), None),
        (zoo.variables(1), None),
        (jnp.asarray(weights), None),
        (zoo.select(epochs=1), None),
        (weights.astype(np.float64), range(9)),
        (weights.reshape(3, 3, -1), np.arange(9).reshape(3, 3)),
    ):
        got = jaxzoo.predict_params(zoo, given, images, models=models)
        np.testing.assert_array_equal(got.reshape(9, 5, 10), logits)
    relu = zoo.select(epochs=1, where="activation == 'relu'")
    np.testing.assert_array_equal(
        jaxzoo.predict_params(zoo, relu, images), logits[(zoo.members["activation"] == "relu").to_numpy()]
    )
    # a grid of points times models, all with the network of model 2
    many = jaxzoo.interpolate(weights[[2, 2]], weights[[5, 8]], 3)
    as_two = jaxzoo.predict_params(zoo, many, images, models=2)
    assert as_two.shape == (2, 3, 5, 10)
    np.testing.assert_array_equal(as_two[:, 0], logits[[2, 2]])
    rows = jaxzoo.predict_params(zoo, many, images, models=[[5], [8]])
    np.testing.assert_array_equal(rows[:, -1], logits[[5, 8]])


def test_a_gradient_of_a_mixed_zoo_goes_downhill_by_as_much_as_it_says(zoo):
    """A step along the gradient changes the loss by its squared length times the step, to first order."""
    images, labels = drawn_images(30), np.arange(30) % 10
    weights = zoo.weights(1)
    loss, gradient = jaxzoo.loss_and_gradient(zoo, weights, images, labels)
    assert gradient.shape == weights.shape
    length = np.linalg.norm(gradient.astype(float), axis=1, keepdims=True)
    step = 1e-3 * gradient / length
    lower, upper = (jaxzoo.loss_and_gradient(zoo, weights + sign * step, images, labels)[0] for sign in (-1, 1))
    assert (lower < loss).all()
    np.testing.assert_allclose(
        (upper - lower) / 2e-3, length[:, 0], rtol=0.06
    )  # relu and pooling have kinks in between


def test_images_and_models_that_fill_no_chunk_and_no_slab_count_once(monkeypatch):
    """Two chunks, the last with one image; 33 networks, one more than two devices have lanes."""
    monkeypatch.setattr(stacks, "CHUNK", 8)
    spec = small_spec()
    network, variables = variables_of(spec, 33)
    images, labels = drawn_images(9), np.arange(9) % 10
    form = Form(spec.layers, 10, "tanh")
    tally = stacks.mean_tallies(form, variables, images, labels)
    logits = stacks.logits_of(form, variables, images)
    np.testing.assert_allclose(logits, jax.vmap(network.apply, (0, None))(variables, images), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(tally.correct, (logits.argmax(-1) == labels).mean(axis=1))
    wanted = -jax.nn.log_softmax(logits)[:, np.arange(9), labels].mean(axis=1)
    np.testing.assert_allclose(tally.loss, wanted, rtol=1e-5)


def test_evaluation_gives_the_metrics_that_training_has_recorded(digits_zoo):
    zoo = jaxzoo.open_zoo(digits_zoo)
    for each in (zoo, zoo.twins["magnitude"]):
        for split in ("test", "validation", "train"):
            table = each.evaluate(each.weights(0), split)
            recorded = each.metrics_at(0)
            np.testing.assert_array_equal(table["accuracy"].astype(np.float32), recorded[f"{split}_accuracy"])
            # float32 sums over 1,257 images against float64 sums of chunks
            np.testing.assert_allclose(table["loss"], recorded[f"{split}_loss"], rtol=1e-5)
    states = zoo.select(epochs=[1, 2], models=[0, 3])
    table = zoo.evaluate(states)
    np.testing.assert_array_equal(table[["model", "epoch"]], states.table[["model", "epoch"]])
    np.testing.assert_array_equal(table["accuracy"].astype(np.float32), states.table["test_accuracy"])


def test_predictions_that_are_not_finite_name_no_class(tmp_path):
    broken = store_zoo(tmp_path / "z", small_spec(seeds=2, epochs=1, activation=("relu",)), scale=1e20)
    classes = predict_classes(broken, drawn_images(3), 1)
    assert (classes == -1).all()


NO_STACK = {
    "unnormalised": ({"images": np.zeros((2, 28, 28, 1), np.uint8)}, r"images are uint8, expected normalised ones"),
    "whole numbers": ({"images": np.zeros((2, 28, 28, 1), int)}, r"images are int64, expected normalised ones"),
    "one image": ({"images": np.zeros((28, 28, 1), np.float32)}, r"images are of shape \(28, 28, 1\), expected"),
    "other sizes": ({"images": np.zeros((2, 32, 32, 3))}, r"expected \(N, 28, 28, 1\)"),
    "no images": ({"images": np.zeros((0, 28, 28, 1))}, "N above 0"),
    "short weights": (
        {"weights": np.zeros((9, 10))},
        r"weights are float64 of shape \(9, 10\), expected",
    ),
    "no networks": ({"weights": np.zeros((0, 2464))}, "expected one network or more"),
    "words": ({"weights": np.array(["a"])}, "expected numbers of shape"),
    "complex": ({"weights": np.zeros((9, 2464), complex)}, "expected numbers of shape"),
    "whose": ({"weights": np.zeros((4, 2464))}, "the zoo's models differ in activation, expected models"),
    "too many models": ({"models": [0, 1]}, r"models are of shape \(2,\), expected one that fits \(9,\)"),
    "no such model": ({"models": 9}, r"model is 9, expected 0\.\.8"),
    "labels": ({"labels": np.zeros(3, int)}, r"labels are int64 of shape \(3,\), expected whole numbers \(2,\)"),
    "float labels": ({"labels": np.zeros(2)}, "expected whole numbers"),
    "no such class": ({"labels": np.array([0, 10])}, r"labels are 0\.\.10, expected 0\.\.9"),
    "no zoo": ({"zoo": "zoos/digits"}, "got a str, expected a zoo, or a network of build_network"),
}


@pytest.mark.parametrize(("changes", "message"), NO_STACK.values(), ids=NO_STACK)
def test_what_does_not_fit_is_one_line(zoo, changes, message):
    given = {"zoo": zoo, "weights": zoo.weights(1), "images": drawn_images(2), "labels": np.arange(2), "models": None}
    given |= changes
    with pytest.raises(InputError, match=message):
        jaxzoo.loss_and_gradient(
            given["zoo"], given["weights"], given["images"], given["labels"], models=given["models"]
        )
    if "labels" not in changes:
        with pytest.raises(InputError, match=message):
            jaxzoo.predict_params(given["zoo"], given["weights"], given["images"], models=given["models"])


def test_a_network_with_batch_normalisation_needs_its_statistics():
    spec = small_spec("resnet-18-narrow")
    network, variables = variables_of(spec, 2)
    with pytest.raises(InputError, match="come without batch_stats, expected variables"):
        jaxzoo.predict_params(network, variables["params"], drawn_images(1, (32, 32, 3)))


def test_bytes_are_refused_by_every_prediction(zoo):
    """They were taken as they are, and the median accuracy was 0.496 instead of 0.849."""
    pixels = small_images(zoo.spec.dataset).test.pixels
    for predict in (predict_logits, predict_classes):
        with pytest.raises(InputError, match="images are uint8, expected normalised ones"):
            predict(zoo, pixels, 1)


def test_lines_between_models_begin_and_end_at_them_exactly():
    draws = np.random.default_rng(0)
    a, b = draws.standard_normal((2, 4, 7)).astype(np.float32)
    line = jaxzoo.interpolate(a, b, 5)
    assert line.shape == (4, 5, 7)
    assert line.dtype == np.float32
    np.testing.assert_array_equal(line[:, 0], a)
    np.testing.assert_array_equal(line[:, -1], b)
    np.testing.assert_allclose(line[:, 1], 0.75 * a + 0.25 * b, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(jaxzoo.interpolate(a[0], b, [0.5]), jaxzoo.interpolate(b, jnp.asarray(a[0]), [0.5]))
    for a_wrong, b_wrong, points, message in (
        (a, b[:, :3], 5, r"weights are of shapes \(4, 7\) and \(4, 3\)"),
        (a, b[:2], 5, "expected ones that fit"),
        (a, b, 1, "points is 1, expected"),
        (a, b, True, "points is True, expected"),
        (a, b, [], "points is"),
        (a, b, [np.nan], "points is"),
        (a, b, "half", "points is 'half'"),
    ):
        with pytest.raises(InputError, match=message):
            jaxzoo.interpolate(a_wrong, b_wrong, points)
