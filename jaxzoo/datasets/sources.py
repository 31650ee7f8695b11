"""Which archives each dataset comes from, and which function reads them.

Addresses and checksums come from TensorFlow Datasets where it has the dataset. Those of two others are written here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxzoo.datasets.archives import (
    Names,
    Record,
    cifar_names,
    read_cifar,
    read_idx,
    read_stl,
    read_svhn,
    read_tiny_imagenet,
    read_usps,
    stl_names,
    tiny_imagenet_names,
)


class Own(NamedTuple):
    """A dataset that TensorFlow Datasets lacks: its addresses with MD5 sums, and its builder's metadata."""

    md5: Mapping[str, str]  # by address
    shape: tuple[int, int, int]
    classes: int
    homepage: str
    description: str
    has_id: bool = False


class Source(NamedTuple):
    """The archives of each split by file name, their reader, and the reader of the names of the classes.

    `unpacked` has SHA-256 sums of decompressed files, for archives that circulate compressed in several ways.
    """

    files: Mapping[str, tuple[str, ...]]
    read: Callable[[Sequence[Path], str], Iterator[Record]]
    read_names: Callable[[Sequence[Path]], Names] | None = None
    unpacked: Mapping[str, str] = {}
    own: Own | None = None


def _idx_source(unpacked: Mapping[str, str]) -> Source:
    files = {
        split: (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
        for split, prefix in (("train", "train"), ("test", "t10k"))
    }
    return Source(files, read_idx, unpacked=unpacked)


def _one_archive(name: str) -> dict[str, tuple[str, ...]]:
    return {"train": (name,), "test": (name,)}


LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass"

SOURCES: Mapping[str, Source] = {
    # the files of the first two datasets have the same names: the sums alone tell them apart
    "mnist": _idx_source(
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        }
    ),
    "fashion_mnist": _idx_source(
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        }
    ),
    "svhn_cropped": Source({"train": ("train_32x32.mat",), "test": ("test_32x32.mat",)}, read_svhn),
    "cifar10": Source(_one_archive("cifar-10-binary.tar.gz"), read_cifar, cifar_names),
    "cifar100": Source(_one_archive("cifar-100-binary.tar.gz"), read_cifar, cifar_names),
    "stl10": Source(_one_archive("stl10_binary.tar.gz"), read_stl, stl_names),
    # from here on, datasets that TensorFlow Datasets lacks
    "usps": Source(
        {"train": ("usps.bz2",), "test": ("usps.t.bz2",)},
        read_usps,
        own=Own(
            md5={
                f"{LIBSVM}/usps.bz2": "ec16c51db3855ca6c91edd34d0e9b197",
                f"{LIBSVM}/usps.t.bz2": "8ea070ee2aca1ac39742fdd1ef5ed118",
            },
            shape=(16, 16, 1),
            classes=10,
            homepage=f"{LIBSVM}.html#usps",
            description="Handwritten digits of 16 x 16 pixels, scanned from envelopes by the U.S. Postal Service.",
        ),
    ),
    "tiny_imagenet": Source(
        _one_archive("tiny-imagenet-200.zip"),
        read_tiny_imagenet,
        tiny_imagenet_names,
        own=Own(
            md5={"http://cs231n.stanford.edu/tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"},
            shape=(64, 64, 3),
            classes=200,
            homepage="http://cs231n.stanford.edu/",
            description="200 classes of ImageNet at 64 x 64 pixels; the published val folder is the test split.",
            has_id=True,
        ),
    ),
}
