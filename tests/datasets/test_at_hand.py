"""The images of a zoo that anybody may have made: nothing is downloaded, nothing elsewhere is read."""

import subprocess
import sys

import numpy as np
import pytest
from populations import replace_dataset, small_spec, store_zoo, write_folder

import jaxzoo
from jaxzoo.datasets import fetch, images_at_hand, prepared
from jaxzoo.errors import InputError


@pytest.fixture
def no_network(monkeypatch):
    """Whatever would go to the network or begin to prepare ends the test."""

    def refuse(*_, **__):
        raise AssertionError("asked for the network")

    for module, name in ((fetch, "find_archives"), (fetch, "download_archives"), (prepared, "_download_and_prepare")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(fetch.requests, "head", refuse)


def foreign(tmp_path, **dataset):
    """A zoo that names those images."""
    spec = small_spec(seeds=1, epochs=1, activation=("relu",))
    return store_zoo(tmp_path / "zoo", replace_dataset(spec, **dataset))


@pytest.mark.parametrize(
    "dataset", [{"folder": "/etc"}, {"folder": "birds"}, {"tfds": "eurosat/rgb"}, {"name": "cifar10"}], ids=str
)
def test_without_a_data_dir_a_foreign_dataset_is_one_line(dataset, tmp_path, no_network, monkeypatch):
    """`jaxzoo report` downloaded, and read, whatever zoo.json named."""
    write_folder(tmp_path / "data" / "birds", small_spec().dataset)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    zoo = foreign(tmp_path, **dataset)
    for call in (
        zoo.images,
        lambda: jaxzoo.make_twins(zoo.path, jaxzoo.TwinSpec()),
        lambda: zoo.evaluate(zoo.weights(1)),
    ):
        with pytest.raises(InputError, match=r"none of jaxzoo's own, .* expected a data directory that holds it"):
            call()


def test_one_of_jaxzoos_own_is_looked_for_but_not_downloaded(tmp_path, no_network, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    for name in ("mnist-seed", "usps-seed", "cifar100-resnet18"):
        with pytest.raises(InputError, match=f"is not prepared in {tmp_path}/data, expected it there"):
            images_at_hand(jaxzoo.load_spec(name).dataset)
    assert not (tmp_path / "data").exists()


def test_with_a_data_dir_its_folders_are_read_and_no_others(tmp_path, no_network):
    spec = small_spec()
    write_folder(tmp_path / "data" / "birds", spec.dataset)
    write_folder(tmp_path / "secret", spec.dataset)
    inside = replace_dataset(spec, folder="birds").dataset
    images = images_at_hand(inside, tmp_path / "data")
    np.testing.assert_array_equal(images.test.labels, jaxzoo.load_images(inside, tmp_path / "data").test.labels)
    assert len(
        images_at_hand(replace_dataset(spec, folder=str(tmp_path / "data" / "birds")).dataset, tmp_path / "data")[0][0]
    )
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    for folder in ("../secret", str(tmp_path / "secret"), "link", "birds/../../secret"):
        with pytest.raises(InputError, match=r"is not inside of .*/data, expected a folder inside"):
            images_at_hand(replace_dataset(spec, folder=folder).dataset, tmp_path / "data")
    for name in ("eurosat/rgb", "../secret", "huggingface:mnist", "/etc"):
        with pytest.raises(InputError, match=r"is not prepared in|cannot be opened|is not inside of"):
            images_at_hand(replace_dataset(spec, tfds=name).dataset, tmp_path / "data")


def test_the_report_of_a_foreign_zoo_says_that_it_has_no_images(tmp_path):
    zoo = foreign(tmp_path, folder="/etc")
    command = [sys.executable, "-m", "jaxzoo", "report", zoo.path, "--no-probe", "--out", tmp_path / "r.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "no predictions: dataset 'digits': is none of jaxzoo's own" in done.stdout
