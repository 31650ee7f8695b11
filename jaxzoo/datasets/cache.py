"""The cache of images as training wants them: one folder per dataset and preprocessing, memory-mapped when read.

    <data-dir>/jaxzoo/<dataset>-28x28x1-<digest>/pixels.npy, labels.npy    train, validation, test, one after the other
                                                  images.json             fingerprint, mean, std, and the origin

A folder gets its name only when it is complete.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.datasets.images import SPLITS, Images, Split
from jaxzoo.paths import is_litter
from jaxzoo.spec.dataset_spec import DatasetSpec

FORMAT = 1  # raise it whenever a spec comes to give other arrays than before

Stamp = list[list[str | int]]


def cache_folder(root: Path, dataset: DatasetSpec) -> Path:
    """The folder that keeps the images of exactly this spec."""
    text = json.dumps([FORMAT, dataclasses.asdict(dataset)], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return root / "jaxzoo" / f"{dataset.name}-{dataset.size}x{dataset.size}x{dataset.channels}-{digest}"


def read_cache(folder: Path) -> Images | None:
    """The images that a folder keeps.

    None if the folder is missing or incomplete, or if the files that the images came from have changed since.
    """
    try:
        table = json.loads((folder / "images.json").read_text())
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        bounds = np.cumsum([table[name] for name in SPLITS])
        origin = folder.resolve() / table["origin"]
        if not len(pixels) == len(labels) == bounds[-1] or _is_changed(origin, table["stamp"]):
            return None
        parts = zip(np.split(pixels, bounds[:-1]), np.split(labels, bounds[:-1]), strict=True)
        train, validation, test = (Split(*part) for part in parts)
        return Images(train, validation, test, np.array(table["mean"]), np.array(table["std"]), table["fingerprint"])
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None  # whatever is wrong with a cache, it can be made again


def write_cache(folder: Path, images: Images, origin: Path, stamp: Stamp) -> None:
    """Keeps images that were read from the files in the folder `origin`.

    `stamp` describes those files as they were before they were read. Raises OSError, and then leaves no partial folder.
    """
    splits = [getattr(images, name) for name in SPLITS]
    table: dict[str, Any] = {name: len(split.labels) for name, split in zip(SPLITS, splits, strict=True)}
    table |= {"fingerprint": images.fingerprint, "mean": images.mean.tolist(), "std": images.std.tolist()}
    # a relative path remains right when the whole data directory is moved
    table |= {"origin": os.path.relpath(origin.resolve(), folder.resolve()), "stamp": stamp}
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        np.save(partial / "pixels.npy", np.concatenate([split.pixels for split in splits]))
        np.save(partial / "labels.npy", np.concatenate([split.labels for split in splits]))
        (partial / "images.json").write_text(json.dumps(table, indent=2) + "\n")
        partial.chmod(0o755)  # mkdtemp lets nobody but the owner in
        shutil.rmtree(folder, ignore_errors=True)  # a cache that was found incomplete or outdated
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_changed(origin: Path, stamp: Stamp) -> bool:
    """Whether the origin holds files other than before. A deleted origin is no change: its cache remains good."""
    now = stamp_of(origin)
    return bool(now) and now != stamp


def stamp_of(origin: Path) -> Stamp:
    """Name, size and modification time of each file of the folder; empty if there is no folder."""
    files: Sequence[Path] = sorted(origin.iterdir()) if origin.is_dir() else []
    return [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns]
        for path in files
        if path.is_file() and not is_litter(path.name)
    ]
