"""Snapshots: what comes back is what was saved; what is damaged is noticed, and made again from the epoch before."""

import json
import shutil

import jax
import numpy as np
import pytest
from populations import small_spec

from jaxzoo.errors import InputError
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.storage.cohort_store import CohortStore, read_snapshot, snapshot_epochs
from jaxzoo.storage.record import ZooRecord, begin_zoo, find_record, read_members, read_record

M = 5


def state_of(epoch):
    draws = np.random.default_rng(epoch)
    kernel = draws.standard_normal((M, 5, 5, 1, 8)).astype(np.float32)
    params = {"conv1": {"kernel": kernel, "bias": draws.standard_normal((M, 8)).astype(np.float32)}}
    metrics = {"test_loss": draws.random(M, np.float32), "finite": np.array([True, False, True, True, True])}
    return {"params": params}, metrics, [np.int32(epoch), 2 * kernel]


@pytest.fixture
def cohort(tmp_path):
    """A cohort's folder with the epochs 0 to 3."""
    folder = tmp_path / "cohorts" / "000"
    with CohortStore(folder) as store:
        for epoch in range(4):
            store.save(epoch, *state_of(epoch))
    return folder


def restore(folder):
    with CohortStore(folder) as store:
        return store.restore()


def test_a_snapshot_comes_back_as_it_was_saved(cohort):
    assert snapshot_epochs(cohort) == [0, 1, 2, 3]
    for epoch in range(4):
        variables, metrics, _ = state_of(epoch)
        stored = read_snapshot(cohort, epoch, "params")
        np.testing.assert_array_equal(stored["conv1"]["kernel"], variables["params"]["conv1"]["kernel"])
        np.testing.assert_array_equal(stored["conv1"]["bias"], variables["params"]["conv1"]["bias"])
        for name, values in metrics.items():
            np.testing.assert_array_equal(read_snapshot(cohort, epoch, "metrics")[name], values)
    rows = read_snapshot(cohort, 2, "params", [4, 0])["conv1"]["bias"]
    np.testing.assert_array_equal(rows, state_of(2)[0]["params"]["conv1"]["bias"][[4, 0]])


def test_restore_gives_the_last_epoch_with_its_optimizer(cohort):
    saved, notes = restore(cohort)
    variables, _, optimizer = state_of(3)
    assert (saved.epoch, notes) == (3, [])
    np.testing.assert_array_equal(saved.variables["params"]["conv1"]["kernel"], variables["params"]["conv1"]["kernel"])
    for leaf, wanted in zip(saved.leaves, optimizer, strict=True):
        np.testing.assert_array_equal(leaf, wanted)


def test_an_untouched_folder_restores_nothing(tmp_path):
    assert restore(tmp_path / "new") == (None, [])


def damaged_files(cohort, part):
    files = [path for path in (cohort / part / "3" / "default").rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: -path.stat().st_size)


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "one bit turned": lambda path: path.write_bytes(turn_a_bit(path.read_bytes())),
}


def turn_a_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("part", ["snapshots", "resume"])
@pytest.mark.parametrize("which", ["data", "index"])
def test_a_damaged_last_epoch_falls_back_to_the_one_before(cohort, damage, part, which):
    files = damaged_files(cohort, part)[:1]
    if which == "index":
        files = [cohort / part / "3" / "default" / "manifest.ocdbt"]
    elif damage is DAMAGES["one bit turned"]:  # in each: of one Orbax may have bytes that nothing reads
        files = [*(cohort / part / "3" / "default").rglob("d/*")]
    for file in files:
        damage(file)
    saved, notes = restore(cohort)
    assert saved.epoch == 2
    np.testing.assert_array_equal(
        saved.variables["params"]["conv1"]["kernel"], state_of(2)[0]["params"]["conv1"]["kernel"]
    )
    assert len(notes) == 1
    assert "epoch 3 is damaged and is made again" in notes[0]
    assert snapshot_epochs(cohort) == [0, 1, 2]
    with CohortStore(cohort) as store:  # and it can be saved anew
        store.restore()
        store.save(3, *state_of(3))
    assert restore(cohort)[0].epoch == 3


def test_an_epoch_without_its_resume_does_not_count(cohort):
    shutil.rmtree(cohort / "resume" / "3")
    saved, notes = restore(cohort)
    assert (saved.epoch, notes) == (2, [])
    assert snapshot_epochs(cohort) == [0, 1, 2]


def test_all_resumes_lost_means_from_the_start(cohort):
    shutil.rmtree(cohort / "resume")
    assert restore(cohort) == (None, [])
    assert snapshot_epochs(cohort) == []


def test_a_save_that_was_cut_short_is_not_a_snapshot(cohort):
    for part in ("snapshots", "resume"):
        shutil.copytree(cohort / part / "3", cohort / part / "4.orbax-checkpoint-tmp")
    assert snapshot_epochs(cohort) == [0, 1, 2, 3]
    assert restore(cohort)[0].epoch == 3


def test_a_cohort_is_written_by_one_at_a_time(cohort):
    with CohortStore(cohort), pytest.raises(InputError, match="is being written by another process"):
        CohortStore(cohort)


def test_reading_a_damaged_snapshot_is_one_clear_line(cohort):
    (cohort / "snapshots" / "3" / "default" / "manifest.ocdbt").write_bytes(b"junk")
    with pytest.raises(InputError, match="snapshots/3: cannot be read") as error:
        read_snapshot(cohort, 3, "params")
    assert "\n" not in str(error.value)


@pytest.fixture
def zoo(tmp_path):
    spec = small_spec(seeds=2)
    record = ZooRecord(spec=spec, engine="lanes", lanes=16, fingerprint="f" * 64, versions={"jax": "1"})
    begin_zoo(tmp_path / "zoo", record, plan_zoo(spec), "card")
    return tmp_path / "zoo", record


def test_the_record_and_the_members_come_back(zoo):
    folder, record = zoo
    assert read_record(folder) == record
    assert find_record(folder) == record
    assert read_members(folder) == list(plan_zoo(record.spec).members)


def change(folder, **values):
    table = json.loads((folder / "zoo.json").read_text())
    (folder / "zoo.json").write_text(json.dumps(table | values))


def test_bad_records_are_one_clear_line(zoo, tmp_path):
    folder, _ = zoo
    with pytest.raises(InputError, match=r"holds no zoo\.json"):
        read_record(tmp_path)
    change(folder, format=99)
    with pytest.raises(InputError, match=r"zoo.json: format is 99, expected 1"):
        read_record(folder)
    change(folder, format=1, digest="0" * 64)
    with pytest.raises(InputError, match=r"zoo.json: digest is '000"):
        read_record(folder)
    change(folder, spec={"name": "x"})
    with pytest.raises(InputError, match=r"zoo.json: is damaged"):
        read_record(folder)
    (folder / "zoo.json").write_text("[")
    with pytest.raises(InputError, match=r"zoo.json: cannot be read"):
        read_record(folder)
    (folder / "members.msgpack").write_bytes(b"\xc1")
    with pytest.raises(InputError, match=r"members.msgpack: cannot be read"):
        read_members(folder)


def test_a_zoo_begins_in_a_new_or_empty_folder_or_where_a_beginning_was_cut_short(zoo, tmp_path):
    folder, record = zoo
    assert find_record(tmp_path / "nothing") is None
    (folder / "zoo.json").rename(folder / "zoo.json.partial")
    assert find_record(folder) is None
    begin_zoo(folder, record, plan_zoo(record.spec), "card")
    assert find_record(folder) == record


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"holds .thesis\.tex. and no zoo\.json"):
        find_record(tmp_path)
    with pytest.raises(InputError, match="cannot be used"):
        find_record(tmp_path / "thesis.tex" / "zoo")


def test_missing_numbers_never_read_as_zeros(cohort):
    damaged_files(cohort, "snapshots")[0].unlink()
    with pytest.raises(InputError, match=r"snapshots/3: cannot be read"):
        read_snapshot(cohort, 3, "params")


def test_parameters_of_any_name_and_depth_come_back(tmp_path):
    """Orbax joins the names of a leaf with dots: a.b under c must not become b under a under c."""
    draws = np.random.default_rng(0)
    leaves = [draws.standard_normal((2, 3), np.float32) for _ in range(5)]
    params = {
        "block.0": {"conv": {"kernel": leaves[0], "bi/as": leaves[1]}},
        "block": {"0": {"conv": leaves[2]}, "100 %": leaves[3]},
        "scale": leaves[4],
    }
    with CohortStore(tmp_path) as store:
        store.save(0, {"params": params}, {"train_loss": np.zeros(2, np.float32)}, [np.int32(0)])
    saved, notes = restore(tmp_path)
    assert notes == []
    for stored in (read_snapshot(tmp_path, 0, "params"), saved.variables["params"]):
        assert jax.tree.structure(stored) == jax.tree.structure(params)
        jax.tree.map(np.testing.assert_array_equal, stored, params)


def test_a_zoo_whose_architecture_has_other_layers_is_refused(zoo):
    folder, record = zoo
    table = json.loads((folder / "zoo.json").read_text())
    assert table["layers"][0] == {
        "kind": "Conv", "name": "conv1", "kernel": 5, "features": 8, "stride": 1, "padding": 0, "bias": True
    }  # fmt: skip
    layers = json.loads(json.dumps(table["layers"]))
    layers[0]["features"] = 9
    change(folder, layers=layers)
    with pytest.raises(InputError, match=r"its layers are not those of 'cnn-s' in this version of jaxzoo"):
        read_record(folder)
    without = {name: value for name, value in table.items() if name != "layers"}
    (folder / "zoo.json").write_text(json.dumps(without))  # as zoos were recorded at first
    assert read_record(folder) == record


@pytest.mark.parametrize("name", ["a#b", "a%20b", "a?b", "a|b", "a b", "a;b&c", "a'b\"c", "ü", "a*b", "a]b"])
def test_a_folder_may_have_any_name_that_is_written_and_read(name, tmp_path):
    """A path in a file:// URL was written and could not be read, and the next run took that for damage."""
    folder = tmp_path / name / "cohorts" / "000"
    with CohortStore(folder) as store:
        store.save(0, *state_of(0))
    assert read_snapshot(folder, 0, "params").keys() == state_of(0)[0]["params"].keys()
    saved, notes = restore(folder)
    assert (saved.epoch, notes) == (0, [])
    assert find_record(tmp_path / "new" / name) is None


@pytest.mark.parametrize("name", ["a[b]", "a\\b"])
def test_a_folder_that_orbax_cannot_use_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(InputError, match=r"its path holds '(\[|\\\\)', expected a folder without"):
        find_record(tmp_path / name)
