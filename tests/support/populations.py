"""Small populations on real images, for the tests."""

import dataclasses

import jax
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from jaxzoo.datasets.images import Images, Split, make_images
from jaxzoo.models.variables import variable_shapes
from jaxzoo.reading.stored import METRICS
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.grid import Grid
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.seeds import SeedRange
from jaxzoo.spec.stages import only_stage
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.cohort_store import CohortStore
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.record import CohortRecord, ImagesRecord, Maker, ZooRecord
from jaxzoo.storage.zoo_folder import begin_zoo, cohort_folder, members_digest
from jaxzoo.training.population import initial_state, initial_variables, put_cohort
from jaxzoo.training.programs import build_program

SHAPES = {
    "cnn-s": (28, 1),
    "cnn-l": (32, 3),
    "resnet-18": (32, 3),
    "resnet-18-narrow": (32, 3),
    "small-cnn-zoo": (28, 1),
}


def small_spec(architecture="cnn-s", *, train=47, epochs=2, seeds=4, batch_size=10, **grid) -> ZooSpec:
    """A zoo on a few digits; its last batch is incomplete."""
    size, channels = SHAPES[architecture]
    dataset = DatasetSpec(name="digits", classes=10, train=train, validation=13, test=25, size=size, channels=channels)
    values = {
        "activation": ("tanh",),
        "initialization": ("kaiming_uniform",),
        "optimizer": ("adam",),
        "learning_rate": (1e-3,),
    } | grid
    return ZooSpec(
        name="small",
        dataset=dataset,
        architecture=architecture,
        grid=Grid(**values),
        seeds=SeedRange(first=1, last=seeds),
        batch_size=batch_size,
        epochs=epochs,
    )


def small_images(dataset: DatasetSpec) -> Images:
    """scikit-learn's digits at the size and with the channels that the dataset wants; the channels differ."""
    bunch = load_digits()
    count = dataset.train + dataset.validation + dataset.test
    size = (dataset.size, dataset.size)
    gray = np.stack([np.asarray(Image.fromarray(np.uint8(15 * image)).resize(size)) for image in bunch.images[:count]])
    pixels = np.stack([np.roll(gray, 2 * channel, axis=1) for channel in range(dataset.channels)], axis=-1)
    labels = bunch.target[:count].astype(np.int32)
    bounds = [dataset.train, dataset.train + dataset.validation]
    parts = zip(np.split(pixels, bounds), np.split(labels, bounds), strict=True)
    return make_images(dataset, *(Split(*part) for part in parts))


def resnet_spec(*, folder=None, **changes) -> ZooSpec:
    """A zoo of narrow ResNets, trained as the published ones; its images may lie in a folder."""
    grid = {"activation": ("relu",), "optimizer": ("sgd",), "learning_rate": (0.05,), "weight_decay": (5e-4,)}
    spec = replace_dataset(small_spec("resnet-18-narrow", batch_size=16, **grid), folder=folder)
    published = {"schedule": Schedule(kind="one-cycle"), "augmentation": ("crop", "flip")}
    return dataclasses.replace(spec, **published | changes)


def write_folder(folder, dataset: DatasetSpec) -> None:
    """`small_images` as a user's own files."""
    images = small_images(dataset)
    both = (np.concatenate(arrays) for arrays in zip(images.train, images.validation, strict=True))
    folder.mkdir(parents=True)
    for name, (pixels, labels) in {"train": both, "test": images.test}.items():
        np.savez(folder / f"{name}.npz", images=pixels, labels=labels)


def cohort_of(spec: ZooSpec, models=None):
    """The only cohort of a spec, of all models or those given, in that order."""
    (cohort,) = plan_zoo(spec).cohorts
    if models is None:
        return cohort
    return cohort._replace(members=tuple(cohort.members[model] for model in models))


def population_of(cohort, mesh, *, engine="lanes", lanes=4, twin=None):
    """The untrained cohort, or its twins, on the devices of a mesh."""
    program = build_program(cohort.key, engine, lanes, mesh, twin)
    return put_cohort(program, cohort, initial_state(initial_variables(cohort), program.method))


def in_float64(tree):
    """The arrays of a tree, those of float32 in float64: then rounding shows no difference of formulas."""
    return jax.tree.map(lambda leaf: leaf.astype(float) if leaf.dtype == np.float32 else leaf, tree)


def assert_same_weights(zoo, other):
    """Both zoos have the same epochs, members and, bit for bit, weights, and so have their twins."""
    assert zoo.epochs == other.epochs
    for epoch in zoo.epochs:
        np.testing.assert_array_equal(zoo.weights(epoch), other.weights(epoch))
    pd.testing.assert_frame_equal(zoo.members, other.members)
    assert list(zoo.twins) == list(other.twins)
    for method, twins in zoo.twins.items():
        assert_same_weights(twins, other.twins[method])


def write_digits_config(path, **changes):
    """A TOML file of one small zoo on the embedded digits, 2 x 2 models in two cohorts, for the command line."""
    values = {"batch_size": "10", "epochs": "3", "seeds": "{ first = 1, last = 2 }", "rate": "[1e-3]"}
    cohort_size = f"cohort_size = {changes['cohort_size']}\n" if "cohort_size" in changes else ""
    values |= {"twins": "{ epochs = 2 }", **changes}
    path.write_text(
        f"""
[dataset]
name = "digits"
classes = 10
train = 1_257
validation = 180
test = 360
size = 28
channels = 1

[zoos.tiny]
architecture = "cnn-s"
batch_size = {values["batch_size"]}
epochs = {values["epochs"]}
{cohort_size}twins = {values["twins"]}
seeds = {values["seeds"]}

[zoos.tiny.grid]
activation = ["tanh"]
initialization = ["kaiming_uniform"]
optimizer = ["adam", "sgd"]
dropout = [0.0]
learning_rate = {values["rate"]}
"""
    )
    return path


def replace_dataset(spec: ZooSpec, **changes) -> ZooSpec:
    """The spec with changes to its dataset."""
    return dataclasses.replace(spec, dataset=dataclasses.replace(spec.dataset, **changes))


MADE = {"platform": "cpu", "device": "a CPU", "jaxlib": "1", "kernels": 1, "prng": "threefry2x32"}


def record_of(spec: ZooSpec, **changes) -> ZooRecord:
    """The record of a zoo that no engine has trained."""
    plan = plan_zoo(spec)
    record = ZooRecord(
        spec=spec,
        stages=only_stage(spec),
        cohorts=(CohortRecord(engine="lanes", lanes=16),) * len(plan.cohorts),
        images=tuple(
            ImagesRecord(name=each.name, fingerprint="f" * 64, mean=(0.25,), std=(0.5,)) for each in spec.every_dataset
        ),
        made=Maker(versions={"jax": "1"}, platform="cpu", device="a CPU", settings={"prng": "threefry2x32"}),
        members=members_digest(plan.members),
    )
    return dataclasses.replace(record, **changes)


def draw_leaves(draws, models, shapes, scale=0.1):
    """Normal numbers of every shape, for so many models; a variance is between 0.5 and 2."""
    return {
        layer: {
            kind: draws.uniform(0.5, 2, (models, *shape)).astype(np.float32)
            if kind == "var"
            else np.float32(scale) * draws.standard_normal((models, *shape), np.float32)
            for kind, shape in kinds.items()
        }
        for layer, kinds in shapes.items()
    }


def store_zoo(folder, spec: ZooSpec, *, scale=0.1, finite=lambda model, epoch: True):
    """A zoo on disk through the real store, its weights, statistics and metrics drawn instead of trained."""
    plan = plan_zoo(spec)
    record = record_of(spec)
    begin_zoo(folder, record, plan, "card")
    for cohort in plan.cohorts:
        shapes = variable_shapes(cohort.key.layers, spec.dataset)
        identity = identity_of(record, cohort.number, cohort.members, MADE)
        with CohortStore(cohort_folder(folder, cohort.number), identity) as store:
            for epoch in range(spec.epochs + 1):
                draws = np.random.default_rng([cohort.number, epoch])
                count = len(cohort.members)
                variables = {name: draw_leaves(draws, count, tree, scale) for name, tree in shapes.items()}
                metrics = {name: draws.random(count, np.float32) for name in METRICS}
                metrics["finite"] = np.array([finite(member.model, epoch) for member in cohort.members])
                store.save(epoch, variables, metrics, [np.int32(epoch)])
    return open_zoo(folder)
