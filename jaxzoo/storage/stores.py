"""Key-value stores that hold a zoo, through TensorStore: a bucket, or a zip file, on this machine or in a bucket.

In a bucket nothing appears whole by a rename. So whoever writes there puts a marker last, `whole/<path>` for the
checkpoint or the file <path>, and takes it away first. All markers of a zoo, those of its twins too, lie under one
prefix: one listing says what the zoo holds. A zoo that other tools copied there has no markers: it is taken as it is.
"""

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxzoo.errors import InputError

Spec = dict[str, Any]

DRIVERS = {"s3": "s3", "gs": "gcs"}  # TensorStore's, by the first part of an address
MARKERS = "whole"
CACHED = 64_000_000  # bytes of indices and of arrays
PATIENCE = 30.0  # seconds for one small answer
PORTION = 256_000_000  # bytes of arrays that are held twice while they are written
SLOWEST = 50_000  # bytes/s, of a connection that is waited for
ANONYMOUS = {"type": "anonymous"}
AWS_FILES = {"SHARED_CREDENTIALS_FILE": "credentials", "CONFIG_FILE": "config"}
AWS_ELSEWHERE = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
CREDENTIALS = {  # by driver
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials, of somebody who may",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login, of somebody who may",
}
DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "AccessDenied", "credentials", "InvalidAccessKeyId", "SignatureDoes")
NEAR = {"threshold_bytes": 16_000, "interval": "2ms"}
COMPRESSED = {"id": "zstd", "level": 1}  # as Orbax does
RETRIES = {"max_retries": 5, "initial_delay": "200ms", "max_delay": "2s"}


class Store:
    """A key-value store from a key on. Nothing is read before it is asked for.

    `address` is how errors name it. What is asked of it fails as reading a file does, with OSError.
    """

    def __init__(self, address: str, spec: Spec, marked: bool) -> None:
        """`spec` is TensorStore's. A `marked` store may have markers."""
        self.address, self._spec, self._marked = address, spec, marked
        self.inside: dict[str, list[str]] = {}  # what the checkpoints hold that were read, by their paths

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that is handed the store opens it for itself."""
        return Store, (self.address, self._spec, self._marked)

    def anew(self) -> "Store":
        """The same store, not listed yet."""
        return Store(self.address, self._spec, self._marked)

    def spec(self, key: str = "") -> Spec:
        """TensorStore's spec of what lies under a key."""
        return {**self._spec, "path": self._spec.get("path", "") + key}

    @functools.cached_property
    def context(self) -> Any:
        """What all readings share: the indices that were read, and how often a request is tried again."""
        import tensorstore as ts  # imported late: not every process reads

        retries = {f"{driver}_request_retries": RETRIES for driver in DRIVERS.values()}
        return ts.Context({"cache_pool": {"total_bytes_limit": CACHED}, **retries})

    @functools.cached_property
    def values(self) -> Any:
        """TensorStore's key-value store."""
        import tensorstore as ts

        return answered(lambda: ts.KvStore.open(self._spec, context=self.context))

    def read(self, key: str, patience: float = PATIENCE) -> bytes:
        """The value of a key. Raises FileNotFoundError where there is none."""
        result = answered(lambda: self.values.read(key), patience)
        if result.state != "value":
            raise FileNotFoundError(2, "No such object", f"{self.address}/{key}")
        return bytes(result.value)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with a prefix, without it."""
        found = (key.decode() for key in answered(lambda: self.values.list(range_of(prefix))))
        # not every server that takes a range keeps to it, and TensorStore aborts where it is to strip what is not there
        return [key.removeprefix(prefix) for key in found if key.startswith(prefix)]

    def write(self, key: str, value: bytes) -> None:
        """Gives a key a value, in the place of another."""
        answered(lambda: self.values.write(key, value), PATIENCE + len(value) / SLOWEST)

    def write_new(self, key: str, value: bytes) -> bool:
        """Gives a key a value where it has none, and says whether it did: of several who try it at once one does.

        Servers that know no conditions let all of them.
        """
        now = answered(lambda: self.values.read(key))
        if now.state != "missing":
            return False
        written = answered(lambda: self.values.write(key, value, if_equal=now.stamp.generation))
        return bool(written.generation)

    def write_arrays(self, key: str, arrays: Mapping[str, tuple[np.ndarray, tuple[int, ...]]]) -> None:
        """Writes arrays, each with the shape of its chunks, into a new database under a key, in large portions."""
        import tensorstore as ts

        at_once, size = ts.Transaction(), 0
        for name, (array, chunk) in arrays.items():
            if size > PORTION:
                answered(at_once.commit_async, PATIENCE + size / SLOWEST)
                at_once, size = ts.Transaction(), 0
            size += array.nbytes
            kept = {**database(self.spec(key)), "path": f"{name}/"}
            zarr = {"driver": "zarr", "kvstore": kept, "metadata": {"chunks": chunk, "compressor": COMPRESSED}}
            opening = {"create": True, "dtype": array.dtype, "shape": array.shape, "context": self.context}
            opened = answered(functools.partial(ts.open, zarr, transaction=at_once, **opening))
            answered(functools.partial(opened.write, array), PATIENCE + size / SLOWEST)
        answered(at_once.commit_async, PATIENCE + size / SLOWEST)

    def delete(self, key: str) -> None:
        """Removes a key and its value, if there is one."""
        answered(lambda: self.values.write(key, None))

    def delete_below(self, prefix: str) -> None:
        """Removes all keys that begin with a prefix, one by one: see `keys`."""
        for key in self.keys(prefix):
            self.delete(prefix + key)

    @functools.cached_property
    def marks(self) -> frozenset[str] | None:
        """What is whole by its marker, as it was when this was first asked for; None in a store without markers."""
        if not self._marked:
            return None
        return frozenset(self.keys(f"{MARKERS}/") or self._marks_of_twins()) or None

    def _marks_of_twins(self) -> list[str]:
        """Of a store that is the folder of twins the markers lie among those of their zoo."""
        upper, _, own = self._spec["path"].rstrip("/").rpartition("/")
        above, _, folder = upper.rpartition("/")
        if folder != "twins":
            return []
        zoo = Store(self.address, {**self._spec, "path": f"{above}/" if above else ""}, marked=True)
        return zoo.keys(f"{MARKERS}/twins/{own}/")

    @functools.cached_property
    def names(self) -> Mapping[str, frozenset[str]]:
        """The names in every folder, as they were when this was first asked for. Raises InputError."""
        try:
            return names_of(self.keys() if self.marks is None else self.marks)
        except OSError as error:
            raise InputError(f"{self.address}: {trouble(error, self._spec)}") from error


def bucket_store(kind: str, bucket: str, key: str) -> Store:
    """The store of what lies under a key of a bucket; `kind` is s3 or gs."""
    spec = bucket_spec(kind, bucket, f"{key}/" if key else "")
    return Store(f"{kind}://{bucket}/{key}".rstrip("/"), spec, marked=True)


def zip_store(address: str, base: Spec) -> Store:
    """The store of a zip file, which lies in the store `base`."""
    return Store(address, {"driver": "zip", "base": base}, marked=False)


def file_spec(path: Path) -> Spec:
    """TensorStore's spec of a file or a folder. In a file:// address # % ? would mean something else."""
    return {"driver": "file", "path": str(path)}


def trouble(error: OSError, spec: Spec) -> str:
    """Why a store cannot be read or written, and what was expected, as the end of a message."""
    text = str(error)
    if "NoSuchBucket" in text or "bucket does not exist" in text:
        return f"there is no bucket {spec['bucket']!r}, expected one that is there"
    if any(word in text for word in DENIED):
        found = "none" if spec.get("aws_credentials") == ANONYMOUS else "those that were found"
        return f"may not be used (credentials: {found}; {text}), expected {CREDENTIALS[spec['driver']]}"
    return f"cannot be read ({text}), expected {'a whole zip file' if spec['driver'] == 'zip' else 'one that can'}"


def aws_credentials() -> Spec:
    """Where TensorStore looks for credentials: only where some are, since it says a lot of what it does not find."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {"type": "environment"}
    files = [os.environ.get(f"AWS_{name}", f"~/.aws/{short}") for name, short in AWS_FILES.items()]
    if any(os.environ.get(name) for name in AWS_ELSEWHERE) or any(Path(file).expanduser().exists() for file in files):
        return {"type": "default"}
    try:
        on_ec2 = "Amazon" in Path("/sys/class/dmi/id/sys_vendor").read_text(encoding="utf-8")
    except (OSError, ValueError):
        on_ec2 = False
    return {"type": "imds"} if on_ec2 else ANONYMOUS


def bucket_spec(kind: str, bucket: str, key: str) -> Spec:
    """TensorStore's spec of a key in a bucket.

    A server of one's own has its address in AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, as for other programs.
    """
    spec: Spec = {"driver": DRIVERS[kind], "bucket": bucket, "path": key}
    if kind == "s3":
        spec["aws_credentials"] = aws_credentials()
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if endpoint:  # there nobody can be asked for the region
            spec |= {"endpoint": endpoint.rstrip("/"), "aws_region": region or "us-east-1"}
    return spec


def names_of(keys: Iterable[str]) -> dict[str, frozenset[str]]:
    """The names in every folder that some keys lie in; "" is the uppermost folder."""
    folders: dict[str, set[str]] = {}
    for key in keys:
        while key:
            folder, _, name = key.rpartition("/")
            held = folders.setdefault(folder, set())
            if name in held:
                break  # and so are the folders above it
            held.add(name)
            key = folder
    return {folder: frozenset(names) for folder, names in folders.items()}


def database(base: Spec) -> Spec:
    """TensorStore's spec of the database that Orbax keeps the arrays of a checkpoint in.

    Parts that lie near each other are read by one request: the chunks of an array lie side by side.
    """
    if base["driver"] == "file":
        return {"driver": "ocdbt", "base": base, "path": ""}
    near = {f"experimental_read_coalescing_{name}": value for name, value in NEAR.items()}
    return {"driver": "ocdbt", "base": base, "path": "", **near}


def range_of(prefix: str) -> Any:
    """TensorStore's range of the keys that begin with a prefix."""
    import tensorstore as ts

    first = prefix.encode()
    return ts.KvStore.KeyRange(first, first[:-1] + bytes([first[-1] + 1]) if first else b"")


def answered(ask: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What a call of TensorStore gives. Raises OSError where it fails, and where no answer comes in so many seconds."""
    try:
        return ask().result(timeout=patience)
    except TimeoutError as error:
        raise OSError(f"no answer within {patience:.0f} s") from error
    except ValueError as error:  # as TensorStore raises all that goes wrong
        raise OSError(in_words(error)) from error


def in_words(error: Exception) -> str:
    """What TensorStore says of a failure, on one line, without the places in its sources and what a server sent."""
    return re.split(r" \[(?:source locations|http_response_body|curl_code)=", " ".join(str(error).split()))[0][:300]
