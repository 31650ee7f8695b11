"""Which dataset is read how, and where from."""

import os
from pathlib import Path

from jaxzoo.datasets.digits import load_digits
from jaxzoo.datasets.idx import load_idx
from jaxzoo.datasets.images import Images
from jaxzoo.errors import InputError
from jaxzoo.spec import DatasetSpec

IDX_DATASETS = ("mnist", "fashion_mnist")


def load_images(dataset: DatasetSpec, data_dir: Path | None = None) -> Images:
    """The images of a dataset as its spec wants them; `data_dir` defaults as in `default_data_dir`.

    Raises InputError where files are missing, damaged or not what the spec says.
    """
    if dataset.name == "digits":
        return load_digits(dataset)
    if dataset.name in IDX_DATASETS:
        return load_idx(dataset, (data_dir or default_data_dir()) / dataset.name)
    known = ", ".join(("digits", *IDX_DATASETS))
    raise InputError(f"dataset {dataset.name!r} cannot be read yet, expected one of: {known}")


def default_data_dir() -> Path:
    """`TFDS_DATA_DIR`, else the folder that TensorFlow Datasets uses by default."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
