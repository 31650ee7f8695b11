"""Paths as people give them: ~, relative ones after a change of folder, addresses, and what others put into folders."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from populations import small_spec, store_zoo, write_digits_config

import jaxzoo
from jaxzoo.errors import InputError
from jaxzoo.paths import lasting_path, local_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def few(**changes):
    return small_spec(seeds=1, epochs=1, **changes)


def test_a_tilde_is_the_home_folder_in_every_call(home, monkeypatch):
    monkeypatch.chdir(home)
    store_zoo(home / "zoos" / "z", few())
    assert len(jaxzoo.open_zoo("~/zoos/z").members) == 1
    assert list(jaxzoo.verify_zoo(Path("~/zoos/z"))) == []
    config = write_digits_config(home / "tiny.toml")
    (spec,) = jaxzoo.read_config(f"~/{config.name}")
    made = jaxzoo.generate(spec, "~/made", models=1, epochs=1, twins="none")
    assert made.path == home / "made"
    jaxzoo.make_twins("~/made", jaxzoo.TwinSpec(method="magnitude", epochs=1))
    assert "magnitude" in jaxzoo.open_zoo(Path("~") / "made").twins
    assert not (home / "~").exists()


def test_the_command_line_replaces_a_tilde_that_the_shell_left(home):
    config = write_digits_config(home / "tiny.toml")
    command = [sys.executable, "-m", "jaxzoo", "generate", "--config=~/tiny.toml", "--out=~/out", "--models=1"]
    done = subprocess.run([*command, "--epochs=1", "--twins=none"], cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (spec,) = jaxzoo.read_config(config)
    assert (home / "out" / spec.name / "zoo.json").exists()
    assert not (home / "~").exists()


def test_a_zoo_is_read_wherever_the_process_goes_later(tmp_path, monkeypatch):
    store_zoo(tmp_path / "z", few())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    zoo = jaxzoo.open_zoo("z")
    states = zoo.select()
    monkeypatch.chdir("elsewhere")
    assert zoo.weights(1).shape == states.weights()[1:].shape
    assert len(zoo.metrics) == 2
    assert zoo.path == tmp_path / "z"


BUCKETS = ["gs://bucket/zoo", "s3://bucket/zoo", Path("gs://bucket/zoo")]  # where zoos may lie, and nothing else
ADDRESSES = ["file:///tmp/zoo", "hdfs://host/zoo", Path("hdfs://host/zoo")]


@pytest.mark.parametrize("address", [*BUCKETS, *ADDRESSES], ids=str)
def test_an_address_is_one_line_and_no_folder(address, tmp_path, monkeypatch):
    """`gs://bucket/zoo` made a folder called `gs:`."""
    monkeypatch.chdir(tmp_path)
    calls = (
        lambda: jaxzoo.read_config(address),
        lambda: jaxzoo.load_images(jaxzoo.load_spec("mnist-seed").dataset, address),
        lambda: jaxzoo.pack_zoo("zoo", address),
        lambda: jaxzoo.export_zoo("zoo", address, "numpy"),
        lambda: jaxzoo.generate(few(), "zoo", stage=address),
    )
    of_zoos = (
        lambda: jaxzoo.generate(few(), address),
        lambda: jaxzoo.open_zoo(address),
        lambda: jaxzoo.make_twins(address, jaxzoo.TwinSpec()),
    )
    store_zoo(tmp_path / "zoo", few())
    for call in (*calls, *(() if address in BUCKETS else of_zoos)):
        with pytest.raises(InputError, match="is an address, expected a folder or a file of this machine"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]


def test_an_address_on_the_command_line_is_one_line(tmp_path):
    for verb, *arguments in (
        ("generate", "--zoo", "digits", "--out", "hdfs://host/zoos"),
        ("report", "hdfs://host/zoo"),
        ("report", "s3://bucket/zoo", "--out", "s3://bucket/page.html"),
        ("twins", "hdfs://host/zoo"),
        ("generate", "--zoo", "digits", "--stage", "gs://bucket/zoos"),
        ("datasets", "--list", "--data-dir", "gs://bucket"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "jaxzoo", verb, *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert "is an address" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", None, 3, b"zoos", ["zoos"]], ids=repr)
def test_what_is_no_path_is_one_line(path):
    with pytest.raises(InputError, match=r"expected a text or a pathlib\.Path"):
        local_path(path)


def test_no_such_home_and_no_current_folder_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"~nobody-of-that-name/z: .*expected a path that can be found"):
        local_path("~nobody-of-that-name/z")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    os.rmdir(gone)
    with pytest.raises(InputError, match=r"z: cannot be found \(No such file or directory\)"):
        lasting_path("z")
    monkeypatch.chdir(tmp_path)


LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
LITTER_FOLDERS = (".ipynb_checkpoints", ".Trash-1000", "lost+found", "__MACOSX")


def strew(folder):
    for name in LITTER:
        (folder / name).write_bytes(b"\x00")
    for name in LITTER_FOLDERS:
        (folder / name).mkdir()


def test_what_file_managers_put_into_a_zoo_does_not_count(tmp_path):
    """An empty folder with a .DS_Store was refused for a new zoo."""
    (tmp_path / "z").mkdir()
    strew(tmp_path / "z")
    zoo = store_zoo(tmp_path / "z", few())
    (tmp_path / "new").mkdir()
    strew(tmp_path / "new")
    spec = jaxzoo.load_spec("digits")
    jaxzoo.generate(spec, tmp_path / "new", models=1, epochs=1, twins="none")
    for folder in ("cohorts", "cohorts/000", "cohorts/000/snapshots", "cohorts/000/snapshots/1", "cohorts/000/resume"):
        strew(tmp_path / "z" / folder)
        strew(tmp_path / "new" / folder)
    assert list(jaxzoo.verify_zoo(tmp_path / "z", deep=True)) == []
    assert zoo.epochs == jaxzoo.open_zoo(tmp_path / "z").epochs == (0, 1)
    again = jaxzoo.generate(spec, tmp_path / "new", models=1, epochs=1, twins="none")
    assert again.weights(1).shape == (1, 2464)
