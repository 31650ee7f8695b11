"""Readers of the published archives in their own formats, in plain Python, without TensorFlow.

Each reader takes the paths of a split's archives and yields the split's records in the order of the archive. A record
has an "image", (H, W, C) uint8 or the bytes of an encoded file, a "label", and further features if the dataset has
any. A reader raises InputError where a file is damaged or not in the expected format.
"""

import bz2
import contextlib
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.errors import InputError

Record = dict[str, Any]
Names = dict[str, list[str]]

IDX_BYTES = 8  # the idx format's code for unsigned bytes
# CIFAR-10's files come first, CIFAR-100's single file last; an archive holds those of one of the two datasets
CIFAR_FILES = {
    "train": (*(f"data_batch_{part}.bin" for part in range(1, 6)), "train.bin"),
    "test": ("test_batch.bin", "test.bin"),
}
STL_SIZE = 96  # pixels on a side
USPS_SIZE = 16


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turns the errors of decompressing and parsing a damaged file into an InputError of one line with its path."""
    try:
        yield
    except InputError:  # it is a ValueError: the next clause would wrap it once more
        raise
    except (OSError, EOFError, ValueError, KeyError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read: {str(error) or type(error).__name__}") from error


def read_unpacked(path: Path) -> bytes:
    """The bytes of a file, decompressed if its name ends in .gz."""
    with _whole(path):
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data


def read_idx(paths: Sequence[Path], split: str) -> Iterator[Record]:
    """Reads images and labels as MNIST has them, one idx file each.

    The format (Yann LeCun's MNIST page): two zero bytes, a type byte (8: unsigned bytes), the number of axes, each axis
    as a big-endian 32-bit integer, then the bytes in row-major order.
    """
    images, labels = _idx_array(paths[0], axes=3), _idx_array(paths[1], axes=1)
    if len(images) != len(labels):
        raise InputError(f"{paths[1]}: holds {len(labels)} labels, expected {len(images)}, one per image")
    for image, label in zip(images, labels, strict=True):
        yield {"image": image[..., None], "label": int(label)}


def _idx_array(path: Path, axes: int) -> np.ndarray:
    data = read_unpacked(path)
    header = 4 + 4 * axes
    if data[:4] != bytes([0, 0, IDX_BYTES, axes]) or len(data) < header:
        raise InputError(f"{path}: starts with {data[:4]!r}, expected an idx file of bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", data[4:header])
    size = header + int(np.prod(shape, dtype=np.int64))
    if len(data) != size:
        raise InputError(f"{path}: holds {len(data)} bytes, expected {size} for an array of {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_svhn(paths: Sequence[Path], split: str) -> Iterator[Record]:
    """Reads SVHN's cropped digits: a MATLAB 5 file with X (32, 32, 3, N) and y (N, 1); label 10 means the digit 0."""
    import scipy.io

    (path,) = paths
    with _whole(path):
        table = scipy.io.loadmat(path)
        pixels, labels = np.moveaxis(table["X"], -1, 0), table["y"].ravel()
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 32, 32, 3):
        raise InputError(f"{path}: X is {pixels.dtype}{pixels.shape}, expected uint8({len(labels)}, 32, 32, 3)")
    if not set(labels.tolist()) <= set(range(1, 11)):
        raise InputError(f"{path}: y has {labels.min()}..{labels.max()}, expected 1..10")
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        yield {"image": image, "label": int(label) % 10, "id": f"{split}_{index:06d}"}


def read_cifar(paths: Sequence[Path], split: str) -> Iterator[Record]:
    """Reads CIFAR-10 or CIFAR-100, binary version: rows of the labels' bytes and 3,072 bytes channel by channel."""
    (path,) = paths
    members = _tar_members(path, CIFAR_FILES[split])
    # these names are CIFAR-100's, whose rows begin with the coarse label
    labels = ("coarse_label", "label") if "train.bin" in members or "test.bin" in members else ("label",)
    index = 0
    for name in CIFAR_FILES[split]:
        data = np.frombuffer(members.get(name, b""), np.uint8)
        if data.size % (len(labels) + 3072):
            raise InputError(f"{path}: {name} holds {data.size} bytes, expected rows of {len(labels) + 3072}")
        for row in data.reshape(-1, len(labels) + 3072):
            record: Record = {label: int(row[position]) for position, label in enumerate(labels)}
            image = row[len(labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
            yield record | {"image": image, "id": f"{split}_{index:05d}"}
            index += 1
    if not index:
        raise InputError(f"{path}: holds none of {', '.join(CIFAR_FILES[split])}")


def cifar_names(paths: Sequence[Path]) -> Names:
    """The names of the classes by feature, from the archive's text files."""
    files = {"batches.meta.txt": "label", "fine_label_names.txt": "label", "coarse_label_names.txt": "coarse_label"}
    members = _tar_members(paths[0], tuple(files))
    with _whole(paths[0]):
        return {files[name]: data.decode().split() for name, data in members.items()}


def read_stl(paths: Sequence[Path], split: str) -> Iterator[Record]:
    """Reads STL-10's labelled images, binary version: planes of 96 x 96 bytes, column by column, and labels from 1."""
    (path,) = paths
    members = _tar_members(path, (f"{split}_X.bin", f"{split}_y.bin"))
    with _whole(path):
        pixels = np.frombuffer(members[f"{split}_X.bin"], np.uint8).reshape(-1, 3, STL_SIZE, STL_SIZE)
        labels = np.frombuffer(members[f"{split}_y.bin"], np.uint8)
    if len(pixels) != len(labels):
        raise InputError(f"{path}: {split}_y.bin holds {len(labels)} labels, expected {len(pixels)}, one per image")
    # the file's axes are N, C, W, H
    for image, label in zip(pixels.transpose(0, 3, 2, 1), labels, strict=True):
        yield {"image": image, "label": int(label) - 1}


def stl_names(paths: Sequence[Path]) -> Names:
    """The names of the ten classes, from the archive's text file."""
    (data,) = _tar_members(paths[0], ("class_names.txt",)).values()
    with _whole(paths[0]):
        return {"label": data.decode().split()}


def _tar_members(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of a gzipped tar's files with these names, in whatever folder of the archive, by name."""
    found: dict[str, bytes] = {}
    with _whole(path), gzip.open(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for entry in archive:
                name = entry.name.rpartition("/")[2]
                if entry.isfile() and name in names:
                    content = archive.extractfile(entry)
                    assert content is not None  # tarfile gives None only for what is not a regular file
                    found[name] = content.read()
        # the tar ends before gzip's checksum, which is verified only when the stream is read to its end
        while stream.read(1 << 20):
            pass
    if not found:
        raise InputError(f"{path}: holds none of {', '.join(names)}")
    return found


def read_usps(paths: Sequence[Path], split: str) -> Iterator[Record]:
    """Reads USPS digits, a bzip2 file in LIBSVM's text format.

    A line is a label 1..10 (the digit plus 1), then 256 pairs index:value with values in -1..1. A value becomes the
    byte that torchvision, the original's reader, makes of it: (value + 1) / 2 * 255, cut off.
    """
    (path,) = paths
    with _whole(path):
        lines = bz2.decompress(path.read_bytes()).decode().splitlines()
    for number, line in enumerate(lines, start=1):
        with _whole(path):
            label, *pairs = line.split()
            digit = int(float(label)) - 1
            indices, values = np.array([pair.split(":") for pair in pairs], float).T
        # LIBSVM's format allows gaps where a value is zero; here a gap is taken for damage
        if not np.array_equal(indices, np.arange(1, USPS_SIZE**2 + 1)) or np.abs(values).max() > 1:
            raise InputError(f"{path}: line {number} is not {USPS_SIZE**2} values of -1..1 in their order")
        image = ((values + 1) / 2 * 255).astype(np.uint8).reshape(USPS_SIZE, USPS_SIZE, 1)
        yield {"image": image, "label": digit}


def read_tiny_imagenet(paths: Sequence[Path], split: str) -> Iterator[Record]:
    """Reads Tiny ImageNet's JPEG files without decoding them; the published `val` folder is the test split.

    The archive's own `test` folder has no labels. Classes are numbered in the order of their WordNet ids, which is
    how their folders sort.
    """
    (path,) = paths
    with _whole(path), zipfile.ZipFile(path) as archive:
        # names without the folder that holds the whole archive
        files = {name.partition("/")[2]: name for name in archive.namelist()}
        classes = {wnid: label for label, wnid in enumerate(_wordnet_ids(archive, files))}
        if split == "train":
            labelled = [(name, name.split("/")[1]) for name in files if name.startswith("train/") and _is_image(name)]
        else:
            rows = archive.read(files["val/val_annotations.txt"]).decode().splitlines()
            labelled = [(f"val/images/{row.split()[0]}", row.split()[1]) for row in rows]
        for name, wnid in labelled:
            yield {"image": archive.read(files[name]), "label": classes[wnid], "id": name.rpartition("/")[2]}


def tiny_imagenet_names(paths: Sequence[Path]) -> Names:
    """The names of the classes: a WordNet id, followed by the words that it stands for."""
    with _whole(paths[0]), zipfile.ZipFile(paths[0]) as archive:
        files = {name.partition("/")[2]: name for name in archive.namelist()}
        lines = archive.read(files["words.txt"]).decode().splitlines()
        words = dict(line.split("\t", 1) for line in lines)
        return {"label": [f"{wnid} {words[wnid]}" for wnid in _wordnet_ids(archive, files)]}


def _wordnet_ids(archive: zipfile.ZipFile, files: dict[str, str]) -> list[str]:
    return sorted(archive.read(files["wnids.txt"]).decode().split())


def _is_image(name: str) -> bool:
    return name.endswith(".JPEG")


def png_file(image: np.ndarray) -> io.BytesIO:
    """The image as a PNG file in memory; the format is lossless."""
    from PIL import Image

    file = io.BytesIO()
    # Pillow takes a gray image without a channel axis
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "png")
    file.seek(0)
    return file
