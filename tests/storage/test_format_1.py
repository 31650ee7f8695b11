"""A zoo of the first format, made by version 0.1.0 before snapshots had an identity: it opens, and goes on.

tiny.tgz was made from tiny.toml with twins by magnitude for 2 epochs, and stopped in epoch 2 of the second cohort.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.config import read_config
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.snapshots import snapshot_epochs
from jaxzoo.storage.zoo_folder import cohort_folder
from jaxzoo.training.events import EpochSaved, Notice
from jaxzoo.training.zoo import generate

KEPT = Path(__file__).parent / "format-1"
# what that version read: the sums of the first cohort's weights, per epoch
SUMS = {0: -11.93712810046054, 1: -14.393580045521958}


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(KEPT / "tiny.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "tiny"


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_it_opens_with_its_numbers(folder):
    zoo = open_zoo(folder)
    assert (zoo.record.format, zoo.record.members, zoo.record.made.device) == (1, None, None)
    assert zoo.epochs == (0, 1)
    assert zoo.members["optimizer"].tolist() == ["adam", "sgd"]
    for epoch, total in SUMS.items():
        np.testing.assert_allclose(zoo.weights(epoch, models=[0]).sum(dtype=np.float64), total, rtol=1e-12)
    assert len(zoo.metrics) == 4
    assert zoo.twins["magnitude"].record.parent.epoch == 2


def test_it_goes_on_and_keeps_what_it_holds(folder):
    before, events = files_of(folder), []
    (spec,) = read_config(KEPT / "tiny.toml")
    zoo = generate(spec, folder, twins=TwinSpec(method="magnitude", epochs=2), on_event=events.append)
    saved = [(event.cohort, event.twins, event.epoch) for event in events if isinstance(event, EpochSaved)]
    assert saved == [(1, False, 2), (1, True, 0), (1, True, 1), (1, True, 2)]
    (notice,) = [event.text for event in events if isinstance(event, Notice)]
    assert "is of format 1: its snapshots carry no identity" in notice
    assert zoo.epochs == zoo.twins["magnitude"].epochs == (0, 1, 2)
    resume = cohort_folder(folder, 1) / "resume"
    after = files_of(folder)
    assert {path: data for path, data in before.items() if resume not in path.parents}.items() <= after.items()
    assert snapshot_epochs(cohort_folder(folder, 1)) == [0, 1, 2]
