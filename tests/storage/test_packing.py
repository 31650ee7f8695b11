"""A zoo in one zip file: read where it lies, as the folder that it was made of, and only the bytes asked for."""

import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from populations import assert_same_weights, small_spec, store_zoo

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.storage.files import PARTIAL


@pytest.fixture(scope="module")
def packed(digits_zoo, tmp_path_factory):
    return jaxzoo.pack_zoo(digits_zoo, tmp_path_factory.mktemp("packed") / "digits.zip")


def bytes_read():
    import tensorstore as ts

    found = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
    return sum(each["value"] for metric in found for each in metric["values"])


def test_a_packed_zoo_reads_as_its_folder(digits_zoo, packed):
    folder, zoo = jaxzoo.open_zoo(digits_zoo), jaxzoo.open_zoo(packed)
    assert_same_weights(folder, zoo)
    pd.testing.assert_frame_equal(folder.metrics, zoo.metrics)
    assert zoo.twins["magnitude"].record == folder.twins["magnitude"].record
    assert list(jaxzoo.verify_zoo(packed, deep=True)) == []
    assert str(zoo.path) == f"{packed}/digits"
    twins = jaxzoo.open_zoo(zoo.path / "twins" / "magnitude")
    np.testing.assert_array_equal(twins.weights(2, [3]), folder.twins["magnitude"].weights(2, [3]))


def test_what_is_exported_from_a_packed_zoo_is_the_same(digits_zoo, packed, tmp_path):
    for source, name in ((digits_zoo, "folder"), (packed, "file")):
        jaxzoo.export_zoo(source, tmp_path / name / "out", "numpy", epochs="last")
    tables = [sorted((tmp_path / name).rglob("*.npz")) for name in ("folder", "file")]
    assert len(tables[0]) == len(tables[1]) > 0
    for folder, file in zip(*tables, strict=True):
        with np.load(folder) as one, np.load(file) as other:
            assert one.files == other.files
            for name in one.files:
                np.testing.assert_array_equal(one[name], other[name])


def test_an_unpacked_zoo_is_a_zoo(digits_zoo, packed, tmp_path):
    with zipfile.ZipFile(packed) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        archive.extractall(tmp_path)
    assert_same_weights(jaxzoo.open_zoo(digits_zoo), jaxzoo.open_zoo(tmp_path / "digits"))
    assert list(jaxzoo.verify_zoo(tmp_path / "digits", deep=True)) == []


def test_the_same_zoo_gives_the_same_file_also_from_a_file(packed, digits_zoo, tmp_path):
    again = jaxzoo.pack_zoo(digits_zoo, tmp_path / "again.zip")
    assert again.read_bytes() == packed.read_bytes()
    assert jaxzoo.pack_zoo(packed, tmp_path / "third.zip").stat().st_size == packed.stat().st_size


def test_reading_a_part_reads_only_its_bytes(tmp_path):
    """TensorStore reads entries of a zip file whole, so every array is an entry of its own."""
    store_zoo(tmp_path / "z", small_spec(seeds=32, epochs=2))
    path = jaxzoo.pack_zoo(tmp_path / "z")
    zoo = jaxzoo.open_zoo(path)
    an_epoch = zoo.weights(1).nbytes
    before = bytes_read()
    assert len(jaxzoo.open_zoo(path).metrics_at(1)) == 32
    metrics = bytes_read() - before
    assert jaxzoo.open_zoo(path).weights(1).nbytes == an_epoch
    weights = bytes_read() - before - metrics
    index = 70_000  # the end of the file, with the list of what is in it: opening reads that
    assert metrics < index + 30_000
    assert an_epoch < weights < index + 1.05 * an_epoch
    assert path.stat().st_size > 2.5 * an_epoch


def test_a_zoo_in_a_file_can_be_handed_to_another_process(packed):
    zoo = jaxzoo.open_zoo(packed)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(zoo)).weights(1), zoo.weights(1))


def test_what_is_no_zoo_is_one_line(packed, digits_zoo, tmp_path):
    (tmp_path / "text.zip").write_text("no zip file")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no zoo")
    (tmp_path / "half.zip").write_bytes(packed.read_bytes()[:100_000])
    for name, text in {
        "text.zip": r"text\.zip: cannot be read \(.*\), expected a whole zip file",
        "half.zip": r"half\.zip: cannot be read \(.*\), expected a whole zip file",
        "other.zip": r"other\.zip/readme\.txt: holds no zoo\.json",
        "none.zip": r"none\.zip: holds no zoo\.json, expected the folder of a zoo",
    }.items():
        with pytest.raises(InputError, match=text) as raised:
            jaxzoo.open_zoo(tmp_path / name)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=r"digits\.zip: is there, expected the name of a new file"):
        jaxzoo.pack_zoo(digits_zoo, packed)
    with pytest.raises(InputError, match=r"digits: is no name of a zip file"):
        jaxzoo.pack_zoo(digits_zoo, tmp_path / "digits")


def test_a_damaged_zoo_is_not_packed(tmp_path):
    store_zoo(tmp_path / "z", small_spec(seeds=1, epochs=1))
    biggest = max((tmp_path / "z/cohorts/000/snapshots/1").rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(biggest.read_bytes())
    data[len(data) // 2] ^= 255
    biggest.write_bytes(data)
    with pytest.raises(InputError, match=r"snapshots/1: is damaged: .*expected a whole zoo"):
        jaxzoo.pack_zoo(tmp_path / "z")
    assert [path.name for path in tmp_path.iterdir()] == ["z"]
    assert not list(tmp_path.rglob(f"*{PARTIAL}"))


def test_the_command_line(tmp_path):
    store_zoo(tmp_path / "z", small_spec(seeds=1, epochs=1))
    for arguments, status in ((("pack", "z"), 0), (("verify", "z.zip", "--deep"), 0), (("pack", "z"), 2)):
        command = [sys.executable, "-m", "jaxzoo", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert done.stderr.count("\n") == (status == 2), done.stderr
