"""Builders of TensorFlow Datasets that prepare without TensorFlow.

Each is a subclass of the stock builder, or of one of ours where TensorFlow Datasets has none, that reads the archives
in plain Python. Addresses, checksums, version, features and the folder on disk remain the stock builder's.
"""

import io
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import registered

from jaxzoo.datasets.archives import Record, png_file
from jaxzoo.datasets.fetch import Shelf, download_archives, find_archives
from jaxzoo.datasets.sources import SOURCES, Own


def find_builder(name: str, root: Path, by_hand: Path) -> tfds.core.DatasetBuilder | None:
    """Our builder for a name ("name" or "name:1.0.0") on a data directory, or None for a name that we do not know."""
    name, _, version = name.partition(":")
    source = SOURCES.get(name)
    if source is None:
        return None
    stock = tfds.builder_cls(name) if source.own is None else _own_builder(name, source.own)
    checksums = {url: info.checksum for url, info in (stock.url_infos or {}).items()}
    shelf = Shelf(name, source, checksums, by_hand, root / "downloads")
    return _without_tensorflow(stock, shelf)(data_dir=root, version=version or None)


def look_for_archives(builder: Any) -> None:
    """Tells one of our builders which archives were put in its folder by hand.

    Writes nothing. Raises InputError as `find_archives` does.
    """
    builder.found = find_archives(builder.shelf)


def _own_builder(name: str, own: Own) -> type[Any]:
    features: dict[str, Any] = {
        "image": tfds.features.Image(shape=own.shape),
        "label": tfds.features.ClassLabel(num_classes=own.classes),
    } | ({"id": tfds.features.Text()} if own.has_id else {})

    def _info(self: Any) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=own.description,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=own.homepage,
        )

    return _builder_class(
        name,
        tfds.core.GeneratorBasedBuilder,
        {"VERSION": tfds.core.Version("1.0.0"), "_info": _info, "url_infos": None, "__module__": __name__},
    )


def _without_tensorflow(stock: type[Any], shelf: Shelf) -> type[Any]:
    source = shelf.source

    def _split_generators(self: Any, dl_manager: Any) -> dict[str, Iterator[Any]]:
        found = download_archives(shelf, self.found, dl_manager)
        paths = {split: [found[file] for file in files] for split, files in source.files.items()}
        if source.read_names is not None:
            for feature, names in source.read_names(paths["train"]).items():
                self.info.features[feature].names = names
        return {split: self._generate_examples(archives, split) for split, archives in paths.items()}

    def _generate_examples(self: Any, archives: list[Path], split: str) -> Iterator[tuple[int, Record]]:
        return _keyed(source.read(archives, split))

    return _builder_class(
        stock.name,
        stock,
        {
            "shelf": shelf,
            "_split_generators": _split_generators,
            "_generate_examples": _generate_examples,
            "url_infos": stock.url_infos,  # so that downloads are held to the stock builder's checksums
            "__module__": stock.__module__,  # TensorFlow Datasets finds a builder's metadata by its module
        },
    )


def _builder_class(name: str, base: type[Any], body: dict[str, Any]) -> type[Any]:
    with registered.skip_registration():  # else `tfds.builder(name)` would find our class in place of the stock one
        return types.new_class(base.__name__, (base,), exec_body=lambda space: space.update(body, name=name))


def _keyed(records: Iterator[Record]) -> Iterator[tuple[int, Record]]:
    """Numbers the records, and makes images files, since TensorFlow Datasets needs TensorFlow to encode arrays."""
    for key, record in enumerate(records):
        image = record["image"]
        yield key, record | {"image": png_file(image) if isinstance(image, np.ndarray) else io.BytesIO(image)}
