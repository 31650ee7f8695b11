"""Images: the embedded digits, and MNIST-like archives in their genuine format."""

import dataclasses
import gzip
import struct

import numpy as np
import pytest

import jaxzoo
from jaxzoo.datasets import load_images
from jaxzoo.errors import InputError
from jaxzoo.spec import DatasetSpec

DIGITS = jaxzoo.load_spec("digits").dataset
SMALL = DatasetSpec(
    name="mnist", classes=10, train=50, validation=10, test=20, size=28, channels=1, mean=(0.1,), std=(0.3,)
)


def test_digits_are_whole_resized_and_measured():
    images = load_images(DIGITS)
    assert images.train.pixels.shape == (1257, 28, 28, 1)
    everything = np.concatenate([images.train.labels, images.validation.labels, images.test.labels])
    assert np.bincount(everything).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert 200 < images.train.pixels.max() <= 255
    normalised = (images.train.pixels / 255 - images.mean) / images.std
    assert abs(normalised.mean()) < 1e-9
    assert abs(normalised.std() - 1) < 1e-9
    assert load_images(DIGITS).fingerprint == images.fingerprint


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def archives(tmp_path):
    """Raw and gzipped idx files of 60 + 20 images, and the arrays in them."""
    draws = np.random.default_rng(0)
    folder = tmp_path / "mnist"
    folder.mkdir()
    arrays = {}
    for prefix, count in (("train", 60), ("t10k", 20)):
        arrays[prefix] = draws.integers(0, 256, (count, 28, 28)), draws.integers(0, 10, count)
        images, labels = map(idx, arrays[prefix])
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return tmp_path, arrays


def test_idx_files_are_read_raw_and_gzipped_and_split_with_seed_42(archives):
    folder, arrays = archives
    images = load_images(SMALL, folder)
    pixels, labels = arrays["train"]
    order = np.random.RandomState(42).permutation(60)
    np.testing.assert_array_equal(images.train.pixels[..., 0], pixels[order[:50]])
    np.testing.assert_array_equal(images.validation.labels, labels[order[50:]])
    np.testing.assert_array_equal(images.test.pixels[..., 0], arrays["t10k"][0])
    np.testing.assert_array_equal(images.test.labels, arrays["t10k"][1])


def test_the_fingerprint_names_the_exact_images(archives):
    folder, _ = archives
    before = load_images(SMALL, folder).fingerprint
    assert load_images(dataclasses.replace(SMALL, mean=(0.2,)), folder).fingerprint != before
    path = folder / "mnist" / "t10k-images-idx3-ubyte"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert load_images(SMALL, folder).fingerprint != before


def test_the_data_directory_defaults_to_that_of_tfds(archives, monkeypatch):
    folder, _ = archives
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    assert load_images(SMALL).train.pixels.shape == (50, 28, 28, 1)


DAMAGES = {
    "missing": (lambda path: path.unlink(), r"train-images-idx3-ubyte\(.gz\) is missing"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-5]), r"holds 47051 bytes, expected 47056"),
    "something else": (lambda path: path.write_bytes(b"\x89PNG"), r"expected an idx file of bytes with 3 axes"),
    "empty": (lambda path: path.write_bytes(b""), r"expected an idx file of bytes with 3 axes"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    "other sizes": (lambda path: path.write_bytes(idx(np.zeros((60, 27, 28)))), r"expected uint8\(50, 28, 28, 1\)"),
    "fewer images": (lambda path: path.write_bytes(idx(np.zeros((59, 28, 28)))), "train has 59 images and 60 labels"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_bad_archive_is_one_clear_line(archives, damage, message):
    folder, _ = archives
    damage(folder / "mnist" / "train-images-idx3-ubyte")
    with pytest.raises(InputError, match=message) as error:
        load_images(SMALL, folder)
    assert "\n" not in str(error.value)


def test_a_cut_gzip_and_labels_out_of_range_are_one_clear_line(archives):
    folder, _ = archives
    labels = folder / "mnist" / "train-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"ubyte\.gz: cannot be read"):
        load_images(SMALL, folder)
    labels.write_bytes(gzip.compress(idx(np.full(60, 10))))
    with pytest.raises(InputError, match=r"train: labels are 10\.\.10, expected 0\.\.9"):
        load_images(SMALL, folder)
    labels.write_bytes(gzip.compress(idx(np.zeros(59))))
    with pytest.raises(InputError, match="train has 60 images and 59 labels"):
        load_images(SMALL, folder)


def test_another_number_of_images_is_one_clear_line(archives):
    folder, _ = archives
    with pytest.raises(InputError, match="its training split holds 60 images, expected 61"):
        load_images(dataclasses.replace(SMALL, validation=11), folder)
    with pytest.raises(InputError, match=r"test: pixels are uint8\(20, 28, 28, 1\), expected uint8\(21, 28, 28, 1\)"):
        load_images(dataclasses.replace(SMALL, test=21), folder)


def test_a_dataset_that_comes_later_is_one_clear_line():
    with pytest.raises(InputError, match="dataset 'svhn' cannot be read yet, expected one of: digits, mnist"):
        load_images(jaxzoo.load_spec("svhn-seed").dataset)
