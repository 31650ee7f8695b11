"""A cohort's folder with drawn numbers, and what can be done to it, for the tests of storage."""

import numpy as np
from populations import MADE, record_of, small_spec

from jaxzoo.spec.plan import plan_zoo
from jaxzoo.storage.cohort_store import CohortStore
from jaxzoo.storage.identity import identity_of

M = 5
LAST = 3


def identity(spec=None):
    spec = small_spec(seeds=M) if spec is None else spec
    return identity_of(record_of(spec), 0, plan_zoo(spec).cohorts[0].members, MADE)


def open_store(folder, kept=None, spec=None):
    return CohortStore(folder, identity(spec), kept)


def state_of(epoch):
    draws = np.random.default_rng(epoch)
    kernel = draws.standard_normal((M, 5, 5, 1, 8)).astype(np.float32)
    params = {"conv1": {"kernel": kernel, "bias": draws.standard_normal((M, 8)).astype(np.float32)}}
    metrics = {"test_loss": draws.random(M, np.float32), "finite": np.array([True, False, True, True, True])}
    return {"params": params}, metrics, [np.int32(epoch), 2 * kernel]


def restore(folder, last=LAST + 1, **options):
    with open_store(folder) as store:
        return store.restore(last, **options)


def files_of(folder):
    """The files, with when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def damaged_files(cohort, part):
    files = [path for path in (cohort / part / "3" / "default").rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: -path.stat().st_size)


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "one bit turned": lambda path: path.write_bytes(turn_a_bit(path.read_bytes())),
}


def turn_a_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def save_epochs(folder):
    """Saves the epochs 0 to 3 of a cohort."""
    with open_store(folder) as store:
        for epoch in range(LAST + 1):
            store.save(epoch, *state_of(epoch))
    return folder
