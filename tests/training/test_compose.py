"""The whole way: from a spec to a zoo on disk, stopped, killed, damaged, and gone on with."""

import dataclasses
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from populations import write_digits_config

import jaxzoo
from jaxzoo.__main__ import main
from jaxzoo.commands.listing import zoo_table
from jaxzoo.datasets import load_images
from jaxzoo.errors import InputError
from jaxzoo.reading.stored import METRICS
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.zoo_folder import cohort_folder, twins_folder
from jaxzoo.training.checks import choose_twins
from jaxzoo.training.events import EpochSaved, Interrupted, Notice, Trained
from jaxzoo.training.zoo import generate


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    (spec,) = jaxzoo.read_config(write_digits_config(tmp_path_factory.mktemp("config") / "tiny.toml"))
    return spec


@pytest.fixture(scope="module")
def finished(spec, tmp_path_factory):
    """The zoo made in one go, and the events on the way."""
    events = []
    zoo = generate(spec, tmp_path_factory.mktemp("zoos") / "tiny", on_event=events.append)
    return zoo, events


def assert_same_zoo(zoo, other):
    assert zoo.epochs == other.epochs
    for epoch in zoo.epochs:
        np.testing.assert_array_equal(zoo.weights(epoch), other.weights(epoch))
    assert zoo.metrics.equals(other.metrics)
    assert zoo.members.equals(other.members)
    assert list(zoo.twins) == list(other.twins)
    for method, twins in zoo.twins.items():
        assert_same_zoo(twins, other.twins[method])


def test_a_zoo_holds_every_epoch_of_every_member(spec, finished):
    zoo, _ = finished
    assert zoo.epochs == (0, 1, 2, 3)
    assert zoo.weights(epoch=3).shape == (4, 2464)
    assert list(zoo.metrics.columns) == ["model", "epoch", *METRICS]
    assert len(zoo.metrics) == 16
    assert zoo.metrics["finite"].all()
    assert zoo.members["optimizer"].tolist() == ["adam", "adam", "sgd", "sgd"]
    assert zoo.members["seed"].tolist() == [1, 2, 1, 2]
    assert zoo.spec == spec


def test_weights_are_the_params_in_the_order_of_the_layout(finished):
    zoo, _ = finished
    weights, params = zoo.weights(epoch=2), zoo.params(epoch=2)
    assert zoo.layout[0].columns.start == 0
    assert zoo.layout[-1].columns.stop == 2464
    for entry, following in zip(zoo.layout, zoo.layout[1:], strict=False):
        assert entry.columns.stop == following.columns.start
    for (layer, kind), columns, shape in zoo.layout:
        np.testing.assert_array_equal(weights[:, columns].reshape(-1, *shape), params[layer][kind])


def test_models_and_epochs_are_read_as_asked_for(finished):
    zoo, _ = finished
    everyone = zoo.weights(epoch=1)
    np.testing.assert_array_equal(zoo.weights(epoch=1, models=[3, 0, 3]), everyone[[3, 0, 3]])
    with pytest.raises(InputError, match=r"epoch is 4, expected one of 0\.\.3"):
        zoo.weights(epoch=4)
    with pytest.raises(InputError, match=r"model is 4, expected 0\.\.3"):
        zoo.params(epoch=1, models=[4])


def test_anyone_can_apply_the_network_and_gets_the_metrics(spec, finished):
    zoo, _ = finished
    images = load_images(spec.dataset)
    normalised = ((images.test.pixels / 255 - images.mean) / images.std).astype(np.float32)
    params = zoo.params(epoch=3)
    logits = jax.vmap(lambda p, x: zoo.network.apply({"params": p}, x), (0, None))(params, normalised)
    accuracy = (np.asarray(logits).argmax(-1) == images.test.labels).mean(1)
    stored = zoo.metrics_at(3)["test_accuracy"]
    np.testing.assert_allclose(accuracy, stored, atol=1.5 / 360)  # a tie in float32 may fall to either side


def test_models_learn(finished):
    zoo, _ = finished
    adam = zoo.members["model"][zoo.members["optimizer"] == "adam"]
    before, after = zoo.metrics_at(0), zoo.metrics_at(3)
    assert (after["train_loss"][adam] < 0.8 * before["train_loss"][adam]).all()


def test_events_tell_of_all_samples_and_epochs(spec, finished):
    _, events = finished
    trained = [event for event in events if isinstance(event, Trained)]
    assert sum(event.samples for event in trained) == 4 * (3 + 2) * spec.dataset.train
    assert sum(event.samples for event in trained if event.twins) == 4 * 2 * spec.dataset.train
    saved = [(event.cohort, event.twins, event.epoch) for event in events if isinstance(event, EpochSaved)]
    epochs = {False: range(4), True: range(3)}
    assert saved == [(cohort, twins, epoch) for cohort in (0, 1) for twins in epochs for epoch in epochs[twins]]


def test_going_on_with_a_finished_zoo_is_quick_and_harmless(spec, finished):
    zoo, _ = finished
    files = {path: path.stat().st_mtime_ns for path in zoo.path.rglob("*") if path.is_file() and path.name != ".lock"}
    events = []
    generate(spec, zoo.path, on_event=events.append)
    assert all(event.restored for event in events)
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_stopped_run_goes_on_and_ends_in_the_same_bits(spec, finished, tmp_path):
    epochs = []

    def note(event):
        if isinstance(event, EpochSaved):
            epochs.append(event.epoch)

    for stop_after in (1, 3, 6, 9):  # epochs saved so far: in the middle of either cohort and of the first's twins
        with pytest.raises(Interrupted, match="stopped in epoch"):
            generate(spec, tmp_path / "z", on_event=note, should_stop=lambda n=stop_after: len(epochs) >= n)
    assert_same_zoo(generate(spec, tmp_path / "z", on_event=note), finished[0])
    assert epochs == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2]


def test_a_damaged_last_snapshot_is_made_again(spec, finished, tmp_path):
    generate(spec, tmp_path / "z")
    snapshot = cohort_folder(tmp_path / "z", 1) / "snapshots" / "3"
    (snapshot / "default" / "manifest.ocdbt").write_bytes(b"")
    events = []
    zoo = generate(spec, tmp_path / "z", on_event=events.append)
    assert [event.epoch for event in events if isinstance(event, EpochSaved)] == [3]
    (notice,) = (event.text for event in events if isinstance(event, Notice))
    assert "epoch 3 is damaged" in notice
    assert_same_zoo(zoo, finished[0])


def test_cohorts_made_apart_are_the_zoo(spec, finished, tmp_path):
    first = generate(spec, tmp_path / "z", cohorts=range(1, 2))
    assert first.epochs == ()
    assert first.metrics.empty
    assert_same_zoo(generate(spec, tmp_path / "z", cohorts=range(0, 1)), finished[0])


def test_on_fewer_devices_it_ends_in_the_same_bits(spec, finished, tmp_path):
    zoo = generate(spec, tmp_path / "z", epochs=1, twins="none", devices=jax.devices()[:1])
    np.testing.assert_array_equal(zoo.weights(1), finished[0].weights(1))
    for devices in ([], ()):
        with pytest.raises(InputError, match="devices are none, expected one device or more, of one kind"):
            generate(spec, tmp_path / "none", twins="none", devices=devices)
    assert not (tmp_path / "none").exists()


def test_a_zoo_gives_the_images_it_was_made_of(finished):
    zoo, _ = finished
    images = zoo.images()
    by_hand = (images.test.pixels[3:7] / 255 - images.mean) / images.std
    given = images.normalised("test", slice(3, 7))
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, by_hand, rtol=1e-6)  # float32
    scale, shift = images.scale_and_shift
    np.testing.assert_allclose(images.test.pixels[3:7] * scale + shift, by_hand, atol=1e-6)  # float32
    assert len(images.normalised("train")) == 1257
    with pytest.raises(InputError, match="split is 'tset', expected one of: train, validation, test"):
        images.normalised("tset")
    foreign = dataclasses.replace(zoo.record.images[0], fingerprint="f" * 64)
    other = Zoo(zoo.path, dataclasses.replace(zoo.record, images=(foreign,)), [])
    with pytest.raises(InputError, match="was made of images of fingerprint ffffffffffff, got "):
        other.images()


def test_killed_at_any_moment_it_goes_on_and_ends_in_the_same_bits(finished, tmp_path):
    config = write_digits_config(tmp_path / "tiny.toml")
    out = tmp_path / "zoos"
    command = [sys.executable, "-m", "jaxzoo", "generate", "--config", config, "--out", out]
    snapshots = [cohort_folder(out / "tiny", cohort) / "snapshots" for cohort in (0, 1)]
    moments = [
        lambda: list(snapshots[0].glob("1*")),  # while the first trained epoch is written, or just after
        lambda: (cohort_folder(twins_folder(out / "tiny", "variational-dropout"), 0) / "snapshots" / "1").exists(),
        lambda: (snapshots[1] / "2").exists(),
    ]
    for reached in moments:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for(reached, process)
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert_same_zoo(open_zoo(out / "tiny"), finished[0])


def wait_for(reached, process):
    """Until what a process writes has come so far, or the process has ended."""
    until = time.monotonic() + 200
    while not reached() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


def test_a_wrong_folder_is_refused_before_images_are_loaded(spec, finished, tmp_path, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise AssertionError("images were loaded")

    monkeypatch.setattr("jaxzoo.training.zoo.load_images", refuse)
    monkeypatch.setattr("jaxzoo.commands.generate.load_images", refuse)
    zoo, _ = finished
    with pytest.raises(InputError, match=r"holds another zoo: batch_size is 10, got 11; expected"):
        generate(dataclasses.replace(spec, batch_size=11), zoo.path)
    with pytest.raises(InputError, match=r"was begun as other twins: epochs is 2, got 1; expected the same"):
        generate(spec, zoo.path, twins=TwinSpec(epochs=1))
    config = write_digits_config(tmp_path / "other.toml", rate="2e-3")
    assert main(["generate", "--config", str(config), "--out", str(zoo.path.parent)]) == 2
    assert "holds another zoo: grid.learning_rate is (0.001,), got (0.002,); expected" in capsys.readouterr().err


def test_twins_of_a_spec_without_any_are_made_only_where_they_are_asked_for(spec):
    without = dataclasses.replace(spec, twins="none")
    assert choose_twins(without, None) is None
    assert choose_twins(without, "magnitude") == TwinSpec(method="magnitude")
    assert zoo_table([without])["twins"].tolist() == [0]


def test_bad_input_is_one_line_and_touches_nothing(spec, finished, tmp_path):
    zoo, _ = finished
    cases = {
        r"models is 5, expected 1\.\.4": {"models": 5},
        "models is 0, expected 1 or more": {"models": 0},
        "epochs is 0, expected 1 or more": {"epochs": 0},
        "engine is 'gpu', expected one of: auto, lanes, vmap": {"engine": "gpu"},
        r"cohorts are 1:3, expected a part of 0:2": {"cohorts": range(1, 3)},
    }
    for message, arguments in cases.items():
        with pytest.raises(InputError, match=message):
            generate(spec, tmp_path / "z", **arguments)
    other = dataclasses.replace(spec, momentum=0.5, epochs=4)
    with pytest.raises(InputError, match=r"holds another zoo: momentum is 0\.9, got 0\.5; expected"):
        generate(other, zoo.path)
    with pytest.raises(InputError, match="was begun with engine 'lanes', got 'vmap'"):
        generate(spec, zoo.path, engine="vmap")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be used"):
        generate(spec, tmp_path / "file")
    with pytest.raises(InputError, match="dataset 'svhn' is not prepared and cannot be downloaded"):
        generate(jaxzoo.load_spec("svhn-seed"), tmp_path / "z", data_dir=tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
