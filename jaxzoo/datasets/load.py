"""From a dataset's spec to its images."""

import os
from collections.abc import Callable
from pathlib import Path

from jaxzoo.datasets.cache import cache_folder, read_cache, write_cache
from jaxzoo.datasets.digits import EMBEDDED, load_digits
from jaxzoo.datasets.folder import read_folder
from jaxzoo.datasets.images import Images, draw_splits, make_images
from jaxzoo.spec import DatasetSpec


def load_images(
    dataset: DatasetSpec,
    data_dir: str | Path | None = None,
    *,
    progress: bool = False,
    on_note: Callable[[str], None] = lambda text: None,
) -> Images:
    """The images of a dataset as one architecture sees them: `jaxzoo.load_images(zoo.spec.dataset)`.

    What is not in `data_dir` (see `default_data_dir`) is downloaded and prepared there; what was read once is kept
    there and memory-mapped from then on. `progress` draws bars on stderr. Raises InputError where images are missing,
    damaged or not what the spec says.
    """
    if is_embedded(dataset):
        return load_digits(dataset)
    root = default_data_dir() if data_dir is None else Path(data_dir)
    folder = cache_folder(root, dataset)
    kept = read_cache(folder)
    if kept is not None:
        return kept
    images, origin = read_images(dataset, root, progress=progress)
    try:
        write_cache(folder, images, origin)
    except OSError as error:
        on_note(f"{folder}: cannot be written ({error.strerror or error}); the images will be read anew at every start")
    return images


def read_images(dataset: DatasetSpec, root: Path, *, progress: bool = False) -> tuple[Images, Path]:
    """The images read from their files, not from the cache, and the folder of those files."""
    if dataset.folder is not None:
        origin = root / dataset.folder
        splits = read_folder(dataset, origin, progress=progress)
    else:
        from jaxzoo.datasets.prepared import prepare, read_prepared  # here: a start from the cache does without TFDS

        origin = prepare(dataset, root, progress=progress)
        splits = read_prepared(dataset, origin, progress=progress)
    train, test = splits[dataset.train_split], splits[dataset.test_split]
    one = dataset.train_split == dataset.test_split
    return make_images(dataset, *draw_splits(dataset, train, None if one else test)), origin


def is_embedded(dataset: DatasetSpec) -> bool:
    """Whether the images come with scikit-learn."""
    return dataset.name == EMBEDDED and dataset.tfds is None and dataset.folder is None


def default_data_dir() -> Path:
    """`TFDS_DATA_DIR`, else the folder that TensorFlow Datasets uses by default."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
