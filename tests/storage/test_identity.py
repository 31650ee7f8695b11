"""A snapshot knows whose it is: that of another cohort, zoo or epoch is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from populations import record_of, small_spec, store_zoo

from jaxzoo.errors import InputError
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.plan import Trajectory, plan_zoo, row_hash, trajectory_digest
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.seeds import SeedRange
from jaxzoo.spec.snapshots import Snapshots
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.storage.cohort_store import CohortStore
from jaxzoo.storage.identity import identity_of
from jaxzoo.storage.record import read_record
from jaxzoo.storage.zoo_folder import cohort_folder

SPEC = small_spec(seeds=2, epochs=1, activation=("tanh", "relu"))


@pytest.fixture
def zoo(tmp_path):
    return store_zoo(tmp_path / "zoo", SPEC)


def swap(first, second, aside):
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def test_cohorts_that_were_swapped_are_refused(zoo, tmp_path):
    """They have the same shapes: their weights were read as each other's, without a word."""
    swap(cohort_folder(zoo.path, 0), cohort_folder(zoo.path, 1), tmp_path / "aside")
    opened = open_zoo(zoo.path)
    for read in (opened.weights, opened.metrics_at, opened.params):
        with pytest.raises(InputError, match=r"holds another model in row 0, expected those of members\.msgpack"):
            read(1)


def test_epochs_that_were_swapped_are_refused(zoo, tmp_path):
    snapshots = cohort_folder(zoo.path, 1) / "snapshots"
    swap(snapshots / "0", snapshots / "1", tmp_path / "aside")
    with pytest.raises(InputError, match="is that of epoch 1, expected epoch 0"):
        open_zoo(zoo.path).weights(0)


OTHERS = {
    "trajectory": dataclasses.replace(SPEC, batch_size=11),
    "another model in row 0": dataclasses.replace(SPEC, seeds=SeedRange(first=3, last=4)),
    r"holds 2 models, expected the 3 of its cohort": dataclasses.replace(SPEC, seeds=SeedRange(first=1, last=3)),
}


@pytest.mark.parametrize(("message", "other"), OTHERS.items(), ids=["trajectory", "seeds", "number"])
def test_another_zoos_description_over_these_cohorts_is_refused(zoo, tmp_path, message, other):
    """`generate` returned the foreign weights in a second."""
    foreign = store_zoo(tmp_path / "other", other)
    for name in ("zoo.json", "members.msgpack"):
        shutil.copy(foreign.path / name, zoo.path / name)
    with pytest.raises(InputError, match=message):
        open_zoo(zoo.path).weights(1)


def test_a_snapshot_is_held_to_its_identity_once(zoo, monkeypatch):
    opened, checked = open_zoo(zoo.path), []
    monkeypatch.setattr(type(opened._stored.identities[0]), "check", lambda *arguments: checked.append(arguments))
    for _ in range(3):
        opened.weights(1)
        opened.metrics_at(1)
    assert len(checked) == 2  # cohorts


def test_images_engine_lanes_and_twins_are_part_of_the_identity():
    record, members = record_of(SPEC), plan_zoo(SPEC).cohorts[0].members
    images, way = record.images[0], record.cohorts[0]
    changes = {
        "images": {"images": (dataclasses.replace(images, fingerprint="0" * 64),)},
        "mean": {"images": (dataclasses.replace(images, mean=(0.5,)),)},
        "engine": {"cohorts": (dataclasses.replace(way, engine="vmap"),) * 2},
        "lanes": {"cohorts": (dataclasses.replace(way, lanes=32),) * 2},
        "twins": {"twin": TwinSpec(method="magnitude", sparsity=0.5)},
    }
    stored = identity_of(record, 0, members, {}).tree(1)
    identity_of(record, 0, members, {"device": "another"}).check(stored, 1, "here")
    for name, change in changes.items():
        other = identity_of(dataclasses.replace(record, **change), 0, members, {})
        with pytest.raises(InputError, match="is of another zoo: its") as error:
            other.check(stored, 1, "here")
        assert name in str(error.value) or name == "mean"
    parent = identity_of(record, 0, members, {}, parent=7)
    with pytest.raises(InputError, match="its twins were made of other parents"):
        identity_of(record, 0, members, {}, parent=8).check(parent.tree(1), 1, "here")


def test_twins_never_go_on_from_those_of_other_parents(tmp_path):
    record, members = record_of(SPEC), plan_zoo(SPEC).cohorts[0].members
    arrays = (
        {"params": {"weight": np.zeros((2, 3), np.float32)}},
        {"train_loss": np.zeros(2, np.float32)},
        [np.int32(0)],
    )
    with CohortStore(tmp_path, identity_of(record, 0, members, {}, parent=7)) as store:
        store.save(0, *arrays)
    with (
        CohortStore(tmp_path, identity_of(record, 0, members, {}, parent=8)) as store,
        pytest.raises(InputError, match="its twins were made of other parents, expected those in the zoo's last epoch"),
    ):
        store.restore(2)


# what names mean stands in the trajectory of a cohort
NAMED = ("architectures", "datasets")


def test_the_trajectory_of_a_zoo_that_grows_stays():
    same = [
        dataclasses.replace(SPEC, name="another", models=1, cohort_size=1, epochs=9, twins=TwinSpec(epochs=1)),
        dataclasses.replace(SPEC, seeds=SeedRange(first=1, last=99)),
        dataclasses.replace(SPEC, snapshots=Snapshots(every=2, keep_optimizer=True), outputs=["test"]),
    ]
    other = [
        dataclasses.replace(SPEC, batch_size=11),
        dataclasses.replace(SPEC, momentum=0.8),
        dataclasses.replace(SPEC, augmentation=("flip",)),
        dataclasses.replace(SPEC, precision="bfloat16"),
        dataclasses.replace(SPEC, schedule=Schedule(kind="one-cycle")),
        dataclasses.replace(SPEC, schedule=Schedule(kind="one-cycle"), epochs=9),
        dataclasses.replace(SPEC, dataset=dataclasses.replace(SPEC.dataset, fit="crop")),
        dataclasses.replace(SPEC, grid=dataclasses.replace(SPEC.grid, dropout=(0.0, 0.5))),
    ]
    # a field of a spec that is added later belongs to the one or to the other
    free = {"name", "models", "seeds", "drawn_seeds", "grid", "epochs", "cohort_size", "twins", "counts_untrained"}
    free |= {"draws", "points", "vary"}  # what members have of them stands in their rows
    free |= {"snapshots", "outputs"}
    decide = {field.name for field in dataclasses.fields(Trajectory)} - {"layers", "dropout", "epochs", "factors"}
    assert {field.name for field in dataclasses.fields(SPEC)} == free | decide | {"architecture", "network", *NAMED}
    digest = trajectory_digest(SPEC)
    assert {trajectory_digest(spec) for spec in same} == {digest}
    assert len({digest, *map(trajectory_digest, other)}) == len(other) + 1
    assert digest == "be6f7a03fa7db28fda44241f47782dfb1f9d02fb3608c4c33cfb2f132d54df8f"  # on disk


def test_the_hash_of_a_row_is_of_the_seed_and_the_hyperparameters_alone():
    members = plan_zoo(SPEC).members
    hashes = [row_hash(member) for member in members]
    assert len({*hashes}) == 4
    assert hashes == [row_hash(member._replace(model=9, cohort=9, row=9)) for member in members]
    assert hashes[0].hex() == "1cff626f39eaea10ab38daca3385a8c3"  # on disk


def test_a_zoo_says_what_it_was_made_with(zoo):
    table = json.loads((zoo.path / "zoo.json").read_text())
    assert table["format"] == 2
    assert table["stages"] == [{"models": None, "epochs": 1, "last_seed": 2, "seed_count": None}]
    assert table["cohorts"] == [{"engine": "lanes", "lanes": 16, "form": [], "kernels": 1}] * 2
    assert table["images"] == [{"name": "digits", "fingerprint": "f" * 64, "mean": [0.25], "std": [0.5]}]
    assert table["factors"] == []
    assert (table["made"]["platform"], table["made"]["device"]) == ("cpu", "a CPU")
    assert read_record(zoo.path) == record_of(SPEC)


def test_an_identity_that_cannot_be_understood_is_one_line(zoo):
    identity = open_zoo(zoo.path)._stored.identities[0]
    good = identity.tree(1)
    for table in (
        b"",
        b"{}",
        b"[]",
        b'{"facts": [], "made": {}}',
        b"\xff",
        b"[" * 100_000,
        b'{"facts": {}, "made": {}}',
    ):
        with pytest.raises(Exception, match="its identity cannot be read"):
            identity.check({**good, "table": np.frombuffer(table, np.uint8)}, 1, zoo.path)
    with pytest.raises(InputError, match="carries no identity, expected one"):
        identity.check(None, 1, zoo.path)
