"""Prepares datasets of TensorFlow Datasets and reads them in bulk, without TensorFlow."""

import contextlib
import importlib.util
import io
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import google_crc32c
import numpy as np
import requests
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.proto import tf_example_pb2

from jaxzoo.datasets.builders import find_builder, look_for_archives
from jaxzoo.datasets.images import Example, Split, collect_split, source_counts
from jaxzoo.datasets.sources import SOURCES
from jaxzoo.errors import InputError
from jaxzoo.spec.dataset_spec import DatasetSpec

NOT_FOUND = tfds.core.registered.DatasetNotFoundError
LEFT_SECONDS = 3600  # a folder that changed within the last hour may be one that another program is writing
BULK = 1000  # records per read: reading them one by one takes twice as long
PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGB"}  # by the channels that the dataset states; transparency is dropped


def prepare(dataset: DatasetSpec, root: Path, *, progress: bool = False) -> Path:
    """The folder of the prepared dataset. Downloads and prepares the dataset if need be. Raises InputError."""
    name = dataset.tfds or dataset.name
    with _quiet(progress):
        ours = _own_builder(dataset, name, root)
        builder = _other_builder(dataset, name, root) if ours is None else ours
        folder = Path(builder.data_path)
        if folder.exists():
            return folder
        if ours is not None:
            look_for_archives(ours)
        with _locked(root, dataset, builder.name):
            if not folder.exists():  # another process may have prepared it while this one waited for the lock
                _remove_leftovers(folder)
                _download_and_prepare(dataset, builder, root)
    return folder


def find_prepared(dataset: DatasetSpec, root: Path) -> Path:
    """The folder of a dataset that is prepared already. Downloads nothing. Raises InputError where it is not."""
    name = dataset.tfds or dataset.name
    with _quiet(False):
        builder = _own_builder(dataset, name, root) or _prepared_builder(dataset, name, root)
    if builder is None or not Path(builder.data_path).exists():
        raise InputError(f"dataset {dataset.name!r}: is not prepared in {root}, expected it there (jaxzoo.load_images)")
    return Path(builder.data_path)


def read_prepared(dataset: DatasetSpec, folder: Path, *, progress: bool = False) -> dict[str, Split]:
    """The splits that the spec names, preprocessed and in the order of their contents. Raises InputError."""
    where = f"dataset {dataset.name!r} in {folder}"
    try:
        builder = tfds.builder_from_directory(folder)
        image, label = _features(dataset, where, builder.info)
    except InputError:
        raise
    except Exception as error:  # damaged metadata raises errors of many classes
        raise InputError(f"{where}: cannot be read: {_one_line(error)}") from error
    splits = {}
    for name, count in source_counts(dataset).items():
        if name not in builder.info.splits:
            raise InputError(
                f"{where}: has no split {name!r}, expected one of: {', '.join(sorted(builder.info.splits))}"
            )
        got = builder.info.splits[name].num_examples
        if got != count:
            raise InputError(f"{where}: its split {name!r} holds {got} images, expected {count}")
        examples = _examples(builder, name, where, image, label)
        splits[name] = collect_split(dataset, name, examples, count, progress=progress)
    return splits


def _own_builder(dataset: DatasetSpec, name: str, root: Path) -> tfds.core.DatasetBuilder | None:
    try:
        return find_builder(name, root, root / dataset.name)
    except Exception as error:  # there is no such version, or dataset_info.json is damaged
        raise _unopened(dataset, name, root, error) from error


def _unopened(dataset: DatasetSpec, name: str, root: Path, error: Exception) -> InputError:
    return InputError(f"dataset {dataset.name!r} in {root}: {name!r} cannot be opened: {_one_line(error)}")


def _prepared_builder(dataset: DatasetSpec, name: str, root: Path) -> tfds.core.DatasetBuilder | None:
    """What reads a dataset that lies prepared in the data directory, None where it does not."""
    try:
        return read_only_builder.builder_from_files(name, data_dir=str(root))
    except NOT_FOUND:
        return None
    except Exception as error:  # a name can be wrong in several ways
        raise _unopened(dataset, name, root, error) from error


def _other_builder(dataset: DatasetSpec, name: str, root: Path) -> tfds.core.DatasetBuilder:
    """A builder of any dataset that TensorFlow Datasets knows or that lies prepared in the data directory."""
    # a prepared copy first: reading it takes no builder, and none of the packages that builders import
    prepared = _prepared_builder(dataset, name, root)
    if prepared is not None:
        return prepared
    try:
        builder = tfds.builder(name, data_dir=root)
    except NOT_FOUND as error:
        raise InputError(f"dataset {dataset.name!r}: TensorFlow Datasets has no {name!r}, nor has {root}") from error
    except Exception as error:  # a builder may import a missing package, and a name can be wrong in several ways
        raise _unopened(dataset, name, root, error) from error
    if not Path(builder.data_path).exists() and importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            f"dataset {dataset.name!r}: {name!r} is not prepared in {root}, and preparing it needs TensorFlow "
            f"(pip install tensorflow); without it: {', '.join(SOURCES)}"
        )
    return builder


def _download_and_prepare(dataset: DatasetSpec, builder: tfds.core.DatasetBuilder, root: Path) -> None:
    where = f"dataset {dataset.name!r}"
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        # array_record needs no TensorFlow; parquet, when it was tried, silently wrote 3,400 of 60,000 rows
        builder.download_and_prepare(file_format="array_record", download_config=config)
    except InputError:
        raise
    except NonMatchingChecksumError as error:
        raise InputError(f"{where}: a download has the wrong checksum: {_one_line(error)}") from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise InputError(
            f"{where}: the download failed ({_one_line(error)}); try again, or put the archives into "
            f"{root / dataset.name} by hand"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{root}: {where} cannot be prepared there: {_one_line(error)}") from error


def _remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left beside a dataset's folder, but nothing that may still be written to."""
    for path in folder.parent.glob("incomplete.*"):
        if path.stat().st_mtime < time.time() - LEFT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(root: Path, dataset: DatasetSpec, name: str) -> Iterator[None]:
    """Holds a lock, so that one process prepares a dataset of TensorFlow Datasets and others wait for it."""
    path = root / "jaxzoo" / f"{name}.lock"
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"{root}: cannot be written ({error.strerror}), and dataset {dataset.name!r} is not prepared there"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _quiet(progress: bool) -> Iterator[None]:
    """Keeps TensorFlow Datasets from printing to stdout and, without `progress`, from showing bars."""
    if not progress:
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()


def _features(dataset: DatasetSpec, where: str, info: Any) -> tuple[str, str]:
    """The names of the features with image and label. Raises InputError if these are not what the spec says."""
    image, label = info.supervised_keys or ("image", "label")
    features = dict(info.features.items())
    pixels, classes = features.get(image), features.get(label)
    if (
        not isinstance(pixels, tfds.features.Image)
        or pixels.shape[-1] not in PILLOW_MODES
        or pixels.np_dtype != np.uint8
    ):
        raise InputError(f"{where}: its {image!r} is {pixels}, expected an image of bytes with 1, 3 or 4 channels")
    if not isinstance(classes, tfds.features.ClassLabel) or classes.num_classes != dataset.classes:
        raise InputError(f"{where}: its {label!r} is {classes}, expected a label of {dataset.classes} classes")
    return image, label


def _examples(builder: Any, split: str, where: str, image: str, label: str) -> Iterator[Example]:
    mode = PILLOW_MODES[builder.info.features[image].shape[-1]]
    try:
        for record in _records(builder, split):
            feature = tf_example_pb2.Example.FromString(record).features.feature
            picture = Image.open(io.BytesIO(feature[image].bytes_list.value[0]))
            pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
            yield pixels.reshape(*pixels.shape[:2], -1), feature[label].int64_list.value[0]
    except InputError:
        raise
    except Exception as error:  # array_record, protobuf and Pillow each have their own classes of errors
        raise InputError(f"{where}: its split {split!r} is damaged: {_one_line(error)}") from error


def _records(builder: Any, split: str) -> Iterator[bytes]:
    """The serialized examples of a split, from array_record or tfrecord files."""
    # TensorFlow Datasets reads tfrecord files only with TensorFlow
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        for path in builder.info.splits[split].filepaths:
            yield from _tfrecords(Path(path))
        return
    source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    for first in range(0, len(source), BULK):
        yield from source.__getitems__(list(range(first, min(first + BULK, len(source)))))


def _tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a tfrecord file. Each is a length, the length's checksum, the bytes and their checksum.

    (TensorFlow, "TFRecord and tf.train.Example".)
    """
    with path.open("rb") as file:
        while header := file.read(12):  # eight bytes of length, four of its checksum
            if len(header) < 12:
                raise InputError(f"{path}: ends within a record")
            length = struct.unpack("<Q", _checked(path, header))[0]
            record = file.read(length + 4)
            if len(record) < length + 4:
                raise InputError(f"{path}: ends within a record")
            yield _checked(path, record)


def _checked(path: Path, data: bytes) -> bytes:
    """The bytes without their last four, a masked CRC-32C. Raises InputError if it does not fit."""
    crc = google_crc32c.value(data[:-4])
    # the format's mask: the checksum rotated right by 15 bits, then a constant added
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    if data[-4:] != masked.to_bytes(4, "little"):
        raise InputError(f"{path}: a record does not fit its checksum")
    return data[:-4]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
