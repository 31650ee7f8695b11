"""Raw MNIST-like archives: the idx format, gzipped or not.

The format (Yann LeCun's MNIST page): two zero bytes, a type byte (8: unsigned bytes), the number of axes, each axis as
a big-endian 32-bit integer, then the bytes in row-major order.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxzoo.datasets.images import Images, Split, make_images, split_train_validation
from jaxzoo.errors import InputError
from jaxzoo.spec import DatasetSpec

UNSIGNED_BYTES = 8


def load_idx(dataset: DatasetSpec, folder: Path) -> Images:
    """Images of the four files `train-images-idx3-ubyte`, ... of a folder, each gzipped (.gz) or not."""
    train = _read_split(dataset, folder, "train")
    test = _read_split(dataset, folder, "t10k")
    return make_images(dataset, *split_train_validation(dataset, train), test)


def _read_split(dataset: DatasetSpec, folder: Path, prefix: str) -> Split:
    images = _read_array(dataset, folder / f"{prefix}-images-idx3-ubyte", axes=3)
    labels = _read_array(dataset, folder / f"{prefix}-labels-idx1-ubyte", axes=1)
    if len(images) != len(labels):
        raise InputError(f"{folder}: {prefix} has {len(images)} images and {len(labels)} labels, expected as many")
    return Split(images[..., None], labels.astype(np.int32))


def _read_array(dataset: DatasetSpec, path: Path, axes: int) -> np.ndarray:
    data = _read_bytes(dataset, path)
    header = 4 + 4 * axes
    if data[:4] != bytes([0, 0, UNSIGNED_BYTES, axes]) or len(data) < header:
        raise InputError(f"{path}: starts with {data[:4]!r}, expected an idx file of bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", data[4:header])
    size = header + int(np.prod(shape, dtype=np.int64))
    if len(data) != size:
        raise InputError(f"{path}: holds {len(data)} bytes, expected {size} for an array of {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _read_bytes(dataset: DatasetSpec, path: Path) -> bytes:
    gzipped = path.with_name(path.name + ".gz")
    try:
        if path.exists():
            return path.read_bytes()
        return gzip.decompress(gzipped.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"dataset {dataset.name!r}: {path}(.gz) is missing, expected its four raw idx files in that folder"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{gzipped if not path.exists() else path}: cannot be read: {error}") from error
