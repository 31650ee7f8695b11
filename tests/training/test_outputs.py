"""Outputs are what the networks say of every example, by the kernels that trained them, as float16."""

import dataclasses

import jax
import numpy as np
import pytest
from populations import cohort_of, population_of, replace_dataset, resnet_spec, small_images, small_spec
from stepped import stepped_spec, write_images

from jaxzoo.analysis.predict import predict_logits
from jaxzoo.commands.listing import zoo_table
from jaxzoo.datasets.images import SPLITS
from jaxzoo.devices import model_mesh
from jaxzoo.models.networks import build_network
from jaxzoo.spec.outputs import Outputs
from jaxzoo.spec.snapshots import Snapshots
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training import outputs as module
from jaxzoo.training.checks import check_generate, space_of
from jaxzoo.training.outputs import outputs_of
from jaxzoo.training.population import Stopped, get_state, put_images, train_epoch
from jaxzoo.training.zoo import generate

HALF = 1e-3  # float16 has 11 bits: half a unit in the last place is 2^-11, 4.9e-4, of a value; and float32's rounding


def made(spec, epochs=1, **options):
    mesh = model_mesh()
    images = put_images(small_images(spec.dataset), mesh)
    population = population_of(cohort_of(spec), mesh, **options)
    for epoch in range(1, epochs + 1):
        train_epoch(population, images, epoch)
    return population, images


def logits_by_flax(spec, population, split):
    images = small_images(spec.dataset)
    state = get_state(population)
    variables = {"params": state.params} | ({"batch_stats": state.batch_stats} if state.batch_stats else {})
    network = build_network(spec)
    return np.asarray(jax.vmap(network.apply, (0, None))(variables, images.normalised(split)))


@pytest.mark.parametrize("engine", ["lanes", "vmap"])
@pytest.mark.parametrize("examples", [4, 24, 1024])
def test_logits_are_those_of_flax_on_every_example(engine, examples, monkeypatch):
    """On 47, 13 and 25 images, 7 members in two slabs, and any number of images at a time."""
    monkeypatch.setattr(module, "EXAMPLES", examples)
    module._build_logits.cache_clear()
    spec = small_spec(seeds=7)
    population, images = made(spec, lanes=2, engine=engine)
    kept = outputs_of(population, images, Outputs(splits=SPLITS), engine)["logits"]
    module._build_logits.cache_clear()
    for split in SPLITS:
        wanted = logits_by_flax(spec, population, split)
        assert (kept[split].dtype, kept[split].shape) == (np.float16, wanted.shape)
        np.testing.assert_allclose(kept[split], wanted, rtol=HALF, atol=1e-6)  # float32 near 0


def test_networks_that_normalise_batches_use_their_running_statistics():
    spec = replace_dataset(resnet_spec(), train=16, validation=2, test=3)
    spec = dataclasses.replace(spec, models=2)
    population, images = made(spec, engine="vmap", lanes=1)
    kept = outputs_of(population, images, Outputs(splits=["test"]), "vmap")["logits"]["test"]
    # 18 layers in float32, summed in other orders
    np.testing.assert_allclose(kept, logits_by_flax(spec, population, "test"), rtol=5e-3, atol=5e-3)


def test_margins_are_the_true_logit_less_the_largest_other():
    spec = small_spec(seeds=3)
    population, images = made(spec)
    kept = outputs_of(population, images, Outputs(splits=["train", "test"], kind="margins"), "lanes")["margins"]
    for split in ("train", "test"):
        labels = getattr(small_images(spec.dataset), split).labels
        for model, logits in enumerate(logits_by_flax(spec, population, split)):
            for example, label in enumerate(labels):
                others = [value for number, value in enumerate(logits[example]) if number != label]
                wanted = logits[example][label] - max(others)
                assert kept[split][model, example] == pytest.approx(wanted, rel=HALF, abs=1e-5)
    below_0 = np.float32([[[-3, -1, -2], [-3, -1, -2]]])
    assert module._margins(below_0, np.array([1, 0])).tolist() == [[1, -2]]


def test_what_float16_does_not_hold_is_infinite_and_a_diverged_member_says_nan():
    spec = small_spec(seeds=2, learning_rate=(1e-3, 1.0))
    population, images = made(spec, epochs=0)
    (slab,) = population.slabs
    params = jax.device_get(slab.state.params)
    bias = np.array(params["dense2"]["bias"])
    bias[3, 0] = 1e6
    bias[0, 1] = np.nan
    params["dense2"]["bias"] = jax.device_put(bias, slab.state.params["dense2"]["bias"].sharding)
    population.slabs[0] = slab._replace(state=slab.state._replace(params=params))
    logits = outputs_of(population, images, Outputs(splits=["test"]), "lanes")["logits"]["test"]
    assert np.isposinf(logits[0, :, 3]).all()
    assert np.isnan(logits[1, :, 0]).all()
    assert np.isfinite(logits[2:]).all()
    margins = outputs_of(population, images, Outputs(splits=["test"], kind="margins"), "lanes")["margins"]["test"]
    assert np.isinf(margins[0]).all()
    assert np.isnan(margins[1]).all()


def test_a_stop_acts_between_slabs():
    population, images = made(small_spec(seeds=2), epochs=0)
    with pytest.raises(Stopped):
        outputs_of(population, images, Outputs(splits=["test"]), "lanes", lambda: True)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    write_images(folder / "few")
    asked = {"snapshots": None, "outputs": Outputs(splits=["test", "validation"], epochs=[0, 2])}
    twins = TwinSpec(method="variational-dropout", epochs=2)
    return generate(stepped_spec(folder / "few", **asked), folder / "z", lanes=2, twins=twins)


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_zoo_keeps_what_it_would_predict(zoo, epoch):
    images = zoo.images(zoo.path.parent)
    for each in (zoo, zoo.twins["variational-dropout"]):
        for split in ("test", "validation"):
            wanted = predict_logits(each, images.normalised(split), epoch)
            np.testing.assert_allclose(each.outputs(epoch, split), wanted, rtol=HALF, atol=1e-5)  # float32 near 0


def test_margins_are_read_without_an_axis_of_classes(zoo, tmp_path):
    spec = dataclasses.replace(zoo.spec, outputs=Outputs(splits="test", kind="margins"), epochs=1, models=3)
    margins = generate(spec, tmp_path / "z", lanes=2, twins="none").outputs(1)
    assert margins.shape == (3, 25)
    correct = generate(spec, tmp_path / "z", twins="none").metrics_at(1)["test_accuracy"]
    np.testing.assert_allclose((margins > 0).mean(axis=1), correct, atol=1e-6)  # float32; there are no ties here


def test_bytes_of_all_that_is_asked_for_are_counted(tmp_path):
    write_images(tmp_path / "few")
    spec = stepped_spec(tmp_path / "few")
    more = stepped_spec(tmp_path / "few", snapshots=Snapshots(every=1, keep_optimizer=True, examples=8))
    bare = dataclasses.replace(spec, snapshots=None, outputs=None)
    listed, without, many = (zoo_table([each])["bytes"][0] for each in (spec, bare, more))
    weights, optimizer, metrics = 4 * 2464, 4 * (2 * 2464 + 1), 60
    outputs = 2 * 10 * (25 + 47)
    assert listed - without == 10 * (4 * (weights + optimizer + metrics) + 3 * optimizer + outputs)
    assert many - listed == 10 * 4 * (weights + optimizer + metrics)  # all 8 steps within epochs, and not 4
    job = check_generate(spec, tmp_path / "z")
    generate(spec, tmp_path / "z", lanes=2)
    files = [path for path in (tmp_path / "z").rglob("*") if path.is_file()]
    written = sum(-(-path.stat().st_size // 4096) * 4096 for path in files)  # in blocks, as disks hold them
    (part,) = space_of(job)
    assert written <= part.total <= 1.5 * written
    assert part.files == pytest.approx(len(files), rel=0.2)
