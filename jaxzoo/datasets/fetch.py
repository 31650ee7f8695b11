"""Finds the archives of a dataset: put into a folder by hand, downloaded before, or downloaded now."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import requests
from tensorflow_datasets.core.download import resource

from jaxzoo.datasets.archives import read_unpacked
from jaxzoo.datasets.sources import Source
from jaxzoo.errors import InputError

CONNECT_SECONDS = 8  # then there is no network; TensorFlow Datasets itself tries for more than three minutes


class Shelf(NamedTuple):
    """The folders where a dataset's archives may be, and the checksums, by address, that genuine ones have."""

    name: str
    source: Source
    checksums: Mapping[str, str]
    by_hand: Path
    downloads: Path

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses of the files that the splits need, by file name."""
        known = {url.rpartition("/")[2]: url for url in (self.source.own.md5 if self.source.own else self.checksums)}
        return {file: known[file] for files in self.source.files.values() for file in files}


def find_archives(shelf: Shelf) -> dict[str, Path]:
    """The paths of the archives that were put in the folder by hand, by file name. Writes nothing.

    Raises InputError for an archive that is wrong, and, within seconds, if others are needed and cannot be downloaded.
    """
    found: dict[str, Path] = {}
    for file, url in shelf.addresses.items():
        path = _find_by_hand(shelf.by_hand, file)
        if path is not None:
            _verify(shelf, path, file, url)
            found[file] = path
    others = [url for file, url in shelf.addresses.items() if file not in found]
    missing = [url for url in others if not _is_downloaded(shelf, url)]
    if missing:
        _check_network(shelf, missing)
    return found


def download_archives(shelf: Shelf, found: Mapping[str, Path], dl_manager: Any) -> dict[str, Path]:
    """The paths of all archives by file name; downloads those not in `found`. Raises InputError for a wrong archive."""
    wanted = {file: url for file, url in shelf.addresses.items() if file not in found}
    downloaded = {file: Path(path) for file, path in dl_manager.download(wanted).items()}
    if shelf.source.own is not None:  # TensorFlow Datasets has no checksums of these and has verified nothing
        for file, path in downloaded.items():
            try:
                _verify(shelf, path, file, wanted[file])
            except InputError:
                # with its info file beside it the archive would count as downloaded from now on
                resource.get_info_path(cast(Any, path)).unlink(missing_ok=True)
                raise
    return {**found, **downloaded}


def _find_by_hand(folder: Path, file: str) -> Path | None:
    """The archive under its own name, or without .gz if it has been decompressed; None if neither is there."""
    candidates = (folder / file, folder / file.removesuffix(".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _verify(shelf: Shelf, path: Path, file: str, url: str) -> None:
    if shelf.source.own is not None:
        algorithm, wanted = "md5", shelf.source.own.md5[url]
    elif shelf.source.unpacked:
        algorithm, wanted = "sha256", shelf.source.unpacked[file.removesuffix(".gz")]
    else:
        algorithm, wanted = "sha256", shelf.checksums[url]
    # the same file compressed in another way has another sum, so the sum of such archives is of their content
    if shelf.source.unpacked:
        got = hashlib.new(algorithm, read_unpacked(path)).hexdigest()
    else:
        with path.open("rb") as stream:
            got = hashlib.file_digest(stream, algorithm).hexdigest()
    if got != wanted:
        raise InputError(f"{path}: its {algorithm} sum is {got}, expected {wanted}: it is cut off or another file")


def _is_downloaded(shelf: Shelf, url: str) -> bool:
    file = resource.get_dl_fname(url, shelf.checksums.get(url))
    folders = (shelf.downloads / shelf.name, shelf.downloads)  # the second is TensorFlow Datasets' older layout
    return any(resource.is_locally_cached(cast(Any, folder / file)) for folder in folders)


def _check_network(shelf: Shelf, urls: Sequence[str]) -> None:
    """Raises InputError, within seconds, if the archives cannot be downloaded."""
    problem: list[str] = ["no answer"]

    def connect() -> None:
        try:
            requests.head(urls[0], timeout=CONNECT_SECONDS, allow_redirects=True).close()
            problem.clear()
        except requests.RequestException as error:
            problem[0] = type(error).__name__
        except (OSError, ValueError) as error:  # no such file as REQUESTS_CA_BUNDLE names
            problem[0] = " ".join(str(error).split())

    # in a thread that can be left behind: looking up a host's name has no timeout of its own
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if problem:
        raise InputError(
            f"dataset {shelf.by_hand.name!r} is not prepared and cannot be downloaded ({problem[0]}): "
            f"fetch {' and '.join(urls)} and put what you get into {shelf.by_hand}"
        )
