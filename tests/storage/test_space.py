"""Which epochs stay on disk: no weight depends on it. A disk too small is said before the start."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
from populations import write_digits_config

import jaxzoo
from jaxzoo.commands.listing import zoo_table
from jaxzoo.errors import InputError
from jaxzoo.spec.config import read_config
from jaxzoo.spec.zoo_spec import TwinSpec
from jaxzoo.storage.retention import check_space, kept_epochs, model_bytes, states_kept
from jaxzoo.training.cohort import EpochSaved, Interrupted
from jaxzoo.training.zoo import generate


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    config = write_digits_config(tmp_path_factory.mktemp("config") / "z.toml", epochs="4")
    return dataclasses.replace(read_config(config)[0], models=2)


@pytest.fixture(scope="module")
def whole(spec, tmp_path_factory):
    return generate(spec, tmp_path_factory.mktemp("whole") / "z", twins=TwinSpec(method="magnitude", epochs=4))


@pytest.mark.parametrize(("keep", "epochs"), [("last", (3, 4)), ((0, 2), (0, 2, 3, 4)), ("all", (0, 1, 2, 3, 4))])
def test_what_stays_is_what_was_asked_for_and_the_last_two(spec, whole, tmp_path, keep, epochs):
    """Stopped in between, too."""
    saved = []

    def count(event):
        saved.extend([event.epoch] if isinstance(event, EpochSaved) and not event.twins else [])

    call = {"twins": TwinSpec(method="magnitude", epochs=4)}
    with pytest.raises(Interrupted):
        generate(spec, tmp_path / "z", keep_epochs=keep, on_event=count, should_stop=lambda: 2 in saved, **call)
    zoo = generate(spec, tmp_path / "z", **call)  # goes on as it was begun
    assert zoo.epochs == zoo.twins["magnitude"].epochs == epochs
    np.testing.assert_array_equal(zoo.weights(epochs), whole.weights(epochs))
    np.testing.assert_array_equal(zoo.twins["magnitude"].weights(4), whole.twins["magnitude"].weights(4))
    assert zoo.record.kept == kept_epochs(keep, 4)


def test_states_and_bytes_are_those_that_stay(spec):
    assert [states_kept(kept, 50) for kept in (None, (), (0,), (49, 50, 7), (0, 10, 50))] == [51, 2, 3, 3, 4]
    assert states_kept((), 0) == 1
    published = jaxzoo.load_spec("cifar10-resnet18")
    assert model_bytes(published, 4 * 11_173_962, (), published.twins) == 4 * 11_173_962 * 4
    everything = zoo_table([jaxzoo.load_spec("svhn-seed")])["bytes"].item()
    svhn = jaxzoo.load_spec("svhn-seed")
    # the list counts twins by their epochs after the parent's, on disk the parent is their epoch 0
    assert 1000 * model_bytes(svhn, 4 * 2464, None, svhn.twins) == everything + 1000 * 4 * 2464


def test_a_disk_too_small_is_said_with_what_would_fit(spec, tmp_path, monkeypatch):
    big = jaxzoo.load_spec("cifar10-resnet18")
    one = 4 * 11_173_962

    def with_free(states):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**15, 0, states * one))

    with_free(10_000)
    with pytest.raises(InputError) as error:
        check_space(tmp_path / "new" / "z", big, one, 1000, None, big.twins)
    assert str(error.value).endswith(
        "z: needs 3.44 TB, the disk has 447 GB, expected more; "
        "it would hold 129 models, or all models with no epochs kept but the last two, or all models with the last two "
        "epochs alone and without twins"
    )
    with_free(3)
    with pytest.raises(InputError, match="it would hold not one model"):
        check_space(tmp_path / "z", big, one, 1000, None, big.twins)
    with_free(1000 * (51 + 26))
    check_space(tmp_path / "z", big, one, 1000, None, big.twins)
    with_free(0)
    (tmp_path / "held").write_bytes(bytes(4 * 2464 * 7))  # what an earlier run wrote counts as free
    check_space(tmp_path, spec, 4 * 2464, 1, (), TwinSpec(epochs=4))
    with pytest.raises(InputError, match=r"needs 78\.8 kB, the disk has 69 kB"):
        check_space(tmp_path, spec, 4 * 2464, 2, (), TwinSpec(epochs=4))


def test_epochs_that_are_not_there_or_were_begun_otherwise_are_one_line(spec, whole, tmp_path):
    for keep, message in (((0, 5), "keep_epochs has 5, expected epochs of 0..4"), ("some", "keep_epochs is 'some'")):
        with pytest.raises(InputError, match=message):
            generate(spec, tmp_path / "z", keep_epochs=keep)
    with pytest.raises(InputError, match=r"was begun with kept epochs None, got \(\), expected the same"):
        generate(spec, whole.path, keep_epochs="last", twins=TwinSpec(method="magnitude", epochs=4))
    assert not (tmp_path / "z").exists()
    command = [sys.executable, "-m", "jaxzoo", "generate", "--zoo", "digits", "--keep-epochs"]
    for keep, message in (
        ("first", "--keep-epochs: got 'first', expected"),
        ("7,90", "has 90, expected epochs of 0..20"),
    ):
        bad = subprocess.run([*command, keep], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert (bad.returncode, bad.stderr.count("\n")) == (2, 1), bad.stderr
        assert message in bad.stderr
