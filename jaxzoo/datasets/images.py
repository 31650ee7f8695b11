"""Images in memory: uint8 pixels and labels of three splits, and what to normalise them with."""

import hashlib
from typing import NamedTuple

import numpy as np

from jaxzoo.errors import InputError
from jaxzoo.spec import DatasetSpec

SPLIT_SEED = 42


class Split(NamedTuple):
    """pixels (N, H, W, C) uint8 and labels (N,) int32 below the number of classes."""

    pixels: np.ndarray
    labels: np.ndarray


class Images(NamedTuple):
    """The splits of a dataset; `mean` and `std`, (C,), are in units of 0..1. The fingerprint names the exact arrays."""

    train: Split
    validation: Split
    test: Split
    mean: np.ndarray
    std: np.ndarray
    fingerprint: str


def make_images(dataset: DatasetSpec, train: Split, validation: Split, test: Split) -> Images:
    """Checks the splits against the spec and measures what it leaves open. Raises InputError."""
    splits = {"train": train, "validation": validation, "test": test}
    for name, split in splits.items():
        _check(dataset, name, split, getattr(dataset, name))
    if dataset.mean is None or dataset.std is None:
        mean = train.pixels.mean(axis=(0, 1, 2)) / 255
        std = train.pixels.std(axis=(0, 1, 2)) / 255
    else:
        mean, std = np.array(dataset.mean), np.array(dataset.std)
    return Images(train, validation, test, mean, std, _fingerprint(list(splits.values()), mean, std))


def split_train_validation(dataset: DatasetSpec, split: Split) -> tuple[Split, Split]:
    """The two parts of a published training split, drawn with seed 42 over its own order."""
    wanted = dataset.train + dataset.validation
    if len(split.labels) != wanted:
        got = len(split.labels)
        raise InputError(f"dataset {dataset.name!r}: its training split holds {got} images, expected {wanted}")
    # RandomState, not Generator: NumPy promises that its stream never changes
    order = np.random.RandomState(SPLIT_SEED).permutation(wanted)
    return take(split, order[: dataset.train]), take(split, order[dataset.train :])


def take(split: Split, places: np.ndarray) -> Split:
    """The examples at those places, in that order."""
    return Split(split.pixels[places], split.labels[places])


def _check(dataset: DatasetSpec, name: str, split: Split, count: int) -> None:
    where = f"dataset {dataset.name!r}: {name}"
    wanted = (count, dataset.size, dataset.size, dataset.channels)
    if split.pixels.shape != wanted or split.pixels.dtype != np.uint8:
        raise InputError(f"{where}: pixels are {split.pixels.dtype}{split.pixels.shape}, expected uint8{wanted}")
    if split.labels.shape != (count,):
        raise InputError(f"{where}: {split.labels.size} labels, expected {count}")
    if count and not 0 <= split.labels.min() <= split.labels.max() < dataset.classes:
        got = f"{split.labels.min()}..{split.labels.max()}"
        raise InputError(f"{where}: labels are {got}, expected 0..{dataset.classes - 1}")


def _fingerprint(splits: list[Split], mean: np.ndarray, std: np.ndarray) -> str:
    """SHA-256 over shapes, pixels, labels and normalisation, in hexadecimal digits."""
    digest = hashlib.sha256()
    for pixels, labels in splits:
        digest.update(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels, np.uint8).data)
        digest.update(np.ascontiguousarray(labels, "<i4").data)
    digest.update(np.ascontiguousarray([mean, std], "<f8").data)
    return digest.hexdigest()
