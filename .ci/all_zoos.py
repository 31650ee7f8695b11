"""Makes two models of each of the 27 published zoos, for one epoch, and looks at what came out.

    python .ci/all_zoos.py --out DIR                       images cut to a few hundred, generated
    python .ci/all_zoos.py --out DIR --images 1000000 --data-dir DATA --real mnist fashion_mnist --zoos cnn

Images of the datasets named by --real are those prepared under --data-dir; all others are generated in the shape of the
dataset. A full epoch of a ResNet-18 takes hours on a CPU.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np

import jaxzoo
from jaxzoo.models.variables import parameter_count
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec

PUBLISHED = 27


def main() -> None:
    """Makes the zoos and says how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, help="(OUT/images)")
    parser.add_argument("--images", type=int, default=40, help="at most so many of each split, and a batch (40)")
    parser.add_argument("--real", nargs="*", default=[], metavar="DATASET")
    parser.add_argument("--zoos", nargs="*", choices=("cnn", "resnet"), default=("cnn", "resnet"))
    parser.add_argument("--twins", choices=("variational-dropout", "magnitude", "none"), default="magnitude")
    options = parser.parse_args()
    jaxzoo.use_all_cores()
    jaxzoo.use_compilation_cache()
    specs = [jaxzoo.load_spec(name) for name in jaxzoo.zoo_names() if name != "digits"]
    assert len(specs) == PUBLISHED
    data_dir = options.data_dir or options.out / "images"
    for spec in specs:
        if spec.architecture.startswith(tuple(options.zoos)):
            if spec.dataset.name not in options.real:
                spec = with_generated_images(spec, options.images, data_dir)
            start = time.monotonic()
            make(spec, options.out / spec.name, data_dir, options.twins)
            print(f"{spec.name}: {spec.dataset.train:,} training images, {time.monotonic() - start:.0f} s", flush=True)


def make(spec: ZooSpec, folder: Path, data_dir: Path, method: str) -> None:
    """Two models, their twins, and what must hold of them."""
    twins = method if method == "none" else TwinSpec(method=method, epochs=1)
    zoo = jaxzoo.generate(spec, folder, models=2, epochs=1, data_dir=data_dir, twins=twins)
    assert zoo.epochs == (0, 1)
    assert zoo.weights(1).shape == (2, parameter_count(spec.layers, spec.dataset))
    assert (zoo.weights(1) != zoo.weights(0)).any(axis=1).all()
    assert np.isfinite(zoo.metrics_at(1)["test_loss"]).all()
    assert all(twin.epochs == (0, 1) for twin in zoo.twins.values())
    assert len(zoo.twins) == (method != "none")


def with_generated_images(spec: ZooSpec, most: int, data_dir: Path) -> ZooSpec:
    """The zoo on a folder of generated images of its dataset's shape, written where it is not there yet."""
    dataset = spec.dataset
    train = min(dataset.train, max(most, spec.batch_size))
    validation, test = (min(count, most) for count in (dataset.validation, dataset.test))
    folder = f"{dataset.name}-{dataset.size}-{train}"
    counts = {"train": train, "validation": validation, "test": test}
    splits = {"train_split": "train", "test_split": "test", "tfds": None, "folder": folder}
    generated = dataclasses.replace(dataset, **counts, **splits)
    if not (data_dir / folder).exists():
        write_images(data_dir / folder, generated)
    return dataclasses.replace(spec, dataset=generated)


def write_images(folder: Path, dataset: DatasetSpec) -> None:
    """Noise around a picture of each class."""
    draws = np.random.default_rng(0)
    shape = (dataset.size, dataset.size, dataset.channels)
    pictures = draws.integers(0, 128, (dataset.classes, *shape), np.uint8)
    folder.mkdir(parents=True)
    for name, count in (("train", dataset.train + dataset.validation), ("test", dataset.test)):
        labels = draws.integers(0, dataset.classes, count, np.int32)
        labels[: dataset.classes] = np.arange(dataset.classes)[:count]
        noise = draws.integers(0, 128, (count, *shape), np.uint8)
        np.savez(folder / f"{name}.npz", images=pictures[labels] + noise, labels=labels)


if __name__ == "__main__":
    main()
