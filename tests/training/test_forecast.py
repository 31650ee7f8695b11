"""What a zoo will take is said before it is begun, and nothing is loaded or written for it."""

import dataclasses
import os
import subprocess
import sys

import pytest
from populations import replace_dataset, small_spec, write_digits_config, write_folder

import jaxzoo
from jaxzoo.commands.forecasts import forecast_text
from jaxzoo.devices import model_mesh
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.training.checks import check_generate
from jaxzoo.training.forecast import forecast


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """Two kinds of cohorts with 5 models each, and magnitude twins."""
    folder = tmp_path_factory.mktemp("images") / "few"
    spec = small_spec(seeds=5, epochs=3, activation=("tanh", "relu"))
    spec = replace_dataset(spec, folder=str(folder))
    write_folder(folder, spec.dataset)
    return dataclasses.replace(spec, twins=TwinSpec(method="magnitude", epochs=2))


def files_of(folder):
    return [os.path.join(inner, name) for inner, _, names in os.walk(folder) for name in names]


def test_a_forecast_counts_what_the_zoo_then_takes(spec, tmp_path):
    job = check_generate(spec, tmp_path / "z", lanes=2)
    found = forecast(job, model_mesh())
    assert not (tmp_path / "z").exists()
    assert (found.cohorts, found.models, found.compilations) == (2, 10, 4)
    assert found.ways == (("lanes", 2),)
    assert (found.zoo.epochs, found.twins.epochs) == (6, 4)
    assert 0 < found.memory < found.limit
    assert found.zoo.rate > 0
    # 47 training samples of 5 models in 2 slabs of 4 lanes; evaluation comes on top of it
    trained = 6 * 2 * 4 * 47 / found.zoo.rate
    assert trained < found.zoo.seconds
    jaxzoo.generate(spec, tmp_path / "z", lanes=2)
    files = files_of(tmp_path / "z")
    # TensorStore joins writes that wait at once: this very zoo takes 259 to 282 files
    assert found.zoo.disk.files + found.twins.disk.files == pytest.approx(len(files), rel=0.2)
    counted = found.zoo.disk.total + found.twins.disk.total
    taken = sum(os.stat(file).st_blocks for file in files) * 512
    assert 0.9 <= counted / taken <= 1.6  # what files take besides their numbers is a rough count
    rest = forecast(check_generate(spec, tmp_path / "z"), model_mesh())
    assert (rest.zoo.epochs, rest.zoo.seconds, rest.twins.seconds) == (0, 0, 0)


def test_what_is_there_already_takes_no_time(spec, tmp_path):
    jaxzoo.generate(spec, tmp_path / "z", cohorts=range(1), twins="none", lanes=2)
    left = forecast(check_generate(spec, tmp_path / "z"), model_mesh())
    assert (left.zoo.epochs, left.twins.epochs) == (3, 4)
    text = forecast_text(spec, left, 2)
    assert "10 models in 2 cohorts" in text
    assert "rates measured here" in text


def test_the_command_line_says_it_and_ends(tmp_path):
    config = write_digits_config(tmp_path / "tiny.toml")
    command = [sys.executable, "-m", "jaxzoo", "generate", "--config", config, "--out", tmp_path / "zoos", "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for words in ("4 models in 2 cohorts", "compiles   4 kinds", "memory ", "disk ", "time ", "  twins "):
        assert words in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_the_plan_of_a_dataset_that_is_not_here_needs_no_images(tmp_path):
    command = [
        sys.executable,
        "-m",
        "jaxzoo",
        "generate",
        "--zoo",
        "usps-seed",
        "--models",
        "2",
        "--plan",
        "--twins=none",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usps-seed: 2 models in 1 cohort" in done.stdout
    assert list(tmp_path.iterdir()) == []
