"""A user's own images: a folder of .npz files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxzoo.datasets.images import Example, Split, collect_split, source_counts
from jaxzoo.errors import InputError
from jaxzoo.spec.dataset_spec import DatasetSpec


def folder_files(folder: Path, split: str) -> list[Path]:
    """`<split>.npz`, or `<split>-*.npz` in the order of their names. Raises InputError if the folder holds both."""
    whole, parts = folder / f"{split}.npz", sorted(folder.glob(f"{split}-*.npz"))
    if parts and whole.exists():
        raise InputError(f"{folder}: holds both {whole.name} and {parts[0].name}, expected one or the other")
    return [whole] if whole.exists() else parts


def read_folder(dataset: DatasetSpec, folder: Path, *, progress: bool = False) -> dict[str, Split]:
    """The splits that the spec names, from files with `images` (N, H, W) or (N, H, W, C) uint8 and `labels` (N,).

    The images are preprocessed and in the order of their contents (see `collect_split`). Raises InputError for files
    that are missing, damaged or do not fit the spec.
    """
    splits = {}
    for name, count in source_counts(dataset).items():
        files = folder_files(folder, name)
        if not files:
            raise InputError(f"dataset {dataset.name!r}: {folder} holds no {name}.npz, nor {name}-*.npz")
        splits[name] = collect_split(dataset, name, _examples(files), count, progress=progress)
    return splits


def _examples(files: list[Path]) -> Iterator[Example]:
    for path in files:
        images, labels = _arrays(path)
        if images.ndim == 3:  # gray images may come without a channel axis
            images = images[..., None]
        for image, label in zip(images, labels, strict=True):
            yield image, int(label)


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}; expected arrays images and labels") from error
    except Exception as error:  # of a damaged file zipfile and zlib raise errors of their own classes
        raise InputError(f"{path}: is damaged: {error}") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.shape != images.shape[:1]:
        raise InputError(
            f"{path}: images are {images.dtype}{images.shape}, labels {labels.shape}, "
            "expected uint8 (N, H, W) or (N, H, W, C), and (N,)"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{path}: labels are {labels.dtype}, expected whole numbers")
    return images, labels
