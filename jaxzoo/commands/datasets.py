"""`jaxzoo datasets`: what is prepared, prepare, check."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jaxzoo.commands.arguments import Parser, path_argument, run_command
from jaxzoo.datasets.cache import cache_folder, read_cache
from jaxzoo.datasets.images import SPLITS, fingerprint_of
from jaxzoo.datasets.load import data_folder, find_origin, is_embedded, load_images, read_images
from jaxzoo.errors import InputError, nearest
from jaxzoo.spec.config import known_specs, read_config
from jaxzoo.spec.dataset_spec import DatasetSpec, same_name
from jaxzoo.spec.zoo_spec import dataset_specs
from jaxzoo.storage.retention import human_bytes

EXAMPLES = """examples:
  jaxzoo datasets --list                        what is prepared, where, how large
  jaxzoo datasets --prepare svhn                download and prepare, for training later without a network
  jaxzoo datasets --check svhn                  read it again and compare counts and fingerprints
  jaxzoo datasets --config mine.toml --prepare mine"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit status."""
    return run_command("jaxzoo datasets", lambda: _run(_parse(arguments)))


def _run(options: argparse.Namespace) -> int:
    root = data_folder(options.data_dir)
    known = _datasets(options.config)
    if options.list:
        print(f"datasets in {root}\n\n{_table(known, root)}")
    for dataset in _named(known, options.prepare) if options.prepare else ():
        print(_prepare(dataset, root))
    for dataset in _named(known, options.check) if options.check else ():
        print(_check(dataset, root))
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxzoo datasets",
        description="The images that zoos are trained on: downloaded, prepared and kept in one folder.",
        examples=EXAMPLES,
    )
    parser.add_argument("--list", action="store_true", help="print the table of datasets")
    parser.add_argument("--prepare", metavar="NAME", help="have a dataset ready, for every architecture that uses it")
    parser.add_argument("--check", metavar="NAME", help="verify counts and fingerprint of a prepared dataset")
    parser.add_argument(
        "--config", type=path_argument, metavar="FILE", help="a TOML file of zoos, for a dataset of your own"
    )
    parser.add_argument(
        "--data-dir", type=path_argument, metavar="DIR", help="the datasets (TFDS_DATA_DIR, ~/tensorflow_datasets)"
    )
    options = parser.parse_args(arguments)
    if not (options.list or options.prepare or options.check):
        parser.error("nothing to do, expected --list, --prepare NAME or --check NAME")
    return options


def _datasets(config: Path | None) -> tuple[DatasetSpec, ...]:
    return dataset_specs(known_specs().values() if config is None else read_config(config))


def _named(known: Sequence[DatasetSpec], name: str) -> list[DatasetSpec]:
    """A dataset as every architecture sees it."""
    found = [dataset for dataset in known if same_name(dataset.name, name)]
    if not found:
        names = dict.fromkeys(dataset.name for dataset in known)
        raise InputError(f"there is no dataset {name!r}; nearest: {nearest(name, names)}")
    return found


def _prepare(dataset: DatasetSpec, root: Path) -> str:
    images = load_images(dataset, root, progress=True, on_note=lambda text: print(text, file=sys.stderr))
    counts = ", ".join(f"{len(getattr(images, name).labels):,} {name}" for name in SPLITS)
    return f"{_title(dataset)}: {counts}; fingerprint {images.fingerprint[:16]}"


def _check(dataset: DatasetSpec, root: Path) -> str:
    """Raises InputError where what is kept is not what its fingerprint says, or not what the files hold."""
    if is_embedded(dataset):
        return _prepare(dataset, root)
    folder = cache_folder(root, dataset)
    if not folder.is_dir():
        raise InputError(f"dataset {dataset.name!r}: {root} holds nothing of it, expected it prepared (--prepare)")
    kept = read_cache(folder)
    origin = find_origin(dataset, root, progress=True)
    fresh = read_images(dataset, origin, progress=True)
    if kept is None:
        raise InputError(f"{folder}: is not whole, or {origin} has changed since; --prepare makes it again")
    if fingerprint_of([kept.train, kept.validation, kept.test], kept.mean, kept.std) != kept.fingerprint:
        raise InputError(f"{folder}: is damaged; delete it, and it is made again")
    if fresh.fingerprint != kept.fingerprint:
        raise InputError(
            f"{folder}: has fingerprint {kept.fingerprint[:16]}, {origin} gives {fresh.fingerprint[:16]}; "
            "delete the first, and it is made again"
        )
    return f"{_prepare(dataset, root)}; as in {origin}"


def _title(dataset: DatasetSpec) -> str:
    return f"{dataset.name} {dataset.size}x{dataset.size}x{dataset.channels}"


def _table(known: Sequence[DatasetSpec], root: Path) -> str:
    rows = []
    for dataset in known:
        source = root / (dataset.folder or (dataset.tfds or dataset.name).partition(":")[0])
        prepared = "embedded" if is_embedded(dataset) else _size_of(source, "dataset_info.json", "*.npz")
        cached = _size_of(cache_folder(root, dataset), "images.json")
        counts = [f"{getattr(dataset, name):,}" for name in SPLITS]
        rows.append((_title(dataset), dataset.classes, *counts, prepared, cached))
    columns = ["dataset", "classes", *SPLITS, "prepared", "cached"]
    return pd.DataFrame(rows, columns=columns).to_string(index=False)


def _size_of(folder: Path, *marks: str) -> str:
    """The size of the folders below that hold such a file, a dash without one."""
    holders = {path.parent for mark in marks for path in folder.rglob(mark)}
    if not holders:
        return "-"
    return human_bytes(sum(path.stat().st_size for holder in holders for path in holder.iterdir() if path.is_file()))
