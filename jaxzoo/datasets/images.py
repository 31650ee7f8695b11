"""Images in memory: pixels and labels of three splits, and the mean and standard deviation that normalise them."""

import hashlib
import sys
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jaxzoo.datasets.preprocessing import preprocess
from jaxzoo.errors import InputError
from jaxzoo.spec.dataset_spec import SPLITS, DatasetSpec

SPLIT_SEED = 42  # the original's


class Split(NamedTuple):
    """Pixels (N, H, W, C) uint8, and labels (N,) int32 from 0 to the number of classes - 1."""

    pixels: np.ndarray
    labels: np.ndarray


class Images(NamedTuple):
    """The splits of a dataset, with the mean and standard deviation (C,) of pixels scaled to 0..1.

    The fingerprint identifies exactly these arrays.
    """

    train: Split
    validation: Split
    test: Split
    mean: np.ndarray
    std: np.ndarray
    fingerprint: str

    def normalised(self, split: str, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """A split as networks take it, `(pixels / 255 - mean) / std`, (N, H, W, C) float32; of it some `rows`, or all.

        Raises InputError for an unknown split.
        """
        if split not in SPLITS:
            raise InputError(f"split is {split!r}, expected one of: {', '.join(SPLITS)}")
        pixels = getattr(self, split).pixels[rows]
        return ((pixels / 255 - self.mean) / self.std).astype(np.float32)

    @property
    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """The normalisation as a device computes it: `pixel * scale + shift`, both (C,) float32."""
        return np.asarray(1 / (255 * self.std), np.float32), np.asarray(-self.mean / self.std, np.float32)

    def check_fingerprint(self, wanted: str, folder: object) -> None:
        """Raises InputError, which names the folder of the zoo, where these are not the images of that fingerprint."""
        if self.fingerprint != wanted:
            got = self.fingerprint[:12]
            raise InputError(f"{folder}: was made of images of fingerprint {wanted[:12]}, got {got}, expected those")


Example = tuple[np.ndarray, int]  # a raw image (H, W, C) uint8 and its label


def make_images(dataset: DatasetSpec, train: Split, validation: Split, test: Split) -> Images:
    """Checks the splits against the spec. Measures mean and std of train if the spec has none. Raises InputError."""
    splits = {"train": train, "validation": validation, "test": test}
    for name, split in splits.items():
        _check(dataset, name, split, getattr(dataset, name))
    if dataset.mean is None or dataset.std is None:
        mean = train.pixels.mean(axis=(0, 1, 2)) / 255
        std = train.pixels.std(axis=(0, 1, 2)) / 255
        if std.min() == 0:
            raise InputError(
                f"dataset {dataset.name!r}: a channel of train is constant, expected mean and std in the spec"
            )
    else:
        mean, std = np.array(dataset.mean), np.array(dataset.std)
    return Images(train, validation, test, mean, std, fingerprint_of(list(splits.values()), mean, std))


def collect_split(
    dataset: DatasetSpec, name: str, examples: Iterable[Example], count: int, *, progress: bool = False
) -> Split:
    """Preprocesses `count` raw examples and puts them in the order of their contents.

    The order is that of a hash of the raw pixels and the label. So it does not depend on how a dataset was prepared,
    and every architecture has the same examples in its splits. Raises InputError for more or fewer examples.
    """
    where = f"dataset {dataset.name!r}: its split {name!r}"
    try:
        pixels = np.empty((count, dataset.size, dataset.size, dataset.channels), np.uint8)
        labels = np.empty(count, np.int32)
    except (MemoryError, ValueError) as error:
        raise InputError(f"{where}: {count} images of size {dataset.size} are more than memory holds") from error
    hashes: list[bytes] = []
    bar = tqdm(
        examples,
        total=count,
        desc=f"reading {dataset.name} {name}",
        unit=" images",
        mininterval=0.2 if sys.stderr.isatty() else 10,  # in a log file every update would be a line
        disable=not progress,
    )
    for image, label in bar:
        index = len(hashes)
        if index == count:
            raise InputError(f"{where} holds more than {count} images, expected as many as it says")
        if not 0 <= label < dataset.classes:
            raise InputError(f"{where} has the label {label}, expected 0..{dataset.classes - 1}")
        pixels[index] = preprocess(dataset, image)
        labels[index] = label
        hashes.append(_content_hash(image, label))
    if len(hashes) != count:
        raise InputError(f"{where} holds {len(hashes)} images, expected {count} as it says")
    order = sorted(range(count), key=hashes.__getitem__)
    return take(Split(pixels, labels), np.array(order, np.int64))


def draw_splits(dataset: DatasetSpec, train: Split, test: Split | None) -> tuple[Split, Split, Split]:
    """Train, validation and test. Train and validation are drawn from `train` with seed 42.

    Test is `test`, or without it a third part drawn from `train`.
    """
    parts = [dataset.train, dataset.validation] + ([dataset.test] if test is None else [])
    # RandomState, not Generator: NumPy promises that its stream never changes
    order = np.random.RandomState(SPLIT_SEED).permutation(sum(parts))
    drawn = [take(train, indices) for indices in np.split(order, np.cumsum(parts)[:-1])]
    return drawn[0], drawn[1], drawn[2] if test is None else test


def source_counts(dataset: DatasetSpec) -> dict[str, int]:
    """How many examples each split of the source must hold."""
    both = dataset.train + dataset.validation
    if dataset.train_split == dataset.test_split:
        return {dataset.train_split: both + dataset.test}
    return {dataset.train_split: both, dataset.test_split: dataset.test}


def take(split: Split, indices: np.ndarray) -> Split:
    """The examples at these indices, in the order of the indices."""
    return Split(split.pixels[indices], split.labels[indices])


def fingerprint_of(splits: list[Split], mean: np.ndarray, std: np.ndarray) -> str:
    """SHA-256 over shapes, pixels, labels and normalisation, in hexadecimal digits."""
    # byte orders are fixed, so that every machine gets the same fingerprint
    digest = hashlib.sha256()
    for pixels, labels in splits:
        digest.update(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels, np.uint8).data)
        digest.update(np.ascontiguousarray(labels, "<i4").data)
    digest.update(np.ascontiguousarray([mean, std], "<f8").data)
    return digest.hexdigest()


def _content_hash(image: np.ndarray, label: int) -> bytes:
    return hashlib.blake2b(image.tobytes() + b"%d" % label, digest_size=16).digest()


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
