"""ResNets: how they begin, batch normalisation, and a zoo of narrow ones from images to report."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import cohort_of, in_float64, population_of, resnet_spec, small_images, small_spec, write_folder

import jaxzoo
from jaxzoo.analysis.predict import predict_logits
from jaxzoo.commands.report import main as report
from jaxzoo.devices import model_mesh
from jaxzoo.errors import InputError
from jaxzoo.models.engines import engines_for, population_forward
from jaxzoo.models.networks import Network, build_network
from jaxzoo.spec.layers import CNN_L, LAYERS, Conv, norm_layers, weight_layers
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training import memory
from jaxzoo.training.cohort import EpochSaved, Interrupted, Notice
from jaxzoo.training.population import evaluate, get_state, initial_variables, put_images, train_epoch
from jaxzoo.training.programs import build_program
from jaxzoo.training.zoo import generate

NARROW = LAYERS["resnet-18-narrow"]
MAGNITUDE = TwinSpec(method="magnitude", epochs=2)


def test_it_begins_as_the_original_does():
    variables = initial_variables(cohort_of(resnet_spec()))
    params = variables["params"]
    for layer in weight_layers(NARROW):
        kernel = params[layer.name]["kernel"]
        limit = np.sqrt(6 / kernel[0, ..., 0].size)  # kaiming_uniform: fan in, gain sqrt 2
        assert 0.9 * limit < np.abs(kernel).max() <= limit
        assert abs(kernel.std() * np.sqrt(3) / limit - 1) < 4 / np.sqrt(kernel.size)  # four standard errors
        assert set(params[layer.name]) == ({"kernel"} if isinstance(layer, Conv) else {"kernel", "bias"})
    assert (params["fc"]["bias"] == np.float32(0.01)).all()
    for layer in norm_layers(NARROW):
        assert (params[layer.name]["scale"] == 1).all()
        assert (params[layer.name]["bias"] == 0).all()
        assert (variables["batch_stats"][layer.name]["mean"] == 0).all()
        assert (variables["batch_stats"][layer.name]["var"] == 1).all()
    assert (params["conv1"]["kernel"][0] != params["conv1"]["kernel"][1]).all()


def normalise(values, counted, scale, bias, mean, var):
    """Batch normalisation in training by its definition, over the images that count: values, running mean and var."""
    own = values[counted == 1].reshape(-1, values.shape[-1])
    normalised = (values - own.mean(axis=0)) / np.sqrt(own.var(axis=0) + 1e-5) * scale + bias
    return normalised, 0.9 * mean + 0.1 * own.mean(axis=0), 0.9 * var + 0.1 * own.var(axis=0, ddof=1)


def test_batch_normalisation_is_numpys_over_the_images_that_count():
    draws = np.random.default_rng(0)
    values, counted = draws.standard_normal((6, 5, 4, 8)) * 3 + 1, np.array([1, 1, 1, 1, 0, 0])
    scale, bias, mean, var = draws.uniform(0.5, 2, (4, 8))
    (norm, *_) = norm_layers(NARROW)
    network = Network((norm,), classes=8, activation="relu")
    variables = {
        "params": {norm.name: {"scale": scale, "bias": bias}},
        "batch_stats": {norm.name: {"mean": mean, "var": var}},
    }
    with jax.enable_x64(True):
        got, moved = network.apply(variables, values, None, None, counted.astype(float), mutable=["batch_stats"])
        running = network.apply(variables, values)
    wanted, wanted_mean, wanted_var = normalise(values, counted, scale, bias, mean, var)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)  # float64
    np.testing.assert_allclose(moved["batch_stats"][norm.name]["mean"], wanted_mean, rtol=1e-12)
    np.testing.assert_allclose(moved["batch_stats"][norm.name]["var"], wanted_var, rtol=1e-12)
    np.testing.assert_allclose(running, (values - mean) / np.sqrt(var + 1e-5) * scale + bias, rtol=1e-12, atol=1e-12)


def test_what_does_not_count_in_a_batch_changes_nothing():
    spec = resnet_spec()
    variables = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), initial_variables(cohort_of(spec)))
    forward = population_forward("vmap", spec.layers, 10, "relu")
    images = np.random.default_rng(0).standard_normal((6, 32, 32, 3, 4)).astype(np.float32)
    other = images.copy()
    other[4:] = 7
    counted = np.float32([1, 1, 1, 1, 0, 0])

    def run(images):
        logits, moved = forward(variables["params"], variables["batch_stats"], images, None, None, counted)
        return [logits[:4], *jax.tree.leaves(moved)]

    for got, wanted in zip(run(images), run(other), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)  # sums of zeros and the same


def end_of(spec, models, lanes, widen=lambda tree: tree):
    """State and metrics of those models after two epochs, by model."""
    mesh = model_mesh()
    population = population_of(cohort_of(spec, models), mesh, engine="vmap", lanes=lanes)
    population = population._replace(slabs=[widen(slab) for slab in population.slabs])
    images = widen(put_images(small_images(spec.dataset), mesh))
    for epoch in (1, 2):
        metrics = train_epoch(population, images, epoch)
    metrics |= evaluate(population, images, ("validation", "test"))
    leaves = jax.tree.leaves((get_state(population), metrics))
    return {model: [leaf[row] for leaf in leaves if leaf.ndim] for row, model in enumerate(models)}


def test_a_member_ends_in_the_same_bits_whatever_its_company():
    spec = resnet_spec()
    everyone, alone = end_of(spec, [0, 1, 2, 3], 1), end_of(spec, [2], 1)
    for got, wanted in zip(alone[2], everyone[2], strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_models_side_by_side_end_as_one_at_a_time():
    """In float64: another width rounds otherwise, and batch normalisation amplifies that from step to step."""
    spec = resnet_spec()
    with jax.enable_x64(True):
        one, two = (end_of(spec, [2, 3], lanes, in_float64) for lanes in (1, 2))
    for got, wanted in zip(two[3], one[3], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9 * max(np.abs(wanted).max(), 1))


def test_half_precision_is_near_and_leaves_parameters_and_statistics_whole():
    spec = resnet_spec()
    half = dataclasses.replace(spec, precision="bfloat16")
    assert engines_for(LAYERS["resnet-18"], "bfloat16") == engines_for(LAYERS["cnn-s"], "bfloat16") == ("vmap",)
    variables = jax.tree.map(lambda leaf: leaf[0], initial_variables(cohort_of(half)))
    images = small_images(spec.dataset).train.pixels[:8] / np.float32(255)
    whole, near = (
        build_network(each).apply(variables, images, None, None, np.ones(8, np.float32), mutable=["batch_stats"])
        for each in (spec, half)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, near))} == {np.dtype(np.float32)}
    distance = np.abs(near[0] - whole[0]).max() / np.abs(whole[0]).max()
    assert 1e-4 < distance < 5e-2  # bfloat16 rounds to 0.4 %, 18 layers
    assert half.digest != spec.digest
    state = end_of(half, [0], 1)
    assert {leaf.dtype for leaf in state[0]} <= {np.dtype(np.float32), np.dtype(np.float64)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zoo of two narrow ResNets with both kinds of twins, and the data it was made of."""
    root = tmp_path_factory.mktemp("resnet")
    spec = resnet_spec(folder="own", epochs=3)
    write_folder(root / "data" / "own", spec.dataset)
    zoo = generate(spec, root / "zoo", models=2, data_dir=root / "data", twins=MAGNITUDE)
    jaxzoo.make_twins(root / "zoo", TwinSpec(epochs=2), data_dir=root / "data")
    return zoo, root


def test_a_zoo_of_resnets_is_made_and_its_modules_say_what_training_said(made):
    zoo, _ = made
    assert zoo.epochs == (0, 1, 2, 3)
    assert {way.engine for way in zoo.record.cohorts} == {"vmap"}
    assert zoo.metrics["finite"].all()
    images = small_images(zoo.spec.dataset)
    normalised = ((images.test.pixels / 255 - images.mean) / images.std).astype(np.float32)
    variables = zoo.variables(3)
    assert set(variables) == {"params", "batch_stats"}
    logits = jax.vmap(zoo.network.apply, (0, None))(variables, normalised)
    accuracy = (np.asarray(logits).argmax(axis=-1) == images.test.labels).mean(axis=1)
    np.testing.assert_allclose(zoo.metrics_at(3)["test_accuracy"], accuracy, atol=1e-6)
    np.testing.assert_allclose(predict_logits(zoo, normalised, 3), logits, rtol=1e-3, atol=1e-3)
    assert zoo.weights(3).shape == (2, zoo.layout[-1].columns.stop)
    np.testing.assert_array_equal(zoo.flatten(zoo.params([0, 3])), zoo.weights([0, 3]))


@pytest.mark.parametrize("method", ["magnitude", "variational-dropout"])
def test_twins_of_resnets_begin_as_their_parents_and_lose_weights(made, method):
    zoo, _ = made
    twins = zoo.twins[method]
    for name in ("test_loss", "validation_loss"):
        # variational dropout begins without what has a log alpha of 3, weights below exp(-6.5): almost nothing
        np.testing.assert_allclose(twins.metrics_at(0)[name], zoo.metrics_at(3)[name], rtol=1e-2)
    jax.tree.map(np.testing.assert_array_equal, twins.variables(0)["batch_stats"], zoo.variables(3)["batch_stats"])
    assert twins.metrics["finite"].all()
    names = [f"sparsity_{layer.name}" for layer in weight_layers(NARROW)]
    last = twins.metrics_at(twins.epochs[-1])
    assert set(names) <= set(last.columns)
    kernels = [twins.params(twins.epochs[-1])[layer.name]["kernel"] for layer in weight_layers(NARROW)]
    zeros = sum((kernel == 0).reshape(2, -1).sum(axis=1) for kernel in kernels)
    np.testing.assert_allclose(last["sparsity"], zeros / sum(kernel[0].size for kernel in kernels), rtol=1e-6)
    if method == "magnitude":
        np.testing.assert_allclose(last["sparsity"], 0.8, atol=1e-3)


def test_an_interrupted_zoo_of_resnets_goes_on_to_the_same_bits(made, tmp_path):
    zoo, root = made
    spec = dataclasses.replace(zoo.spec, models=2)
    saved = []

    def stop_after_an_epoch():
        return len(saved) >= 2

    def note(event):
        saved.extend([event] if isinstance(event, EpochSaved) else [])

    arguments = {"data_dir": root / "data", "twins": MAGNITUDE}
    with pytest.raises(Interrupted):
        generate(spec, tmp_path / "z", **arguments, on_event=note, should_stop=stop_after_an_epoch)
    again = generate(spec, tmp_path / "z", **arguments)
    for got, wanted in ((again, zoo), (again.twins["magnitude"], zoo.twins["magnitude"])):
        assert got.epochs == wanted.epochs
        for epoch in wanted.epochs:
            jax.tree.map(np.testing.assert_array_equal, got.variables(epoch), wanted.variables(epoch))


def test_a_report_of_resnets(made, tmp_path):
    zoo, root = made
    page = tmp_path / "report.html"
    assert report([str(zoo.path), "--out", str(page), "--data-dir", str(root / "data")]) == 0
    assert "resnet-18-narrow" in page.read_text()


def test_augmentation_and_schedule_change_what_is_trained():
    spec = resnet_spec()
    ends = [
        end_of(dataclasses.replace(spec, **changes), [0], 1)[0][0]
        for changes in ({}, {"augmentation": ()}, {"augmentation": ("flip",)}, {"schedule": Schedule()})
    ]
    for number, end in enumerate(ends):
        assert all((end != other).any() for other in ends[number + 1 :])


def test_cohorts_shrink_to_what_the_memory_holds_and_stay_so(made, tmp_path, monkeypatch):
    zoo, root = made
    spec = dataclasses.replace(zoo.spec, models=4, epochs=1)
    mesh = model_mesh()
    program = build_program(cohort_of(spec).key, "vmap", 1, mesh)
    _, needs = memory.compile_training(program)
    monkeypatch.setattr(memory, "device_memory", lambda mesh, unknown: needs.training)  # one a device
    arguments = {"data_dir": root / "data", "twins": "none"}
    with pytest.raises(InputError, match="a cohort has 4 models, expected at most 2 here: a cohort_size in the config"):
        generate(spec, tmp_path / "part", **arguments, cohorts=range(0, 1))
    events = []
    small = generate(spec, tmp_path / "small", **arguments, on_event=events.append)
    assert Notice("cohorts of 2 models, not 4: what the memory here holds") in events
    assert small.members["cohort"].tolist() == [0, 0, 1, 1]
    monkeypatch.setattr(memory, "device_memory", lambda mesh, unknown: 10**12)
    assert len(generate(spec, tmp_path / "small", **arguments).members) == 4  # all done, in the cohorts it has
    large = generate(spec, tmp_path / "large", **arguments)
    np.testing.assert_array_equal(large.weights(1), small.weights(1))
    monkeypatch.setattr(memory, "device_memory", lambda mesh, unknown: needs.training - 1)
    with pytest.raises(InputError, match=r"lanes is 1: training needs .* GB, expected at most the .* of this device"):
        generate(spec, tmp_path / "none", **arguments)
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="lanes is 1: training needs"):
        generate(dataclasses.replace(spec, models=3), tmp_path / "part", **arguments)
    assert not (tmp_path / "part").exists()


WRONG = {
    "unknown augmentation": ({"augmentation": ("zoom",)}, "augmentation is 'zoom', expected one of: crop, flip"),
    "unknown precision": ({"precision": "float8"}, "precision is 'float8', expected one of: "),
    "batch too large": ({"batch_size": 48}, "batch_size is 48, expected at most the 47 training images"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_spec_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        resnet_spec(**changes)


def test_dropout_that_a_network_does_not_have_is_refused(tmp_path):
    spec = small_spec("resnet-18-narrow", dropout=(0.0, 0.5))
    with pytest.raises(InputError, match=r"dropout is \(0.0, 0.5\), expected 0: resnet-18-narrow has none"):
        generate(spec, tmp_path / "z")


def test_names_of_layers_are_unlike():
    names = [layer.name for layer in (*weight_layers(NARROW), *norm_layers(NARROW))]
    assert len(set(names)) == len(names) == 41
    assert norm_layers(CNN_L) == ()
