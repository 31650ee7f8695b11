"""A zoo in a bucket: read as a folder is, only the bytes that are asked for, and nothing that is not whole."""

import http.server
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pandas as pd
import pytest
from populations import assert_same_weights, small_spec, store_zoo

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.storage import stores
from jaxzoo.storage.files import DELETING
from jaxzoo.storage.mirror import Mirror
from jaxzoo.storage.store_paths import zoo_path
from jaxzoo.storage.targets import BucketTarget, FolderTarget, fetch_checkpoint, target_of
from jaxzoo.storage.zoo_folder import cohort_folder

SPEC = small_spec(seeds=32, epochs=3, activation=("tanh", "relu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoos") / "z"
    store_zoo(path, SPEC)
    return path


def move(folder, target):
    """All of a zoo, as a call that makes it does. It is then no longer in its folder."""
    with Mirror(folder, target) as mirror:
        mirror.describe()
        for cohort in (folder / "cohorts").iterdir():
            mirror.fetch(cohort)


@pytest.fixture(scope="module")
def moved(folder, tmp_path_factory):
    """A copy of the zoo, of which nothing else is asked."""
    path = tmp_path_factory.mktemp("copies") / "z"
    move(copied(folder, path.with_name("stage")), FolderTarget(path))
    return path


def copied(folder, path):
    return shutil.copytree(folder, path)


def upload(folder, address):
    """As other tools do."""
    store = zoo_path(address).store
    for file in folder.rglob("*"):
        if file.is_file():
            store.write(file.relative_to(folder).as_posix(), file.read_bytes())


def moved_by(call, what="bytes_read"):
    import tensorstore as ts

    def count():
        found = ts.experimental_collect_matching_metrics(f"/tensorstore/kvstore/s3/{what}")
        return sum(each.get("value", each.get("count", 0)) for metric in found for each in metric["values"])

    before = count()
    call()
    return count() - before


def test_a_zoo_in_a_bucket_reads_as_its_folder(bucket, folder, tmp_path):
    stage = copied(folder, tmp_path / "stage")
    move(stage, target_of(f"{bucket}/zoos/z"))
    assert not list(stage.rglob("snapshots/*"))
    here, there = jaxzoo.open_zoo(folder), jaxzoo.open_zoo(f"{bucket}/zoos/z/")
    assert_same_weights(here, there)
    pd.testing.assert_frame_equal(here.metrics, there.metrics)
    assert list(jaxzoo.verify_zoo(f"{bucket}/zoos/z", deep=True)) == []
    again = pickle.loads(pickle.dumps(there))
    np.testing.assert_array_equal(again.weights(3, [5]), here.weights(3, [5]))
    packed = jaxzoo.pack_zoo(f"{bucket}/zoos/z", tmp_path / "z.zip")
    assert_same_weights(here, jaxzoo.open_zoo(packed))


def test_a_zoo_in_another_folder_reads_the_same(folder, moved):
    assert_same_weights(jaxzoo.open_zoo(folder), jaxzoo.open_zoo(moved))
    assert list(jaxzoo.verify_zoo(moved, deep=True)) == []


def test_what_has_no_marker_is_not_there(bucket, folder, tmp_path):
    move(copied(folder, tmp_path / "stage"), target_of(f"{bucket}/z"))
    store = zoo_path(f"{bucket}/z").store
    store.delete("whole/cohorts/001/snapshots/3")
    assert jaxzoo.open_zoo(f"{bucket}/z").epochs == (0, 1, 2)
    partial = jaxzoo.open_zoo(f"{bucket}/z", partial=True)
    assert partial.models_at(3).tolist() == [model for model in range(64) if partial.member(model).cohort == 0]
    assert list(jaxzoo.verify_zoo(f"{bucket}/z"))


def test_a_zoo_that_other_tools_copied_is_read_and_not_written(bucket, folder):
    upload(folder, f"{bucket}/z")
    assert_same_weights(jaxzoo.open_zoo(folder), jaxzoo.open_zoo(f"{bucket}/z"))
    with pytest.raises(InputError, match=r"and no markers of jaxzoo, expected a zoo that jaxzoo wrote there"):
        target_of(f"{bucket}/z")


def test_a_file_in_a_bucket(bucket, folder, tmp_path):
    zoo_path(f"{bucket}/files").store.write("z.zip", jaxzoo.pack_zoo(folder, tmp_path / "z.zip").read_bytes())
    assert_same_weights(jaxzoo.open_zoo(folder), jaxzoo.open_zoo(f"{bucket}/files/z.zip"))


def test_reading_a_part_moves_only_its_bytes(bucket, folder, tmp_path):
    move(copied(folder, tmp_path / "stage"), target_of(f"{bucket}/z"))
    whole = jaxzoo.open_zoo(f"{bucket}/z").weights(2).nbytes
    opened = []
    assert moved_by(lambda: opened.append(jaxzoo.open_zoo(f"{bucket}/z"))) < 40_000
    (zoo,) = opened
    assert moved_by(lambda: zoo.epochs) == 0  # the listing was taken
    assert whole * 0.8 < moved_by(lambda: zoo.weights(2)) < whole * 1.1
    one_cohort = zoo.members.query("cohort == 0")["model"]
    assert moved_by(lambda: zoo.weights(3, one_cohort)) < whole * 0.6
    assert moved_by(lambda: jaxzoo.open_zoo(f"{bucket}/z").metrics) < 250_000


def test_reading_a_model_moves_little_more_than_it(bucket, tmp_path):
    """On a disk an array is one chunk, in a bucket it is chunks of few models."""
    zoo = store_zoo(tmp_path / "z", small_spec(seeds=200, epochs=1))
    move(tmp_path / "z", target_of(f"{bucket}/z"))
    zoo = jaxzoo.open_zoo(f"{bucket}/z")
    whole = moved_by(lambda: zoo.weights(0))
    assert moved_by(lambda: zoo.weights(1, [7])) < whole / 4


def test_large_checkpoints_are_written_in_portions(bucket, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "PORTION", 10_000)
    move(copied(folder, tmp_path / "stage"), target_of(f"{bucket}/z"))
    assert_same_weights(jaxzoo.open_zoo(folder), jaxzoo.open_zoo(f"{bucket}/z"))
    assert len(zoo_path(f"{bucket}/z").store.keys("cohorts/000/snapshots/2/default/d/")) > 3


def test_what_cannot_be_fetched_is_said_of_the_bucket(bucket, folder, tmp_path, monkeypatch):
    move(copied(folder, tmp_path / "stage"), target_of(f"{bucket}/z"))
    source = zoo_path(f"{bucket}/z") / "cohorts" / "000" / "snapshots" / "2"
    monkeypatch.setattr(stores.Store, "read", lambda self, key, patience: (_ for _ in ()).throw(OSError("no net")))
    with pytest.raises(InputError, match=r"snapshots/2: cannot be read \(no net\), expected a bucket that answers"):
        fetch_checkpoint(source, tmp_path / "2")
    assert not (tmp_path / "2").exists()


def test_orbax_reads_what_lies_in_a_bucket(bucket, folder, tmp_path):
    import orbax.checkpoint as ocp

    move(copied(folder, tmp_path / "stage"), target_of(f"{bucket}/z"))
    fetch_checkpoint(zoo_path(f"{bucket}/z") / "cohorts" / "000" / "snapshots" / "2", tmp_path / "2")
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler(default=ocp.PyTreeCheckpointHandler())) as checkpointer:
        restored = checkpointer.restore(tmp_path / "2", args=ocp.args.Composite(default=ocp.args.PyTreeRestore()))
    zoo = jaxzoo.open_zoo(folder)
    own = zoo.params(2, zoo.members.query("cohort == 0")["model"].tolist())
    jax.tree.map(np.testing.assert_array_equal, restored["default"]["params"], own)


def test_what_is_no_zoo_is_one_line_at_once(bucket, monkeypatch):
    started = time.monotonic()
    for address, text in {
        f"{bucket}/nothing": r"nothing: holds no zoo\.json, expected the folder of a zoo",
        "s3://no-such-bucket/z": r"s3://no-such-bucket/z: there is no bucket 'no-such-bucket', expected one that is",
        f"{bucket}/none.zip": r"none\.zip: holds no zoo\.json, expected the folder of a zoo",
    }.items():
        with pytest.raises(InputError, match=text) as raised:
            jaxzoo.open_zoo(address)
        assert "\n" not in str(raised.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"cannot be read \(.*Could not connect to server.*\)"):
        jaxzoo.open_zoo(f"{bucket}/z")
    assert time.monotonic() - started < 30


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")

    def log_message(self, *arguments):
        pass


def test_without_credentials_it_says_so(tmp_path):
    """In a process of its own, whose environment has none: on standard error stands the one line, and nothing else."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS")}
        own |= {"HOME": str(tmp_path), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        command = [sys.executable, "-m", "jaxzoo", "verify", "s3://zoos/z"]
        done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=60)
        server.shutdown()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "s3://zoos/z: may not be used (credentials: none; PERMISSION_DENIED" in done.stderr
    assert "expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or" in done.stderr


def test_two_that_wrote_other_numbers_are_told(folder, moved, tmp_path):
    other = tmp_path / "z"
    store_zoo(other, SPEC, scale=0.2)
    with (
        pytest.raises(InputError, match=r"snapshots/0: training it again gave other numbers than this whole snapshot"),
        Mirror(other, FolderTarget(moved)) as mirror,
    ):
        mirror.fetch(cohort_folder(other, 0))
    assert_same_weights(jaxzoo.open_zoo(folder), jaxzoo.open_zoo(moved))


GOOGLE = """
import os, sys
from pathlib import Path
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="zoos")
server.start()
os.environ |= {"TENSORSTORE_GCS_HTTP_URL": "http://127.0.0.1:%d" % server._api._httpd.server_port}
os.environ |= {"GOOGLE_AUTH_TOKEN_FOR_TESTING": "token"}
import jax
import numpy as np
import jaxzoo
from jaxzoo.storage import stores
from jaxzoo.storage.files import DELETING
from jaxzoo.storage.mirror import Mirror
from jaxzoo.storage.targets import target_of
folder, here = Path(sys.argv[1]), jaxzoo.open_zoo(sys.argv[2])
with Mirror(folder, target_of("gs://zoos/z")) as mirror:
    mirror.describe()
    for cohort in (folder / "cohorts").iterdir():
        mirror.fetch(cohort)
zoo = jaxzoo.open_zoo("gs://zoos/z")
assert zoo.epochs == here.epochs
np.testing.assert_array_equal(zoo.weights(2), here.weights(2))
assert list(jaxzoo.verify_zoo("gs://zoos/z", deep=True)) == []
print("read", len(zoo.metrics))
server.stop()
"""


def test_a_zoo_in_google_cloud_storage(folder, tmp_path):
    """In a process of its own: TensorStore asks for the server's address once."""
    stage = copied(folder, tmp_path / "stage")
    command = [sys.executable, "-c", GOOGLE, str(stage), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[-1:] == ["read 256"], done.stderr[-2000:]


def test_of_two_that_begin_at_once_one_is_first(bucket, folder, tmp_path):
    first, second = target_of(f"{bucket}/z"), target_of(f"{bucket}/z")
    assert first.begin()
    assert first.begin()
    assert not second.begin()
    first, second = FolderTarget(tmp_path / "z"), FolderTarget(tmp_path / "z")
    move(copied(folder, tmp_path / "first"), first)
    assert not second.begin()


def test_what_a_drive_does_not_remove_at_once_is_removed_later(folder, tmp_path, monkeypatch):
    target = FolderTarget(tmp_path / "drive")
    move(copied(folder, tmp_path / "stage"), target)
    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors=False: None)
    target.remove("cohorts/000/snapshots/0")
    assert target.epochs("cohorts/000/snapshots") == [1, 2, 3]
    assert list((tmp_path / "drive" / "cohorts/000/snapshots").glob(f"*{DELETING}"))
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    target.tidy("cohorts/000/snapshots")
    assert not list((tmp_path / "drive" / "cohorts/000/snapshots").glob(f"*{DELETING}"))


def test_a_slow_drive_holds_nobody_up_before_three_moves_wait(folder, tmp_path, monkeypatch):
    put, released = FolderTarget.put_checkpoint, threading.Event()

    def put_slowly(self, path, source):
        assert released.wait(30)
        put(self, path, source)

    monkeypatch.setattr(FolderTarget, "put_checkpoint", put_slowly)
    stage = copied(folder, tmp_path / "stage")
    with Mirror(stage, FolderTarget(tmp_path / "drive")) as mirror:
        mirror.describe()
        mirror.saved(cohort_folder(stage, 0))
        mirror.saved(cohort_folder(stage, 0))
        third = threading.Thread(target=mirror.saved, args=(cohort_folder(stage, 0),))
        third.start()
        third.join(0.5)
        assert third.is_alive()
        released.set()
        third.join(30)
        assert not third.is_alive()


def test_an_address_is_a_target_and_a_folder_is_one(bucket, tmp_path):
    assert isinstance(target_of(f"{bucket}/new"), BucketTarget)
    assert isinstance(target_of(tmp_path / "new"), FolderTarget)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "text.txt").write_text("a text")
    with pytest.raises(InputError, match=r"holds 'text\.txt' and no zoo\.json, expected a zoo or an empty folder"):
        target_of(tmp_path / "full")
