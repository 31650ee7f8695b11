"""The command line as a person meets it."""

import subprocess
import sys

import pytest
from populations import write_digits_config

from jaxzoo.reading.zoo import open_zoo


def run(*arguments, cwd=None):
    command = [sys.executable, "-m", "jaxzoo", "generate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_help_and_list():
    text = run("--help").stdout
    assert "--zoo NAME" in text
    assert "jaxzoo generate --zoo digits" in text
    listed = run("--list")
    assert listed.returncode == 0
    assert listed.stderr == ""
    assert "27 zoos, 50,360 models, 2,585,360 dense and 1,259,000 sparse states, 3,844,360 in all" in listed.stdout


def test_a_zoo_is_made_and_summed_up_and_a_second_run_is_quick(tmp_path):
    config = write_digits_config(tmp_path / "tiny.toml")
    arguments = ("--config", config, "--out", tmp_path / "zoos", "--models", 3, "--epochs", 2)
    made = run(*arguments)
    assert made.returncode == 0, made.stderr
    for words in ("models     3, 9 states", "training samples/s", "accuracy   test, after 2 epochs: quartiles"):
        assert words in made.stdout
    assert "Traceback" not in made.stderr
    assert "Warning" not in made.stderr
    zoo = open_zoo(tmp_path / "zoos" / "tiny")
    assert zoo.epochs == (0, 1, 2)
    assert len(zoo.members) == 3
    again = run(*arguments)
    assert again.returncode == 0
    assert "all was there" in again.stdout
    restricted = run(*arguments, "--cohorts", "5:6")
    assert restricted.returncode == 2
    assert "cohorts are 5:6, expected a part of 0:2" in restricted.stderr


BAD = {
    "nothing to do": ((), "nothing to do, expected --zoo NAME, --config FILE or --list"),
    "unknown zoo": (("--zoo", "mnist-sed"), "there is no zoo or dataset 'mnist-sed'; nearest: mnist-seed"),
    "no models": (("--zoo", "digits", "--models", "0"), "argument --models: got '0', expected a whole number"),
    "negative models": (("--zoo", "digits", "--models=-3"), "argument --models: got '-3', expected a whole number"),
    "too many models": (("--zoo", "digits", "--models", "129"), "models is 129, expected 1..128"),
    "half an epoch": (("--zoo", "digits", "--epochs", "0.5"), "argument --epochs: got '0.5', expected a whole number"),
    "unknown engine": (("--zoo", "digits", "--engine", "gpu"), "argument --engine: invalid choice: 'gpu'"),
    "cohorts": (("--zoo", "digits", "--cohorts", "3"), "argument --cohorts: got '3', expected two numbers as in 3:7"),
    "cohorts backwards": (("--zoo", "digits", "--cohorts", "2:1"), "cohorts are 2:1, expected a part of 0:4"),
    "unknown option": (("--zoo", "digits", "--colour"), "unrecognized arguments: --colour"),
    "no such config": (("--config", "nowhere.toml"), "nowhere.toml: cannot be read (No such file or directory)"),
    "no kernels": (
        ("--zoo", "cifar10-resnet18", "--models", "1", "--engine", "lanes"),
        "engine is 'lanes', expected vmap for resnet-18 in float32",
    ),
    "no network": (
        ("--zoo", "svhn", "--data-dir", "empty"),
        "dataset 'svhn' is not prepared and cannot be downloaded (ProxyError): fetch "
        "http://ufldl.stanford.edu/housenumbers/train_32x32.mat and "
        "http://ufldl.stanford.edu/housenumbers/test_32x32.mat and put what you get into empty/svhn",
    ),
    "out before data": (
        ("--zoo", "svhn-seed", "--out", "taken"),
        "taken/svhn-seed: holds 'thesis.tex' and no zoo.json",
    ),
    "out is a file": (("--zoo", "digits", "--out", "file"), "file/digits: cannot be used (Not a directory)"),
    "out is not ours": (("--zoo", "digits", "--out", "taken"), "taken/digits: holds 'thesis.tex' and no zoo.json"),
    "out cannot be written": (("--zoo", "digits", "--out", "/proc"), "/proc/digits: cannot be written"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_status_2(tmp_path, arguments, message):
    (tmp_path / "file").write_text("x")
    for name in ("digits", "svhn-seed"):
        (tmp_path / "taken" / name).mkdir(parents=True)
        (tmp_path / "taken" / name / "thesis.tex").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("jaxzoo generate: ")
    assert message in done.stderr
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before
