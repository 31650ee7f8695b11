"""From a dataset's spec to its images."""

import os
from collections.abc import Callable
from pathlib import Path

from jaxzoo.datasets.cache import cache_folder, read_cache, stamp_of, write_cache
from jaxzoo.datasets.digits import EMBEDDED, load_digits
from jaxzoo.datasets.folder import read_folder
from jaxzoo.datasets.images import Images, draw_splits, make_images
from jaxzoo.errors import InputError
from jaxzoo.paths import local_path
from jaxzoo.spec.config import known_specs
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.zoo_spec import dataset_specs


def load_images(
    dataset: DatasetSpec,
    data_dir: str | Path | None = None,
    *,
    progress: bool = False,
    on_note: Callable[[str], None] = lambda text: None,
) -> Images:
    """The images of a dataset as one architecture sees them: `jaxzoo.load_images(zoo.spec.dataset)`.

    A dataset that is not in `data_dir` (see `data_folder`) is downloaded and prepared in it. Images that were read once
    are kept in it, too, and memory-mapped from then on. `progress` shows bars on stderr, `on_note` gets a line if the
    images cannot be kept. Raises InputError if images are missing, damaged or not what the spec says.
    """
    if is_embedded(dataset):
        return load_digits(dataset)
    root = data_folder(data_dir)
    folder = cache_folder(root, dataset)
    kept = read_cache(folder)
    if kept is not None:
        return kept
    origin = find_origin(dataset, root, progress=progress)
    stamp = stamp_of(origin)  # before reading: a file that changes meanwhile must not pass for the one that was read
    images = read_images(dataset, origin, progress=progress)
    try:
        write_cache(folder, images, origin, stamp)
    except OSError as error:
        on_note(f"{folder}: cannot be written ({error.strerror or error}); the images will be read anew at every start")
    return images


def find_origin(dataset: DatasetSpec, root: Path, *, progress: bool = False) -> Path:
    """The folder of the files that the images are read from. Prepares a dataset of TensorFlow Datasets if need be."""
    if dataset.folder is not None:
        return root / local_path(dataset.folder)
    from jaxzoo.datasets.prepared import prepare  # not above: reading the cache needs no TensorFlow Datasets

    return prepare(dataset, root, progress=progress)


def images_at_hand(dataset: DatasetSpec, data_dir: str | Path | None = None) -> Images:
    """The images of a zoo that anybody may have made: as they lie prepared in `data_dir`, and from nowhere else.

    Nothing is downloaded, and nothing outside of `data_dir` is read. Without `data_dir` only the datasets of jaxzoo's
    own zoos are looked for, in the usual place (see `data_folder`). Raises InputError where the images are not there.
    """
    if is_embedded(dataset):
        return load_digits(dataset)
    if data_dir is None and dataset not in dataset_specs(known_specs().values()):
        raise InputError(
            f"dataset {dataset.name!r}: is none of jaxzoo's own, and a zoo may name any folder; "
            "expected a data directory that holds it"
        )
    root = data_folder(data_dir)
    kept = read_cache(cache_folder(root, dataset))
    return kept if kept is not None else read_images(dataset, _prepared_inside(dataset, root))


def _prepared_inside(dataset: DatasetSpec, root: Path) -> Path:
    """The folder of the files that the images are read from, which is inside of `root`. Raises InputError."""
    if dataset.folder is not None:
        origin = root / local_path(dataset.folder)
    else:
        from jaxzoo.datasets.prepared import find_prepared  # not above: as in find_origin

        origin = find_prepared(dataset, root)
    if not origin.resolve().is_relative_to(root.resolve()):
        raise InputError(f"dataset {dataset.name!r}: {origin} is not inside of {root}, expected a folder inside")
    return origin


def read_images(dataset: DatasetSpec, origin: Path, *, progress: bool = False) -> Images:
    """The images, read from the files in the folder `origin` and not from the cache."""
    if dataset.folder is not None:
        splits = read_folder(dataset, origin, progress=progress)
    else:
        from jaxzoo.datasets.prepared import read_prepared

        splits = read_prepared(dataset, origin, progress=progress)
    train, test = splits[dataset.train_split], splits[dataset.test_split]
    one = dataset.train_split == dataset.test_split
    return make_images(dataset, *draw_splits(dataset, train, None if one else test))


def is_embedded(dataset: DatasetSpec) -> bool:
    """Whether the images come with scikit-learn."""
    return dataset.name == EMBEDDED and dataset.tfds is None and dataset.folder is None


def data_folder(given: str | Path | None) -> Path:
    """The data directory: as given, else `TFDS_DATA_DIR`, else TensorFlow Datasets' default.

    Raises InputError if the path is a file.
    """
    root = local_path(given or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is a file, expected the folder of the datasets")
    return root
