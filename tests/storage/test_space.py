"""Which epochs stay on disk: no weight depends on it. A disk too small is said before the start."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from populations import write_digits_config

from jaxzoo.errors import InputError
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.spec.config import read_config
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.retention import CohortBytes, ZooBytes, check_space, kept_epochs, states_kept
from jaxzoo.training.checks import check_generate, space_of
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


def test_metrics_of_every_epoch_stay(spec, whole, tmp_path):
    """The curves went with the weights."""
    zoo = generate(spec, tmp_path / "z", keep_epochs="last", twins=TwinSpec(method="magnitude", epochs=4))
    assert zoo.epochs == (3, 4)
    pd.testing.assert_frame_equal(zoo.metrics, whole.metrics)
    pd.testing.assert_frame_equal(zoo.twins["magnitude"].metrics, whole.twins["magnitude"].metrics)
    pd.testing.assert_frame_equal(zoo.metrics_at(1), whole.metrics_at(1))
    with pytest.raises(InputError, match=r"epoch is 1, expected one of 3\.\.4"):
        zoo.weights(1)
    assert list(verify_zoo(zoo.path, deep=True)) == []


def test_states_are_those_that_stay():
    assert [states_kept(kept, 50) for kept in (None, (), (0,), (49, 50, 7), (0, 10, 50))] == [51, 2, 3, 3, 4]
    assert states_kept((), 0) == 1


@pytest.mark.parametrize("keep", ["all", "last"])
def test_the_bytes_that_are_counted_are_those_that_are_written(spec, whole, tmp_path, keep):
    """What was counted were the parameters alone: neither optimizer states, nor metrics, nor what files take."""
    call = {"twins": TwinSpec(method="magnitude", epochs=4), "keep_epochs": keep}
    zoo = whole if keep == "all" else generate(spec, tmp_path / "z", **call)
    files = [path for path in zoo.path.rglob("*") if path.is_file()]
    written = sum(-(-path.stat().st_size // 4096) * 4096 for path in files)  # in blocks, as disks hold them
    job = check_generate(spec, tmp_path / "nothing", **call)
    counted = sum(part.total for part in space_of(job))
    assert written <= counted <= 1.5 * written


def bytes_of(models, epochs, kept):
    return ZooBytes([CohortBytes(models, snapshot=1_000_000, resume=2_000_000)], epochs, kept)


def test_a_disk_too_small_is_said_with_what_would_fit(tmp_path, monkeypatch):
    def with_free(count):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**15, 0, count))

    dense, twins = bytes_of(1000, 50, None), bytes_of(1000, 25, None)
    assert dense.total + twins.total == pytest.approx(1000 * (51 + 6 + 26 + 6) * 1e6, rel=1e-3)
    with_free(10**10)
    with pytest.raises(InputError) as error:
        check_space(tmp_path / "new" / "z", dense, twins)
    assert str(error.value).endswith(
        "z: needs 89 GB, the disk has 10 GB, expected more; "
        "it would hold 112 models, or all models with the last two epochs alone and without twins"
    )
    with_free(3 * 10**7)
    with pytest.raises(InputError, match="it would hold not one model"):
        check_space(tmp_path / "z", dense, twins)
    with_free(89_100_000_000)
    check_space(tmp_path / "z", dense, twins)
    with_free(0)
    (tmp_path / "held").write_bytes(bytes(9_000_000))  # what an earlier run wrote counts as free
    check_space(tmp_path, bytes_of(1, 0, ()), None)
    with pytest.raises(InputError, match=r"needs 16\.\d MB, the disk has 9 MB"):
        check_space(tmp_path, bytes_of(2, 2, ()), None)


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
