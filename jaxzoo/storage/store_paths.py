"""Paths into stores, so that what lies in a bucket or in a zip file is read by the code that reads folders.

A `StorePath` has of `pathlib.Path` what reading a zoo takes. It is no `os.PathLike`: what would look for it on the disk
raises TypeError.
"""

import functools
import operator
import os
import re
from pathlib import Path
from typing import TypeVar

from jaxzoo.paths import lasting_path
from jaxzoo.storage.stores import Spec, Store, bucket_spec, bucket_store, file_spec, zip_store

BUCKET = re.compile(r"(s3|gs):/{1,2}([^/]+)/*(.*?)/*")  # with one slash, since pathlib makes one of two
ZIP = ".zip"


class StorePath:
    """A path in a store, "" for the whole store. What the store holds is listed once, when it is first asked for."""

    def __init__(self, store: Store, key: str = "") -> None:
        self.store, self.key = store, key

    def __truediv__(self, name: str) -> "StorePath":
        return StorePath(self.store, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{self.store.address}/{self.key}" if self.key else self.store.address

    def __repr__(self) -> str:
        return f"StorePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return str(self).rpartition("/")[2]

    def is_dir(self) -> bool:
        """Whether anything lies in it as in a folder, or it is a checkpoint. Raises InputError."""
        return self.key in self.store.names or self.is_marked()

    @property
    def parent(self) -> "StorePath":
        """The path without its last part, within the store."""
        return StorePath(self.store, self.key.rpartition("/")[0])

    def names(self) -> list[str]:
        """The names in a folder, none where there is no folder. Raises InputError where the store cannot be read."""
        return sorted(self.store.names.get(self.key, ()))

    def exists(self) -> bool:
        """Whether it is a folder, or a file that is whole. Raises InputError where the store cannot be read."""
        return self.name in self.store.names.get(self.parent.key, ()) if self.key else bool(self.store.names)

    def is_marked(self) -> bool:
        """Whether a checkpoint has its marker, in a store where those that are whole have one. Raises InputError."""
        return self.exists() and self.store.marks is not None

    def read_bytes(self) -> bytes:
        """The contents of a file. Raises OSError."""
        return self.store.read(self.key)

    def read_text(self, encoding: str) -> str:
        """The contents of a text file. Raises OSError, and ValueError where it is no such text."""
        return self.read_bytes().decode(encoding)

    def spec(self) -> Spec:
        """TensorStore's spec of what lies in the folder."""
        return self.store.spec(f"{self.key}/" if self.key else "")


AnyPath = Path | StorePath
PathKind = TypeVar("PathKind", bound=Path | StorePath)


def below(folder: PathKind, *names: str) -> PathKind:
    """The path of what lies in a folder, of the same kind as the folder's."""
    return functools.reduce(operator.truediv, names, folder)


def is_address(path: object) -> bool:
    """Whether what a caller gives is an address in a bucket."""
    return isinstance(path, str | os.PathLike) and BUCKET.fullmatch(str(path)) is not None


def zoo_path(path: str | os.PathLike[str] | StorePath) -> AnyPath:
    """The path of a zoo as a caller gives it: a folder, a zip file, or what has an address in a bucket.

    Folders are not looked at. Raises InputError where a bucket or a zip file cannot be read.
    """
    if isinstance(path, StorePath):
        return path
    match = BUCKET.fullmatch(str(path)) if is_address(path) else None
    if match is None:
        local = lasting_path(path)
        return _in_zip(str(local), file_spec(local)) if local.suffix == ZIP and local.is_file() else local
    kind, bucket, key = match.groups()
    if key.endswith(ZIP):
        return _in_zip(f"{kind}://{bucket}/{key}", bucket_spec(kind, bucket, key))
    found = StorePath(bucket_store(kind, bucket, key))
    assert found.names() is not None  # here, where a bucket that is not there is what a caller gave
    return found


def _in_zip(address: str, base: Spec) -> StorePath:
    """The zoo in a zip file: all that the file holds, or its only folder. Raises InputError."""
    whole = StorePath(zip_store(address, base))
    names = whole.names()
    return whole / names[0] if len(names) == 1 else whole
